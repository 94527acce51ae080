/// Laws of methods that move all cores of a small network at once: their derivatives, and the least S among the cores of one tensor.
module FibreLaws

open Expecto
open TorchSharp
open TensorNets
open Generators
open Golden

let private pointOf (network: Network) = CoreVector.ofCores network.Cores

let private networkAt (spec: Spec) (point: torch.Tensor) =
    let shapes = [| for core in spec.Cores -> Spec.coreShape core spec |> List.map int64 |> List.toArray |]
    networkOf spec (CoreVector.cores shapes point |> List.ofArray)

let private derivatives =
    testList
        "derivatives"
        [
            costlyLaw "the Jacobian is the differential of T" (fun (case: FormatCase) ->
                let net = randomNetwork case.Seed case.Spec
                let work = DenseDerivatives(case.Spec, targetWith 0.1 case)
                let point = pointOf net
                let move = noise (case.Seed + 2) point.shape
                let h = 1e-5
                let ahead = work.Tensor(point.plus (move.mul (Num.tensor h)))
                let behind = work.Tensor(point.minus (move.mul (Num.tensor h)))
                close 1e-7 ((work.Jacobian point).matmul move) ((ahead.minus behind).mul(Num.tensor (0.5 / h))) "J d")
            costlyLaw "S is the squared norm of the Jacobian" (fun (case: FormatCase) ->
                let net = randomNetwork case.Seed case.Spec
                let work = DenseDerivatives(case.Spec, targetWith 0.1 case)
                let point = pointOf net
                near 1e-10 (work.Sensitivity point) ((work.Jacobian point).squared().sum().number()) "S")
            costlyLaw "curvature at many points at once is the difference of slopes, one by one" (fun (case: FormatCase) ->
                let net = randomNetwork case.Seed case.Spec
                let target = targetWith 0.1 case
                let work = DenseDerivatives(case.Spec, target)
                let point = pointOf net
                let y = noise (case.Seed + 3) [ target.numel () ]
                let directions = noise (case.Seed + 4) [ 5L; work.Size ]
                let all = work.Curvature(Some y, point, directions)
                let h = 1e-4

                for i in 0L .. 4L do
                    let step = directions[i].mul(Num.tensor h)
                    let ahead, behind = point.plus step, point.minus step

                    let slope (at: torch.Tensor) = (work.Slope at).minus((work.Jacobian at).mT.matmul y)
                    let expected = (slope(ahead).minus(slope behind)).mul(Num.tensor (0.5 / h))
                    close 1e-5 all[i] expected $"direction {i}")
        ]

let private descent =
    testList
        "descent"
        [
            costlyLaw "T stays within the bound, S never rises, and no gauge lowers it further" (fun (case: FormatCase) ->
                let net = randomNetwork case.Seed case.Spec
                let target = targetWith 0.1 case
                let work = DenseDerivatives(case.Spec, target)

                // A deficient bond has no least S: it is only approached.
                match Gauge.balance net with
                | Error _ -> ()
                | Ok balanced ->
                    let start = pointOf net
                    let bound = (work.Residual start).norm().number() * (1.0 + 1e-12)
                    let mutable last = work.Sensitivity start
                    let mutable steps, gain, hasSettled = 0, 0.0, false

                    let listen s =
                        Expect.isLessThanOrEqual s last "S of a step"
                        steps <- steps + 1
                        // Newton's steps end at once; steps that shrink with their ball, where T cannot be brought back, gain about as much
                        // as the one before.
                        hasSettled <- last - s <= min (1e-9 * s) (0.1 * gain)
                        gain <- last - s
                        last <- s
                        true

                    let found, s = LevelSet.descend work bound 100 1e-10 listen start
                    Expect.isLessThanOrEqual ((work.Residual found).norm().number()) bound "error"
                    near 1e-10 (work.Sensitivity found) s "S as reported"
                    Expect.isLessThanOrEqual s (work.Sensitivity start) "S"

                    // Where T cannot be brought back, steps are refused before S stands still.
                    if steps < 100 && hasSettled then
                        match Gauge.balance (networkAt case.Spec found) with
                        | Ok again -> Expect.isGreaterThan (Sensitivity.value again) (s * (1.0 - 1e-4)) "S by a gauge"
                        | Error _ -> ()

                    ignore balanced)
            testCase "numbers that are balanced have nothing to gain, and it ends, whatever rounding says" (fun () ->
                use _ = torch.NewDisposeScope()
                let spec = Format.spec [ 1; 1; 1 ] (Format.CP 1) |> Result.defaultWith (failwithf "%A")
                // Of these the slope along what leaves their product is 0 to the bit, and what restores the product raises S by a bit.
                let point = torch.ones(3L, dtype = torch.float64).mul(Num.tensor 0.9628041202494894)
                let target = point.prod().mul(Num.tensor (1.0 + 1.9e-14)).view(1L, 1L, 1L)
                let work = DenseDerivatives(spec, target)
                let _, s = LevelSet.descend work 1e-9 20 0.0 (fun _ -> true) point
                near 1e-12 s (work.Sensitivity point) "S")
            costlyLaw "where T fixes the cores but for the gauge, it ends at the balanced network" (fun (seed: int) ->
                // A train of full ranks.
                let spec =
                    ok (Format.spec [ 3; 4; 3 ] (Format.TensorTrain [ 2; 2 ]) |> Result.mapError (fun e -> failwithf "%A" e))

                let net = randomNetwork (abs (seed % 100000)) spec
                let work = DenseDerivatives(spec, Contraction.reconstruct net)
                let start = pointOf net
                let bound = 1e-9 * (work.Tensor start).norm().number()
                let _, s = LevelSet.descend work bound 100 1e-12 (fun _ -> true) start
                near 1e-6 s (Sensitivity.value (Gauge.balance net |> ok)) "S")
            onOneThread "the search keeps the least of its paths and gives the same bits each time" (fun () ->
                let spec = Format.spec [ 3; 3; 3 ] (Format.CP 6) |> Result.defaultWith (failwithf "%A")
                let net = randomNetwork 5 spec
                let work = DenseDerivatives(spec, Contraction.reconstruct net)
                let start = pointOf net
                let bound = 1e-8 * (work.Tensor start).norm().number()
                let search () = LevelSet.search work bound 30 1e-8 (fun _ -> true) [ start ]
                let found, trace = search ()
                let again, _ = search ()
                let _, single = LevelSet.descend work bound 30 1e-8 (fun _ -> true) start
                Expect.isTrue (identical found again) "bits"
                near 1e-12 (work.Sensitivity found) (List.last trace) "S of the trace"
                Expect.isLessThanOrEqual (work.Sensitivity found) (single * (1.0 + 1e-12)) "against one path"
                Expect.isLessThanOrEqual ((work.Residual found).norm().number()) bound "error")
        ]

let all = testList "all cores of a small network" [ derivatives; descent ]
