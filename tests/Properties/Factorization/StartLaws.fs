/// Several starts, and the estimate of what remains.
module StartLaws

open System
open Expecto
open TorchSharp
open TensorNets
open Generators
open Golden

/// Iterations that end where S stands still agree to about the square root of their tolerance.
let private rounding = 1e-5

let private sweeps n = { SweepOptions.defaults with MaxSweeps = n; Tolerance = 1e-9 }

let private target (case: FormatCase) =
    let clean = Contraction.reconstruct (randomNetwork case.Seed case.Spec)
    let rough = noise (case.Seed + 1) clean.shape
    clean.plus (rough.mul (clean.norm().div(rough.norm ()).mul(Num.tensor 0.3)))

let private optionsOf (case: FormatCase) starts = { Factorize.defaults with Sweeps = sweeps 15; Seed = uint64 case.Seed; Starts = starts }

let private severalStarts =
    testList
        "several starts"
        [
            costlyLaw "more starts never raise the error" (fun (case: FormatCase) ->
                let k = target case
                let error starts = (Factorize.runSpec (optionsOf case starts) case.Spec k |> ok).Error
                let one, three = error 1, error 3
                Expect.isLessThanOrEqual three one "error")
            costlyLaw "more starts never raise the sensitivity, and the bound is kept" (fun (case: FormatCase) ->
                let k = target case
                let bound = ErrorBound.Relative 0.6
                let one = Factorize.stableSpec (optionsOf case 1) (Some bound) case.Spec k
                let three = Factorize.stableSpec (optionsOf case 3) (Some bound) case.Spec k

                match one, three with
                | Ok one, Ok three ->
                    Expect.isLessThanOrEqual three.Sensitivity (one.Sensitivity * (1.0 + rounding)) "S"
                    Expect.isLessThanOrEqual three.RelativeError (0.6 * (1.0 + 1e-9)) "error"
                | Ok _, Error errors -> failtestf "%A" (errors |> List.map _.Message)
                | Error _, _ -> ())
            costlyLaw "from a given network the result is at most that of its correction" (fun (case: FormatCase) ->
                let k = target case
                use given = (Factorize.runSpec (optionsOf case 1) case.Spec k |> ok).Network
                use exact = Gauge.truncate given
                let bound = ErrorBound.Relative 0.6

                match Correction.epc (sweeps 15) bound k exact with
                | Error _ -> ()
                | Ok alone ->
                    let several = Factorize.stableFrom (optionsOf case 3) bound k [ given ] |> ok
                    Expect.isLessThanOrEqual several.Sensitivity (alone.Sensitivity * (1.0 + rounding)) "S"
                    Expect.isLessThanOrEqual several.RelativeError (0.6 * (1.0 + 1e-9)) "error")
            costlyLaw "several starts from a seed give the same bits" (fun (case: FormatCase) ->
                let k = target case
                let run () = Factorize.runSpec (optionsOf case 3) case.Spec k |> ok
                let first, second = run (), run ()
                Seq.iter2 (fun (a: torch.Tensor) b -> Expect.isTrue (identical a b) "core") first.Network.Cores second.Network.Cores)
            testCase "no start at all is named" (fun () ->
                use _ = torch.NewDisposeScope()
                let k = noise 1 [ 4L; 3L; 4L ]
                let none = { Factorize.defaults with Starts = 0 }

                match Factorize.run none (Format.CP 2) k, Factorize.stableFrom Factorize.defaults (ErrorBound.Relative 0.5) k [] with
                | Error a, Error b ->
                    Expect.equal a [ TensorNetError.Unsupported("Starts", "0", "1 or more") ] "starts"
                    Expect.equal b [ TensorNetError.Unsupported("The number of given networks", "0", "1 or more") ] "networks"
                | _ -> failtest "accepted")
        ]

/// Each file's bound met with S at most 1.02 of the best known, from its start and from noise.
let private golden =
    testList
        "several starts against the best known"
        [
            for file in names "epc_*.json" do
                fileTest "golden" file (fun path ->
                    use _ = torch.NewDisposeScope()
                    let e = json path
                    let k = tensor (e.GetProperty "K")
                    let delta = number "delta" e
                    use net = network "init" e

                    let options =
                        { Factorize.defaults with
                            Sweeps = { SweepOptions.defaults with MaxSweeps = 400; Tolerance = 1e-7 }
                            Starts = 8
                        }

                    let fit = Factorize.stableFrom options (ErrorBound.Absolute delta) k [ net ] |> ok
                    Expect.isLessThanOrEqual fit.Error (delta * (1.0 + 1e-9)) "error"
                    Expect.isLessThanOrEqual (fit.Sensitivity / number "best_known" e) 1.02 "S")
        ]

type private Kept() =
    member val All: FitProgress list = [] with get, set

    interface IProgress<FitProgress> with
        member this.Report progress = this.All <- progress :: this.All

let private remaining =
    testList
        "what remains"
        [
            testCase "of a geometric decrease the sweeps left are counted exactly" (fun () ->
                let value n = 1.0 + Math.Pow(0.5, float n)
                let values n = [ for i in n .. -1 .. 0 -> value i ]
                let share n = (value (n - 1) - value n) / value (n - 1)
                let tolerance = 1e-6
                let last = Seq.initInfinite ((+) 1) |> Seq.find (fun n -> share n <= tolerance)

                for n in 12..last do
                    Expect.isLessThanOrEqual (abs (SweepsLeft.estimate tolerance 1000 (values n) - (last - n))) 1 $"after {n} sweeps")
            testCase "without a decrease that falls all sweeps allowed are left" (fun () ->
                Expect.equal (SweepsLeft.estimate 1e-6 50 [ 1.0 ]) 50 "one value"
                Expect.equal (SweepsLeft.estimate 1e-6 50 [ 1.0; 2.0; 3.0; 4.0 ]) 50 "a decrease that grows"
                Expect.equal (SweepsLeft.estimate 0.0 50 [ 1.0; 1.1; 1.3 ]) 50 "no tolerance"
                Expect.equal (SweepsLeft.estimate 1e-6 50 [ nan; 1.1; 1.3 ]) 50 "NaN")
            costlyLaw
                "the estimate lies between none and all sweeps allowed, and ends at none where the iteration converges"
                (fun (case: FormatCase) ->
                    let kept = Kept()

                    let options =
                        { optionsOf case 1 with Sweeps = { sweeps 60 with Tolerance = 1e-3; Progress = Some kept } }

                    let fit = Factorize.runSpec options case.Spec (target case) |> ok
                    Expect.equal kept.All.Length fit.Sweeps "one report for each sweep"

                    for progress in kept.All do
                        Expect.isTrue (0 <= progress.SweepsLeft && progress.SweepsLeft <= progress.MaxSweeps - progress.Sweep) "range"

                    if fit.Stop = Stop.Converged && fit.Sweeps > 1 then
                        Expect.equal kept.All.Head.SweepsLeft 0 "at the end")
        ]

let all = testList "starts" [ severalStarts; golden; remaining ]
