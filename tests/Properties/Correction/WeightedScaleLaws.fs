/// Covariances of any size: what is found does not depend on the units of Σ, and what is said is in them.
module WeightedScaleLaws

open System
open Expecto
open FsCheck.FSharp
open TorchSharp
open TensorNets
open Generators
open Golden

let private few = { SweepOptions.defaults with MaxSweeps = 3 }
let private options = { Factorize.defaults with Sweeps = few }

/// A case, a Σ for one of its modes, and half the power of two that Σ is multiplied by.
let private weighted =
    Arb.fromGen (
        gen {
            let! case = formatCase
            let! mode = Gen.choose (0, case.Spec.Output.Length - 1)
            let! half = Gen.elements [ -490; -200; -33; 1; 40; 250; 490 ]
            return case, mode, half
        }
    )

let private sigma (case: FormatCase) mode =
    let n = int64 (Spec.dim case.Spec.Output[mode] case.Spec)
    let x = noise (case.Seed + 5) [ n; n + 2L ]
    x.matmul(x.mT).div(Num.tensor (float (n + 2L)))

let private agrees what half (plain: Result<Fit, TensorNetError list>) (other: Result<Fit, TensorNetError list>) =
    match plain, other with
    | Ok plain, Ok other ->
        Expect.equal other.Network.Spec plain.Network.Spec $"{what}: ranks"
        Expect.equal other.Error (Math.ScaleB(plain.Error, half)) $"{what}: error"
        Expect.equal other.RelativeError plain.RelativeError $"{what}: relative error"
        Expect.equal other.Sensitivity (Math.ScaleB(plain.Sensitivity, 2 * half)) $"{what}: S"

        for found, expected in Seq.zip other.Network.Cores plain.Network.Cores do
            Expect.isTrue (found.eq(expected).all().truth()) $"{what}: cores"
    | Error [ TensorNetError.Unreachable(plainBound, plainReached) ], Error [ TensorNetError.Unreachable(bound, reached) ] ->
        Expect.equal bound (Math.ScaleB(plainBound, half)) $"{what}: the bound that is missed"
        Expect.equal reached (Math.ScaleB(plainReached, half)) $"{what}: what is reached instead"
    | Error _, Error _ -> ()
    | Ok _, Error errors -> failtestf "%s: %A" what errors
    | Error errors, Ok _ -> failtestf "%s, plain: %A" what errors

let private cases name check =
    testPropertyWithConfig
        { config with maxTest = max 10 (Generators.cases / 10) }
        name
        (Prop.forAll weighted (fun case ->
            use _ = torch.NewDisposeScope()
            check case))

let all =
    testList
        "covariances of any size"
        [
            cases "what is found does not depend on the units of Σ" (fun (case, mode, half) ->
                let k = targetWith 0.3 case
                let start = randomNetwork (case.Seed + 6) case.Spec
                let plain = sigma case mode
                let other = Num.shifted (2 * half) plain
                let size = (Als.run { few with Norm = Norm.Weighted([ mode ], plain) } k start |> ok).Error

                let doors half sigma =
                    let few = { few with Norm = Norm.Weighted([ mode ], sigma) }
                    let options = { options with Sweeps = few }

                    [
                        "least squares", Als.run few k start
                        "correction", Correction.epc few (ErrorBound.Relative 0.5) k start
                        "an absolute bound", Correction.epc few (ErrorBound.Absolute(Math.ScaleB(1.5 * size, half))) k start
                        "stable", Factorize.stableSpec options None case.Spec k
                        "least error", LeastError.fit few (Math.ScaleB(1.0, 2 * half)) k start
                    ]

                for (what, plain), (_, other) in Seq.zip (doors 0 plain) (doors half other) do
                    agrees what half plain other

                let front sigma = ParetoFront.trace { few with Norm = Norm.Weighted([ mode ], sigma) } [ 0.4; 0.8 ] k start

                match front plain, front other with
                | Ok plain, Ok other ->
                    Expect.equal (List.ofSeq other.Unreached) (List.ofSeq plain.Unreached) "bounds that are not reached"

                    for plain, other in Seq.zip plain.Points other.Points do
                        agrees "front" half (Ok plain.Fit) (Ok other.Fit)
                | Error plain, Error other -> agrees "front" half (Error plain) (Error other)
                | _ -> failtest "the front of one Σ alone")
            cases "S and the gauge do not depend on the units of Σ" (fun (case, mode, half) ->
                let network = randomNetwork case.Seed case.Spec
                let norm sigma = Norm.Weighted([ mode ], sigma)
                let plain, other = norm (sigma case mode), norm (Num.shifted (2 * half) (sigma case mode))
                let s = Sensitivity.valueIn plain network |> ok
                Expect.equal (Sensitivity.valueIn other network |> ok) (Math.ScaleB(s, 2 * half)) "S"
                Expect.equal ((Sensitivity.totalIn other network |> ok).number()) (Math.ScaleB(s, 2 * half)) "S as a tensor"

                match Gauge.balanceIn plain network, Gauge.balanceIn other network with
                | Ok plain, Ok other ->
                    for found, expected in Seq.zip other.Cores plain.Cores do
                        Expect.isTrue (found.eq(expected).all().truth()) "cores"
                | Error _, Error _ -> ()
                | _ -> failtest "the gauge of one Σ alone")
            testCase "an S in a norm that a float32 does not hold is said, and one that it holds is right" (fun () ->
                use _ = torch.NewDisposeScope()

                use network =
                    Network.random torch.float32 3UL (Spec.parse [] "sr, dr, tr -> sdt | s=4 d=3 t=5 r=2" |> specOk)

                let norm (scale: float) = Norm.Weighted([ 0 ], (torch.eye (4, dtype = torch.float64)).mul(Num.tensor scale))
                let plain = Sensitivity.valueIn (norm 1.0) network |> ok
                near 1e-5 ((Sensitivity.totalIn (norm 1e30) network |> ok).number()) (1e30 * plain) "held"

                match Sensitivity.totalIn (norm 1e60) network with
                | Error [ TensorNetError.OutOfRange(_, log10, _) ] -> near 1e-5 log10 (60.0 + Math.Log10 plain) "said"
                | other -> failtestf "%A" other)
            testCase "what is wrong is said in the units of the caller" (fun () ->
                use _ = torch.NewDisposeScope()
                let k = noise 3 [ 4L; 3L; 5L ]
                let eye = torch.eye (4, dtype = torch.float64)

                let found norm bound =
                    Factorize.stable
                        { options with Sweeps = { few with Norm = norm } }
                        (Some bound)
                        (Format.CP 2)
                        (k.mul (Num.tensor 1e20))

                match found (Norm.Weighted([ 0 ], eye.mul (Num.tensor 1e200))) (ErrorBound.Absolute 1e130) with
                | Error [ TensorNetError.ErrorBound(bound, expected) ] ->
                    Expect.equal bound "1E+130" "the bound"
                    Expect.stringContains expected "E+12" "the norm"
                | other -> failtestf "%A" other

                let negative =
                    eye.mul(Num.tensor 1e-200).index_put_(Num.tensor -3e-200, [| torch.tensor 0L; torch.tensor 0L |])

                match found (Norm.Weighted([ 0 ], negative)) (ErrorBound.Relative 0.5) with
                | Error [ TensorNetError.NotCovariance text ] -> Expect.stringContains text "-3E-200" "the eigenvalue"
                | other -> failtestf "%A" other)
        ]
