namespace TensorNets

open System
open System.Runtime.Intrinsics
open System.Threading

/// Whether kernels run: the one place that asks the processor and whoever runs the program.
[<RequireQualifiedAccess>]
module internal KernelSwitch =
    /// The AppContext switch, which programs and their runtimeconfig.json set, and the environment variable.
    let switchName, variable = "TensorNets.Kernels", "TENSORNETS_KERNELS"

    /// What a program and its environment say; off if either says so.
    let private isWanted =
        let isSwitchedOff =
            match AppContext.TryGetSwitch switchName with
            | true, isOn -> not isOn
            | _ -> false

        let value = Environment.GetEnvironmentVariable variable

        let isVariableOff =
            [ "off"; "0"; "false" ]
            |> List.exists (fun off -> String.Equals(off, value, StringComparison.OrdinalIgnoreCase))

        not (isSwitchedOff || isVariableOff)

    /// Blocks of products, of convolutions and of planes hold 512-bit vectors.
    let private hasVectors = Vector512.IsHardwareAccelerated

    /// Scopes without kernels that the flow of control is in: those of one test are not those of another that runs beside it.
    let private scopes = AsyncLocal<int>()

    /// Whether anything written by hand may run. Loops that gain on any processor ask for no more.
    let isAllowed () = isWanted && scopes.Value = 0

    /// Whether what needs 512-bit vectors may run.
    let isOn () = hasVectors && isAllowed ()

    /// Kernels are off for the flow of control that this is called in, gradients that it asks for included, until what comes out is
    /// disposed.
    let suspend () : IDisposable =
        scopes.Value <- scopes.Value + 1

        { new IDisposable with
            member _.Dispose() = scopes.Value <- scopes.Value - 1
        }
