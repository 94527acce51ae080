/// Extrapolated sweeps of least squares against plain ones, in swamps and on trained kernels.
[<RequireQualifiedAccess>]
module TensorNets.Benchmarks.SwampTable

open System
open TensorNets
open TorchSharp

let private processor () = 1000.0 * Measure.processor ()

/// r orthonormal columns and a common direction, mixed so that any two columns have the given cosine.
let private collinear (seed: int) (n: int64) (r: int64) (cosine: float) : torch.Tensor =
    use scope = torch.NewDisposeScope()
    use generator = new torch.Generator(uint64 seed)

    let struct (q, _) =
        torch.linalg.qr (torch.randn ([| n; r + 1L |], dtype = torch.float64, generator = generator))

    let common, own = q.narrow (1L, 0L, 1L), q.narrow (1L, 1L, r)

    common.mul(Num.tensor (sqrt cosine)).plus(own.mul (Num.tensor (sqrt (1.0 - cosine))))
    |> scope.MoveToOuter

let private formatSpec (shape: int list) (format: Format) =
    Format.spec shape format
    |> Result.mapError (List.map TensorNetError.Format)
    |> FactorizeCases.orStop

/// CP 5 of 20 × 20 × 20 whose columns have the given cosine in every mode.
let private swamp (cosine: float) : torch.Tensor =
    use scope = torch.NewDisposeScope()
    let cores = [ for i, name in List.indexed [ "A"; "B"; "C" ] -> name, collinear (10 + i) 20L 5L cosine ]
    let network = Network.create (formatSpec [ 20; 20; 20 ] (Format.CP 5)) cores |> FactorizeCases.orStop
    Contraction.reconstruct network |> scope.MoveToOuter

/// A number of plain sweeps, and the extrapolated ones that reach the same error.
let private row (name: string) (k: torch.Tensor) (format: Format) (count: int) =
    use _ = torch.NewDisposeScope()

    let run extrapolation =
        let sweeps =
            { SweepOptions.defaults with MaxSweeps = count; Tolerance = 0.0; Extrapolation = extrapolation }

        let from = processor ()
        use fit = Factorize.run { Factorize.defaults with Sweeps = sweeps } format k |> FactorizeCases.orStop
        Seq.toArray fit.Trace, (processor () - from) / float (max 1 fit.Sweeps)

    run Extrapolation.Off |> ignore
    let plain, perPlain = run Extrapolation.Off
    let last = Array.last plain

    [
        name
        string format
        string (plain.Length - 1)
        $"{last:G4}"
        for depth in [ 4; 8; 12 ] do
            let trace, per = run (Extrapolation.Anderson depth)

            match trace |> Array.tryFindIndex (fun error -> error <= last) with
            | Some sweep -> $"{sweep} ({float sweep * per / (float (plain.Length - 1) * perPlain):F2})"
            | None -> "not reached"

            if depth = 8 then
                $"{Array.last trace:G4}"
    ]
    |> KernelTable.line

/// Prints the table; the kernels only where their folder is there.
let run () =
    torch.set_num_threads 1
    use _ = torch.NewDisposeScope()

    KernelTable.head
        [
            "target"
            "format"
            "plain sweeps"
            "their error"
            "Anderson 4: sweeps to it (time, plain = 1)"
            "Anderson 8"
            "its error after as many sweeps"
            "Anderson 12"
        ]

    for cosine in [ 0.5; 0.9; 0.95; 0.99 ] do
        row $"CP 5 of 20×20×20, cosines {cosine}" (swamp cosine) (Format.CP 5) (if cosine < 0.9 then 40 else 1000)

    match SharedKernels.shared with
    | None -> KernelTable.absent ()
    | Some shared ->
        let kernels = KernelTable.kernels shared
        let kernel name = kernels |> List.find (fst >> (=) name) |> snd
        row "conv64_1.conv1" (kernel "conv64_1.conv1") (Format.CP 32) 300
        row "conv64_1.conv1" (kernel "conv64_1.conv1") (Format.CP 64) 300
        row "conv64_1.conv1" (kernel "conv64_1.conv1") (Format.CP 96) 300
        row "conv64_2.conv2" (kernel "conv64_2.conv2") (Format.CP 64) 300
        row "conv128_1.conv1" (kernel "conv128_1.conv1") (Format.CP 128) 100
        row "conv64_1.conv1" (kernel "conv64_1.conv1") (Format.TensorChain [ 8; 8; 8 ]) 300
        row "conv64_1.conv1" (kernel "conv64_1.conv1") (Format.Tucker2(40, 40)) 60
