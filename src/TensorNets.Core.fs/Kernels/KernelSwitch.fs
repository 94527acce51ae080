namespace TensorNets

open System
open System.Runtime.Intrinsics
open System.Runtime.Intrinsics.X86
open System.Threading

/// Whether kernels run: the one place that asks the processor and whoever runs the program.
[<RequireQualifiedAccess>]
module internal KernelSwitch =
    /// The AppContext switch, which programs and their runtimeconfig.json set, and the environment variable.
    let switchName, variable = "TensorNets.Kernels", "TENSORNETS_KERNELS"

    let private value = Environment.GetEnvironmentVariable variable

    let private says (words: string list) =
        words |> List.exists (fun word -> String.Equals(word, value, StringComparison.OrdinalIgnoreCase))

    /// What a program and its environment say; off if either says so.
    let private isWanted =
        let isSwitchedOff =
            match AppContext.TryGetSwitch switchName with
            | true, isOn -> not isOn
            | _ -> false

        not (isSwitchedOff || says [ "off"; "0"; "false" ])

    /// Blocks of products, of convolutions and of planes hold 512-bit vectors.
    let private hasVectors = Vector512.IsHardwareAccelerated

    /// The processors that MKL, by which libtorch multiplies, is made for: its products take half to nine tenths of the time of ours there,
    /// and more than ours on others.
    let private isIntel =
        X86Base.IsSupported
        && (let struct (_, first, third, second) = X86Base.CpuId(0, 0)
            // GenuineIntel.
            (first, second, third) = (0x756E6547, 0x49656E69, 0x6C65746E))

    /// Scopes without kernels that the flow of control is in: those of one test are not those of another that runs beside it.
    let private scopes = AsyncLocal<int>()

    /// Whether anything written by hand may run. Loops that gain on any processor ask for no more.
    let isAllowed () = isWanted && scopes.Value = 0

    /// Whether what needs 512-bit vectors may run.
    let isOn () = hasVectors && isAllowed ()

    /// Whether our products of matrices are faster than libtorch's, or wanted all the same: the variable says `all`.
    let private hasProducts = not isIntel || says [ "all" ]

    /// Whether products of matrices may be ours.
    let multiplies () = hasProducts && isOn ()

    /// Kernels are off for the flow of control that this is called in, gradients that it asks for included, until what comes out is
    /// disposed.
    let suspend () : IDisposable =
        scopes.Value <- scopes.Value + 1

        { new IDisposable with
            member _.Dispose() = scopes.Value <- scopes.Value - 1
        }
