/// The front S over δ, and its mirror.
module FrontLaws

open System
open Expecto
open TorchSharp
open TensorNets
open Generators
open Golden

let private options = { SweepOptions.defaults with MaxSweeps = 60; Tolerance = 1e-7 }

/// A target near the format, and a network for it.
let private problem (case: FormatCase) =
    let clean = Contraction.reconstruct (randomNetwork case.Seed case.Spec)
    let rough = noise (case.Seed + 1) clean.shape
    let k = clean.plus (rough.mul (clean.norm().div(rough.norm ()).mul(Num.tensor 0.3)))
    let fit = Factorize.runSpec { Factorize.defaults with Sweeps = options } case.Spec k |> ok
    k, fit.Network

let private bounds = [ 0.8; 0.3; 0.5; 0.35; 1e-9 ]

let private front =
    testList
        "front"
        [
            costlyLaw "errors keep their bounds, S falls, and no point is worse than a correction from the start" (fun (case: FormatCase) ->
                let k, start = problem case
                use exact = Gauge.truncate start

                match ParetoFront.trace options bounds k start with
                | Error [ TensorNetError.RankDeficientBond _ ] -> ()
                | Error errors -> failtestf "%A" (errors |> List.map _.Message)
                | Ok front ->
                    use front = front
                    let points = List.ofSeq front.Points
                    let met = points |> List.map _.Bound
                    Expect.equal (List.sort (met @ List.ofSeq front.Unreached)) (List.sort bounds) "every bound once"
                    Expect.equal met (List.sort met) "rising"

                    for point in points do
                        Expect.isLessThanOrEqual point.RelativeError (point.Bound * (1.0 + 1e-9)) "error"
                        near 1e-9 (Sensitivity.value point.Network) point.Sensitivity "S"

                        match Correction.epc options (ErrorBound.Relative point.Bound) k exact with
                        | Ok alone -> Expect.isLessThanOrEqual point.Sensitivity (alone.Sensitivity * (1.0 + 1e-6)) "S from the start"
                        | Error _ -> ()

                    for tight, loose in List.pairwise points do
                        Expect.isLessThanOrEqual loose.Sensitivity (tight.Sensitivity * (1.0 + 1e-12)) "S falls")
            testCase "float32 in, float32 out" (fun () ->
                use _ = torch.NewDisposeScope()
                let k = (noise 3 [ 4L; 3L; 5L ]).``to`` torch.float32
                let fit = Factorize.run Factorize.defaults (Format.Tucker2(2, 2)) k |> ok
                use front = ParetoFront.trace options [ 0.95; 0.8 ] k fit.Network |> ok

                for point in front.Points do
                    Expect.isTrue (point.Network.DType = torch.float32) "dtype"
                    Expect.isLessThanOrEqual point.RelativeError (point.Bound * (1.0 + 1e-6)) "error")
            testCase "bounds that make no sense are all named" (fun () ->
                use _ = torch.NewDisposeScope()
                let k = noise 3 [ 4L; 3L; 5L ]
                let fit = Factorize.run Factorize.defaults (Format.CP 2) k |> ok

                let count bounds =
                    match ParetoFront.trace options bounds k fit.Network with
                    | Ok _ -> failtest "accepted"
                    | Error errors -> errors.Length

                Expect.equal (count [ nan; 0.5; -1.0; 1.0 ]) 3 "three"
                Expect.equal (count []) 1 "none given"
                Expect.equal (count [ 1e-9 ]) 1 "not reached")
            testCase "the given network stays as it is" (fun () ->
                use _ = torch.NewDisposeScope()
                let k = noise 3 [ 4L; 3L; 5L ]
                let fit = Factorize.run Factorize.defaults (Format.CP 2) k |> ok
                let before = fit.Network.Cores |> Seq.map _.clone() |> Seq.toList
                ParetoFront.trace options [ 0.9 ] k fit.Network |> ok |> ignore
                LeastError.fit options 10.0 k fit.Network |> ok |> ignore
                Seq.iter2 (fun (a: torch.Tensor) b -> Expect.isTrue (identical a b) "core") fit.Network.Cores before)
        ]

/// The mirror problem from each point of a front, for its own S.
let private mirrored (case: FormatCase) =
    let k, start = problem case

    match ParetoFront.trace options [ 0.4; 0.7 ] k start with
    | Error _ -> ()
    | Ok front ->
        use front = front

        for point in front.Points do
            match LeastError.fit options point.Sensitivity k point.Network with
            | Error [ TensorNetError.RankDeficientBond _ ] -> ()
            | Error errors -> failtestf "%A" (errors |> List.map _.Message)
            | Ok fit ->
                Expect.isGreaterThan point.Sensitivity 0.0 "S of the point"
                Expect.isLessThanOrEqual fit.Sensitivity (point.Sensitivity * (1.0 + 1e-9)) "S"
                Expect.isLessThanOrEqual (fit.RelativeError / point.RelativeError - 1.0) 1e-3 $"not above: {point}"

let private mirror =
    testList
        "mirror"
        [
            costlyLaw "it keeps the bound on S and is never worse than a given network that keeps it" mirrored
            testCase "nor where the network has a bond that is all but superfluous" (fun () ->
                use _ = torch.NewDisposeScope()
                // Cut, its S is 5e-9 larger.
                let inner = DimTree.Split [ 1, DimTree.Mode 0; 2, DimTree.Mode 2 ]
                let tree = DimTree.Split [ 2, inner; 2, DimTree.Mode 1; 2, DimTree.Mode 3 ]
                mirrored { Shape = [ 3; 3; 3; 2 ]; Format = Format.HierarchicalTucker tree; Seed = 10406 })
            for seed in [ 193438; 386876 ] do
                testCase $"nor where bonds of one core vanish together, {seed}" (fun () ->
                    use _ = torch.NewDisposeScope()
                    // What T does not feel of that core had grown to 1e12 and 1e28.
                    let pair a b = DimTree.Split [ 2, DimTree.Mode a; 2, DimTree.Mode b ]
                    let tree = DimTree.Split [ 1, pair 3 2; 1, pair 0 1 ]
                    let case = { Shape = [ 2; 2; 3; 3 ]; Format = Format.HierarchicalTucker tree; Seed = seed }
                    let k, start = problem case
                    use front = ParetoFront.trace options [ 0.7 ] k start |> ok
                    let point = Seq.exactlyOne front.Points
                    use exact = Gauge.truncate point.Network
                    near 1e-6 point.Sensitivity (Sensitivity.value exact) "S without the bonds that vanish"

                    // Squares of more would cost S those six digits.
                    for core in point.Network.Cores do
                        Expect.isLessThan (core.norm().number()) 1e5 "cores"

                    mirrored case)
            for kind in [ "matrix_tight"; "cpd_loose"; "tucker2_loose"; "tt4_loose"; "tucker3_tight" ] do
                fileTest "golden" $"epc_{kind}.json" (fun path ->
                    use _ = torch.NewDisposeScope()
                    let e = json path
                    let k = tensor (e.GetProperty "K")
                    let best = number "best_known" e
                    let options = { options with MaxSweeps = 400 }
                    use fit = LeastError.fit options best k (network "init" e) |> ok
                    Expect.isLessThanOrEqual fit.Sensitivity (best * (1.0 + 1e-9)) "S"
                    near 1e-3 fit.Error (number "delta" e) "the file's bound")
            testCase "float32 keeps the bound on S" (fun () ->
                use _ = torch.NewDisposeScope()
                let k = (noise 3 [ 4L; 3L; 5L ]).``to`` torch.float32
                let fit = Factorize.run Factorize.defaults (Format.Tucker2(2, 2)) k |> ok
                let found = LeastError.fit options 20.0 k fit.Network |> ok
                Expect.isTrue (found.Network.DType = torch.float32) "dtype"
                Expect.isLessThanOrEqual found.Sensitivity (20.0 * (1.0 + 1e-9)) "S")
            testCase "a bound above what least squares need gives the error of least squares" (fun () ->
                use _ = torch.NewDisposeScope()
                let k = noise 3 [ 4L; 3L; 5L ]
                let fit = Factorize.run Factorize.defaults (Format.Tucker2(2, 2)) k |> ok
                let found = LeastError.fit SweepOptions.defaults 1e12 k fit.Network |> ok
                near 1e-6 found.Error fit.Error "error")
            testCase "a start whose own S is the bound is improved as one below it" (fun () ->
                use _ = torch.NewDisposeScope()
                let k = noise 3 [ 4L; 3L; 5L ]

                for format in [ Format.Tucker2(2, 2); Format.CP 2; Format.TensorChain [ 2; 2; 2 ] ] do
                    let fit = Factorize.run Factorize.defaults format k |> ok
                    let names = fit.Network.Spec.Cores |> List.map _.Name
                    let smaller = names |> List.map (fun name -> name, fit.Network[name].mul(Num.tensor 0.8))
                    let start = Network.create fit.Network.Spec smaller |> ok |> Gauge.balance |> ok
                    let before = Fit.make torch.float64 start.Spec (Seq.toArray start.Cores) k FitHistory.direct
                    let found s = (LeastError.fit options s k start |> ok).Error
                    Expect.isLessThan (found before.Sensitivity) (0.999 * before.Error) $"{format}"
                    near 1e-3 (found before.Sensitivity) (found (1.001 * before.Sensitivity)) $"{format}")
            for s in [ 0.0; -1.0; nan; infinity ] do
                testCase $"{s} is no bound on S" (fun () ->
                    use _ = torch.NewDisposeScope()
                    let k = noise 3 [ 4L; 3L; 5L ]
                    let fit = Factorize.run Factorize.defaults (Format.CP 2) k |> ok

                    match LeastError.fit options s k fit.Network with
                    | Ok _ -> failtest "accepted"
                    | Error errors ->
                        Expect.equal errors [ TensorNetError.Unsupported("The bound on S", string s, "a positive number") ] "error")
        ]

let all = testList "front and mirror" [ front; mirror ]
