/// Factorization and correction.
module CorrectionLaws

open Expecto
open TorchSharp
open TensorNets
open Generators
open Golden

/// A block is solved by its Gram, which squares the condition: where the error is all but zero it is known to about the root of the
/// rounding of a double, relative to the target.
let private gramRounding = 1e-7

let private options sweeps = { SweepOptions.defaults with MaxSweeps = sweeps; Tolerance = 1e-9 }

/// A target near the format, and a network for it.
let private problem (case: FormatCase) =
    let clean = Contraction.reconstruct (randomNetwork case.Seed case.Spec)
    let rough = noise (case.Seed + 1) clean.shape
    let k = clean.plus (rough.mul (clean.norm().div(rough.norm ()).mul(Num.tensor 0.3)))
    let fit = Factorize.runSpec { Factorize.defaults with Sweeps = options 60 } case.Spec k |> ok
    k, fit

let private als =
    testList
        "alternating least squares"
        [
            costlyLaw "the error never rises" (fun (case: FormatCase) ->
                let _, fit = problem case

                for before, after in Seq.pairwise fit.Trace do
                    Expect.isLessThanOrEqual after (before * (1.0 + 1e-9) + gramRounding) "error")
            costlyLaw "the start is not changed and the error is that of the difference" (fun (case: FormatCase) ->
                let k, fit = problem case
                near 1e-9 (k.minus(Contraction.reconstruct fit.Network).norm().number() + 1e-12) (fit.Error + 1e-12) "error"
                near 1e-9 (Sensitivity.value fit.Network) fit.Sensitivity "S")
            costlyLaw "float32 in, float32 out" (fun (case: FormatCase) ->
                let k, _ = problem case

                let fit =
                    Factorize.run
                        { Factorize.defaults with Sweeps = options 5 }
                        case.Format
                        ((k.reshape [| for n in case.Shape -> int64 n |]).``to`` torch.float32)
                    |> ok

                Expect.isTrue (fit.Network.Cores |> Seq.forall (fun core -> core.dtype = torch.float32)) "dtype")
            costlyLaw "a seed gives the same bits" (fun (case: FormatCase) ->
                let k, first = problem case
                let _, second = problem case
                ignore k

                Seq.iter2
                    (fun (a: torch.Tensor) (b: torch.Tensor) -> Expect.isTrue (identical a b) "core")
                    first.Network.Cores
                    second.Network.Cores)
        ]

let private correction =
    testList
        "correction"
        [
            costlyLaw "from a start that meets the bound S never rises and the error stays within it" (fun (case: FormatCase) ->
                let k, fit = problem case

                for slack in [ 1.0; 1.001; 1.3 ] do
                    let delta = fit.Error * slack

                    if delta > 1e-6 && delta < k.norm().number() then
                        match Correction.epc (options 30) (ErrorBound.Absolute delta) k fit.Network with
                        | Ok corrected ->
                            Expect.isLessThanOrEqual corrected.Error (delta * (1.0 + 1e-9)) "error"
                            Expect.isLessThanOrEqual corrected.Sensitivity (fit.Sensitivity * (1.0 + 1e-12)) "S"

                            for before, after in Seq.pairwise corrected.Trace do
                                Expect.isLessThanOrEqual after (before * (1.0 + 1e-12)) "S of a sweep"
                        // Least squares may leave a bond that the target does not need.
                        | Error [ TensorNetError.RankDeficientBond _ ] -> ()
                        | Error errors -> failtestf "%A" (errors |> List.map _.Message))
            costlyLaw "a seed gives the same bits" (fun (case: FormatCase) ->
                let k, fit = problem case

                let run () =
                    Correction.epc (options 12) (ErrorBound.Absolute(1.1 * fit.Error + 1e-3 * k.norm().number())) k fit.Network

                match run (), run () with
                | Ok first, Ok second ->
                    Seq.iter2
                        (fun (a: torch.Tensor) (b: torch.Tensor) -> Expect.isTrue (identical a b) "core")
                        first.Network.Cores
                        second.Network.Cores
                | Error first, Error second -> Expect.equal first second "errors"
                | _ -> failtest "one run has a result and the other none")
            costlyLaw "a single block never raises S nor leaves the bound" (fun (case: FormatCase) ->
                let k, fit = problem case
                let delta = fit.Error * 1.05

                // Near an exact fit the block's system is singular to rounding; sweeps are undone there, single blocks are not.
                if delta > 1e-3 * k.norm().number() && delta < k.norm().number() then
                    let cores = fit.Network.Cores |> Seq.toArray
                    let spec = fit.Network.Spec
                    let full = Plan.make Order.Auto spec
                    let value () = Sensitivity.value (new Network(spec, cores))
                    let mutable s = value ()

                    for i, block in List.indexed (LocalProblem.blocks spec) do
                        match corrected full block (CoreArray.Lookup spec cores) k delta delta with
                        | BlockResult.Moved(core, _) -> cores[i] <- core
                        | BlockResult.LeastSquares _ -> failtest "the start meets the bound"
                        | BlockResult.Unchanged -> ()

                        let next = value ()
                        Expect.isLessThanOrEqual next (s * (1.0 + 1e-9)) $"S after block {i}"

                        Expect.isLessThanOrEqual
                            (Fit.explicitError full k (CoreArray.Lookup spec cores))
                            (delta * (1.0 + 1e-9))
                            $"error after block {i}"

                        s <- next)
            costlyLaw "the given network is not changed" (fun (case: FormatCase) ->
                let k, fit = problem case
                let before = fit.Network.Cores |> Seq.map _.clone() |> Seq.toList
                Correction.epc (options 3) (ErrorBound.Relative 0.9) k fit.Network |> ignore
                Seq.iter2 (fun (a: torch.Tensor) (b: torch.Tensor) -> Expect.isTrue (identical a b) "core") fit.Network.Cores before)
        ]

let private badInput =
    let k () = noise 1 [ 4L; 3L; 4L ]

    let errorsOf (result: Result<Fit, TensorNetError list>) =
        match result with
        | Ok fit -> failtestf "accepted: %O" fit
        | Error errors -> errors

    let run format target = Factorize.run Factorize.defaults format target |> errorsOf

    testList
        "bad input"
        [
            testCase "NaN and infinite targets are counted" (fun () ->
                use _ = torch.NewDisposeScope()
                let bad = k ()
                bad[0L, 0L, 0L] <- torch.tensor nan
                bad[1L, 0L, 0L] <- torch.tensor infinity
                Expect.equal (run (Format.CP 2) bad) [ TensorNetError.NotFinite("The target", 2L) ] "error")
            testCase "a zero target is named" (fun () ->
                use _ = torch.NewDisposeScope()
                Expect.equal (run (Format.CP 2) (torch.zeros (4L, 3L, 4L))) [ TensorNetError.ZeroTensor "The target" ] "error")
            testCase "an integer target is named" (fun () ->
                use _ = torch.NewDisposeScope()

                Expect.equal
                    (run (Format.CP 2) (torch.ones (4L, 3L, 4L, dtype = torch.int64)))
                    [ TensorNetError.DType("The target", "Int64", "Float32 or Float64") ]
                    "error")
            for format, text in
                [
                    Format.CP 0, "CP: rank is 0; expected at least 1"
                    Format.CP -3, "CP: rank is -3; expected at least 1"
                    Format.CP 13, "CP: rank is 13; expected 1 to 12"
                    Format.Tucker2(5, 2), "Tucker-2: rank 1 (bond a) is 5; expected 1 to 4"
                    Format.Tucker2(2, 0), "Tucker-2: last rank is 0; expected at least 1"
                    Format.TensorChain [ 1; 1 ], "Tensor chain needs 3 ranks for this tensor; found 2"
                    Format.TensorChain [ 1; 5; 1 ], "Tensor chain: rank 2 (bond b) is 5; expected 1 to 3"
                ] do
                testCase $"ranks out of range: {text}" (fun () ->
                    use _ = torch.NewDisposeScope()
                    let messages = run format (k ()) |> List.map _.Message |> String.concat "; "
                    Expect.stringContains messages text "message")
            testCase "a target of the wrong order is named" (fun () ->
                use _ = torch.NewDisposeScope()
                let messages = run (Format.Tucker2(1, 1)) (noise 1 [ 4L; 4L ]) |> List.map _.Message
                Expect.equal messages [ "Tucker-2 needs a tensor of at least 3 modes; found 2." ] "message")
            for bound, text in
                [
                    ErrorBound.Absolute -1.0, "The error bound is -1; expected 0 ≤ bound < "
                    ErrorBound.Absolute nan, "The error bound is NaN"
                    ErrorBound.Absolute 1e9, "The error bound is 1E+09"
                    ErrorBound.Relative 1.0, "The error bound is 1; expected 0 ≤ bound < 1"
                    ErrorBound.Relative 1e-3, "cannot be met at these ranks from this start"
                ] do
                testCase $"error bounds: {text}" (fun () ->
                    use _ = torch.NewDisposeScope()
                    let fit = Factorize.run Factorize.defaults (Format.CP 2) (k ()) |> ok

                    match Correction.epc SweepOptions.defaults bound (k ()) fit.Network with
                    | Ok _ -> failtest "accepted"
                    | Error errors -> Expect.stringContains (errors |> List.map _.Message |> String.concat "; ") text "message")
            testCase "cores of the wrong number, shape, dtype or name are all named at once" (fun () ->
                use _ = torch.NewDisposeScope()

                let spec =
                    Format.spec [ 4; 3; 4 ] (Format.CP 2)
                    |> function
                        | Ok s -> s
                        | Error e -> failtestf "%A" e

                match Network.create spec [ "A", noise 1 [ 4L; 2L ]; "B", noise 2 [ 3L; 3L ]; "D", noise 3 [ 4L; 2L ] ] with
                | Ok _ -> failtest "accepted"
                | Error errors ->
                    Expect.equal
                        errors
                        [
                            TensorNetError.UnknownCore("D", [ "A"; "B"; "C" ])
                            TensorNetError.CoreShape("B", [ 3L; 3L ], [ 3L; 2L ])
                            TensorNetError.MissingCore "C"
                        ]
                        "errors")
            testCase "a cancelled run returns the best so far and says so" (fun () ->
                use _ = torch.NewDisposeScope()
                use source = new System.Threading.CancellationTokenSource()
                source.Cancel()

                let options = { SweepOptions.defaults with Cancellation = source.Token }

                let fit = Factorize.run { Factorize.defaults with Sweeps = options } (Format.CP 2) (k ()) |> ok
                Expect.equal fit.Stop Stop.Cancelled "stop"
                Expect.equal fit.Sweeps 0 "sweeps")
        ]

let all = testList "factorization" [ als; correction; badInput ]
