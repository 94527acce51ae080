namespace TensorNets

open System
open TorchSharp
open type TorchSharp.torch.nn

/// A model's own convolutions where libtorch's are wrong: those that it gets wrong are given their input with the channels of a position
/// side by side, which it convolves rightly.
[<RequireQualifiedAccess>]
module internal SoundConvolutions =
    /// Whether libtorch takes the convolution in blocks of channels that it does not fill.
    let private isTouched (m: Module) =
        match ConvGeometry.ofLayer m with
        | Ok g when not g.Kernel.IsEmpty ->
            g.Groups = 1L
            && List.exists ((<>) 1L) g.Kernel
            && not (g.InChannels % 16L = 0L && g.OutChannels % 16L = 0L)
            && m.parameters () |> Seq.forall (fun p -> p.dtype = torch.float32 && p.device_type = DeviceType.CPU)
        | _ -> false

    let private turned (x: Tensor) =
        let n = x.dim ()
        let last = [| yield 0L; yield! [ 2L .. n - 1L ]; yield 1L |]
        let first = [| yield 0L; yield n - 1L; yield! [ 1L .. n - 2L ] |]
        x.permute(last).contiguous().permute first

    /// A hook on a convolution of images (a batch: one axis more than without) of two dimensions or three.
    let private hook (m: Module) : IDisposable option =
        let on (dims: int64) (layer: Module<Tensor, Tensor>) =
            let hook =
                layer.register_forward_pre_hook (
                    Func<Module<Tensor, Tensor>, Tensor, Tensor>(fun _ x -> if x.dim () = dims + 2L then turned x else x)
                )

            Some
                { new IDisposable with
                    member _.Dispose() = hook.remove ()
                }

        match m with
        | :? Modules.Conv2d as layer -> on 2L layer
        | :? Modules.Conv3d as layer -> on 3L layer
        | :? Modules.ConvTranspose2d as layer -> on 2L layer
        | :? Modules.ConvTranspose3d as layer -> on 3L layer
        | _ -> None

    /// Mends the convolutions of a model until disposed, if there are faults of libtorch's. Those of one dimension lay their input out
    /// themselves and cannot be mended: where there is one, the faults are the error.
    let within (faults: TensorNetError list) (model: Module) : Result<IDisposable, TensorNetError list> =
        let touched =
            if faults.IsEmpty then [] else ModulePath.all model |> List.map snd |> List.filter isTouched

        if touched |> List.exists (fun m -> m :? Modules.Conv1d || m :? Modules.ConvTranspose1d) then
            Error faults
        else
            let made = List.choose hook touched

            Ok
                { new IDisposable with
                    member _.Dispose() =
                        for hook in made do
                            hook.Dispose()
                }
