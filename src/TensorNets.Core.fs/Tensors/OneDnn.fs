namespace TensorNets

open System
open System.Runtime.InteropServices

[<UnmanagedFunctionPointer(CallingConvention.Cdecl)>]
type private ContextOf = delegate of unit -> nativeint

[<UnmanagedFunctionPointer(CallingConvention.Cdecl)>]
type private SetFlag = delegate of nativeint * byte -> unit

[<UnmanagedFunctionPointer(CallingConvention.Cdecl)>]
type private GetFlag = delegate of nativeint -> byte

/// Whether libtorch gives its convolutions to oneDNN, in the whole process: what PyTorch has as torch.backends.mkldnn.enabled and
/// TorchSharp has not. Without it they are sums of matrix products of libtorch's own: NNPACK, which would come next, goes with it.
[<RequireQualifiedAccess>]
module internal OneDnn =
    /// The names that C++ compilers give at::globalContext, Context::setUserEnabledMkldnn and NNPACK, and Context::userEnabledMkldnn.
    let private context, private setters, private getter =
        if OperatingSystem.IsWindows() then
            "?globalContext@at@@YAAEAVContext@1@XZ",
            [ "?setUserEnabledNNPACK@Context@at@@QEAAX_N@Z"; "?setUserEnabledMkldnn@Context@at@@QEAAX_N@Z" ],
            "?userEnabledMkldnn@Context@at@@QEBA_NXZ"
        else
            "_ZN2at13globalContextEv",
            [ "_ZN2at7Context20setUserEnabledNNPACKEb"; "_ZN2at7Context20setUserEnabledMkldnnEb" ],
            "_ZNK2at7Context17userEnabledMkldnnEv"

    let private exported name = NativeLibraries.exported "torch_cpu" name

    let private withContext (name: string) (apply: nativeint -> nativeint -> 'T) : 'T voption =
        match exported context, exported name with
        | ValueSome context, ValueSome address ->
            let context = Marshal.GetDelegateForFunctionPointer<ContextOf>(context).Invoke()
            ValueSome(apply context address)
        | _ -> ValueNone

    /// Whether it is on; none where libtorch does not say.
    let isOn () : bool voption =
        withContext getter (fun context address -> Marshal.GetDelegateForFunctionPointer<GetFlag>(address).Invoke context <> 0uy)

    /// Switches it on or off; false where libtorch has no such switch.
    let set (on: bool) : bool =
        setters
        |> List.map (fun setter ->
            withContext setter (fun context address ->
                Marshal.GetDelegateForFunctionPointer<SetFlag>(address).Invoke(context, (if on then 1uy else 0uy))))
        |> List.forall _.IsSome

    /// What an act gives with it on or off; then it is as it was. None where libtorch has no such switch.
    let during (on: bool) (act: unit -> 'T) : 'T voption =
        match isOn () with
        | ValueSome before when set on ->
            try
                ValueSome(act ())
            finally
                set before |> ignore
        | _ -> ValueNone
