/// Bounds on results that are rounded to the target's dtype: what says that it meets its bound does, measured in float64 on the network
/// that is handed over. `LAW_CASES` raises the number of cases.
module RoundedBoundLaws

open System
open Expecto
open FsCheck.FSharp
open TorchSharp
open TensorNets
open Generators
open Golden

[<NoComparison>]
type private Case =
    {
        Format: Format
        /// As a share of ‖K‖.
        Bound: float
        Absolute: bool
        /// How many sweeps of least squares the start has seen.
        Sweeps: int
        Seed: int
    }

let private shape = [ 6; 5; 8 ]

let private drawn =
    Arb.fromGen (
        gen {
            let! format =
                Gen.elements
                    [
                        Format.TensorTrain [ 6; 8 ]
                        Format.TensorTrain [ 4; 4 ]
                        Format.Tucker2(5, 7)
                        Format.Tucker [ 4; 4; 6 ]
                        Format.CP 6
                        Format.TensorChain [ 2; 3; 2 ]
                    ]

            let! bound = Gen.elements [ 1e-7; 1e-6; 1e-4; 1e-2; 0.1; 0.3; 0.5; 0.7; 0.9 ]
            let! absolute = Gen.elements [ true; false ]
            let! sweeps = Gen.elements [ 0; 1; 5; 40 ]
            let! seed = Gen.choose (1, 100_000)

            return { Format = format; Bound = bound; Absolute = absolute; Sweeps = sweeps; Seed = seed }
        }
    )

let private sweeps = { SweepOptions.defaults with MaxSweeps = 20 }
let private options = { Factorize.defaults with Sweeps = sweeps }
let private target (case: Case) = (noise case.Seed (List.map int64 shape)).``to`` torch.float32

let private asked (case: Case) (norm: float) =
    if case.Absolute then ErrorBound.Absolute(case.Bound * norm) else ErrorBound.Relative case.Bound

let private formatCaseOf (case: Case) : FormatCase = { Shape = shape; Format = case.Format; Seed = case.Seed }

/// A start in the dtype of the target.
let private start (case: Case) (k: torch.Tensor) =
    let spec = (formatCaseOf case).Spec

    (Als.run { sweeps with MaxSweeps = case.Sweeps } k (Network.random torch.float64 (uint64 case.Seed) spec)
     |> ok)
        .Network

let private measured (k: torch.Tensor) (network: Network) =
    let wide = Network.copyAs torch.float64 network
    let tensor: torch.Tensor = Contraction.reconstruct wide
    (k.``to`` torch.float64).minus(tensor.reshape k.shape).norm().number(), Sensitivity.value wide

let private keeps (what: string) (k: torch.Tensor) (delta: float) (result: Result<Network * bool, TensorNetError list>) =
    match result with
    | Ok(network, meets) ->
        Expect.isTrue meets $"{what}: meets its bound"
        Expect.isTrue (network.DType = k.dtype) $"{what}: dtype"
        let error, _ = measured k network
        Expect.isLessThanOrEqual error (delta * (1.0 + 1e-9)) $"{what}: the error"
    | Error [ TensorNetError.Unreachable(bound, reached) ] ->
        near 1e-6 delta bound $"{what}: the bound that the error names"
        Expect.isGreaterThan reached delta $"{what}: the error that it names"
    | Error errors -> failtestf "%s: %A" what errors

let private ofFit (fit: Fit) = fit.Network, fit.MeetsBound

let private wide (k: torch.Tensor) : float = (k.``to`` torch.float64).norm().number()

/// A start that is exactly at its bound, and the norm of the target.
let private atItsBound (case: Case) =
    let k = target case
    let start = start case k
    let error, s = measured k start
    k, start, error, s

/// Dense layers, with what they have as a kernel in float64.
let private layers: (string * (unit -> torch.nn.Module) * Format) list =
    [
        "Linear", (fun () -> torch.nn.Linear(12L, 10L)), Format.CP 6
        "Linear, a TT-matrix", (fun () -> torch.nn.Linear(12L, 10L)), Format.TensorTrainMatrix([ 3; 4 ], [ 2; 5 ], [ 5 ])
        "Conv1d", (fun () -> torch.nn.Conv1d(8L, 6L, 3L)), Format.TensorTrain [ 5; 5 ]
        "Conv2d", (fun () -> torch.nn.Conv2d(8L, 6L, 3L)), Format.Tucker2(6, 5)
        "Conv2d by a sum", (fun () -> torch.nn.Conv2d(6L, 6L, 3L)), Format.CP 9
        "Conv2d in groups", (fun () -> torch.nn.Conv2d(8L, 8L, 3L, groups = 2L)), Format.TensorTrain [ 3; 3 ]
        "ConvTranspose2d", (fun () -> torch.nn.ConvTranspose2d(6L, 5L, 2L)), Format.TensorChain [ 3; 3; 3 ]
    ]

let private weightOf (layer: torch.nn.Module) : torch.Tensor = (nonNull (layer.get_parameter "weight")).detach()

let private layerCases =
    Arb.fromGen (
        gen {
            let! layer = Gen.elements layers
            let! dtype = Gen.elements [ torch.float32; torch.float32; torch.float16; torch.bfloat16 ]
            let! bound = Gen.elements [ 1e-2; 0.1; 0.4; 0.6; 0.8 ]
            let! absolute = Gen.elements [ true; false ]
            let! seed = Gen.choose (1, 100_000)
            return layer, dtype, bound, absolute, seed
        }
    )

let all =
    testList
        "bounds of rounded results"
        [
            costlyLawOver drawn "a correction that says that it meets its bound does" (fun case ->
                let k = target case
                let norm = wide k
                let start = start case k

                keeps "epc" k (case.Bound * norm) (Correction.epc sweeps (asked case norm) k start |> Result.map ofFit))
            costlyLawOver drawn "a factorization to a bound that says that it meets it does" (fun case ->
                let k = target case
                let norm = wide k

                Factorize.stable options (Some(asked case norm)) case.Format k
                |> Result.map ofFit
                |> keeps "stable" k (case.Bound * norm)

                let family =
                    match case.Format with
                    | Format.TensorTrain _ -> FormatFamily.TensorTrain
                    | Format.CP _ -> FormatFamily.CP
                    | Format.TensorChain _ -> FormatFamily.TensorChain
                    | Format.Tucker2 _ -> FormatFamily.Tucker2
                    | _ -> FormatFamily.Tucker

                // Smaller bounds take CP and rings to hundreds of ranks.
                if case.Bound > 0.05 then
                    Factorize.toBound options (asked case norm) family k
                    |> Result.map ofFit
                    |> keeps "toBound" k (case.Bound * norm))
            costlyLawOver drawn "a start at its bound is corrected, within it and to no larger S" (fun case ->
                let k, start, delta, s = atItsBound case

                // A start that is no nearer than nothing is no start to a bound.
                if delta < 0.999 * wide k then
                    let rounded = Correction.epc sweeps (ErrorBound.Absolute delta) k start |> ok
                    let error, found = measured k rounded.Network
                    Expect.isTrue rounded.MeetsBound "meets its bound"
                    Expect.isLessThanOrEqual error (delta * (1.0 + 1e-9)) "the error"
                    Expect.isLessThanOrEqual found (s * (1.0 + 1e-9)) "S"

                    let exact =
                        Correction.epc sweeps (ErrorBound.Absolute delta) (k.``to`` torch.float64) (Network.copyAs torch.float64 start)
                        |> ok

                    Expect.isLessThanOrEqual found (1.05 * exact.Sensitivity) "S beside that in float64")
            costlyLawOver drawn "every point of the front meets its bound" (fun case ->
                let k = target case
                let norm = wide k
                let start = start case k
                let few = { sweeps with MaxSweeps = 5 }

                match ParetoFront.trace few [ 0.2; case.Bound; 0.6 ] k start with
                | Ok front ->
                    for point in front.Points do
                        Ok(ofFit point.Fit) |> keeps "front" k (point.Bound * norm)

                    let s = [ for point in front.Points -> point.Sensitivity ]
                    Expect.equal s (List.sortDescending s) "S falls along the bounds"
                | Error [ TensorNetError.Unreachable(bound, reached) ] -> Expect.isGreaterThan reached bound "nothing is reached"
                | Error errors -> failtestf "%A" errors)
            costlyLawOver drawn "the least error keeps its S" (fun case ->
                let k, start, error, s = atItsBound case
                let few = { sweeps with MaxSweeps = 5 }

                for share in [ 1.0; 0.5 ] do
                    match LeastError.fit few (share * s) k start with
                    | Ok fit ->
                        let found, sensitivity = measured k fit.Network
                        Expect.isTrue fit.MeetsBound "meets its bound"
                        Expect.isLessThanOrEqual sensitivity (share * s * (1.0 + 1e-9)) "S"

                        if share = 1.0 && error < 0.999 * wide k then
                            Expect.isLessThanOrEqual found (error * (1.0 + 1e-9)) "no worse than the start"
                    | Error errors -> failtestf "%A" errors)
            costlyLawOver layerCases "a layer's kernel meets its bound" (fun ((kind, make, format), dtype, bound, absolute, seed) ->
                torch.manual_seed (int64 seed) |> ignore
                use dense = make ()
                dense.``to`` dtype |> ignore
                let weight = weightOf dense
                let norm = wide weight
                let bound' = if absolute then ErrorBound.Absolute(bound * norm) else ErrorBound.Relative bound

                match Layers.factorize options KernelAxes.Fused (Some bound') format dense with
                | Ok layer ->
                    use layer = layer

                    use wideLayer =
                        Layers.ofNetwork None layer.Geometry None (Network.copyAs torch.float64 (layer.Network())) |> ok

                    let error = (weight.``to`` torch.float64).minus(wideLayer.Kernel()).norm().number()
                    Expect.isLessThanOrEqual error (bound * norm * (1.0 + 1e-9)) $"{kind}: the error"
                | Error errors ->
                    for error in errors do
                        match error with
                        | TensorNetError.Unreachable(bound, reached) -> Expect.isGreaterThan reached bound kind
                        | other -> failtestf "%s: %A" kind other)
            testCase "a matrix layer of every dtype and bound meets it" (fun () ->
                use _ = torch.NewDisposeScope()

                for dtype in [ torch.float32; torch.float16; torch.bfloat16 ] do
                    for bound in [ 1e-2; 0.3; 0.6 ] do
                        for seed in 1..6 do
                            torch.manual_seed (int64 seed) |> ignore
                            use dense = torch.nn.Linear(9L, 7L)
                            dense.``to`` dtype |> ignore
                            let weight = weightOf dense

                            match Layers.matrix 7 (ErrorBound.Relative bound) dense with
                            | Ok layer ->
                                use layer = layer
                                let network = Network.copyAs torch.float64 (layer.Network())
                                use wideLayer = Layers.ofNetwork None layer.Geometry None network |> ok
                                let error = (weight.``to`` torch.float64).minus(wideLayer.Kernel()).norm().number()
                                Expect.isLessThanOrEqual error (bound * wide weight * (1.0 + 1e-9)) $"{dtype} {bound}"
                            | Error [ TensorNetError.Unreachable(asked, reached) ] -> Expect.isGreaterThan reached asked "unreachable"
                            | Error errors -> failtestf "%A" errors)
        ]
