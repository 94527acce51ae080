/// The norm weighted by a covariance: errors, S, gauge, least squares and correction in it.
module WeightedLaws

open Expecto
open TorchSharp
open TensorNets
open Generators
open Golden

/// A block is solved by its Gram, which squares the condition.
let private gramRounding = 1e-7

let private sweeps n = { SweepOptions.defaults with MaxSweeps = n; Tolerance = 1e-9 }

/// A covariance of a given rank from a seed.
let private covariance (seed: int) (n: int) (rank: int) : torch.Tensor =
    let x = noise seed [ int64 n; int64 rank ]
    x.matmul(x.mT).div(Num.tensor (float rank))

let private size (spec: Spec) modes = modes |> List.fold (fun n mode -> n * Spec.dim spec.Output[mode] spec) 1

/// One mode, or where the seed says so two; a covariance over them, at times a singular one.
let private normOf (seed: int) (spec: Spec) : Norm =
    let n = spec.Output.Length
    let first = seed % n

    let modes = if seed % 4 = 0 && n > 1 then [ first; (first + 1 + seed / 4 % (n - 1)) % n ] else [ first ]

    let width = size spec modes
    let rank = if seed % 3 = 0 then max 1 (width - 1) else width + 2
    Norm.Weighted(modes, covariance (seed + 5) width rank)

/// tr(D Σ Dᵀ), D the tensor with the weighted modes as columns.
let private quadratic (norm: Norm) (tensor: torch.Tensor) : float =
    match norm with
    | Norm.Frobenius -> tensor.squared().sum().number()
    | Norm.Weighted(modes, sigma) ->
        let others = [ 0 .. int (tensor.dim ()) - 1 ] |> List.except modes
        let d = tensor.permute([| for mode in others @ modes -> int64 mode |]).reshape(-1L, sigma.shape[0])
        d.matmul(sigma).mul(d).sum().number()

let private distance norm (k: torch.Tensor) (network: Network) = sqrt (max 0.0 (quadratic norm (k.minus (Contraction.reconstruct network))))

let private noisy (case: FormatCase) =
    let clean = Contraction.reconstruct (randomNetwork case.Seed case.Spec)
    let rough = noise (case.Seed + 1) clean.shape
    clean.plus (rough.mul (clean.norm().div(rough.norm ()).mul(Num.tensor 0.3)))

let private start (case: FormatCase) =
    (Factorize.runSpec { Factorize.defaults with Sweeps = sweeps 3 } case.Spec (noisy case) |> ok).Network

/// The Jacobian by unit tensors, each column measured in the norm.
let private bruteForce (norm: Norm) (network: Network) : float =
    let spec, cores = network.Spec, arrays network
    let shape = Spec.shape spec |> List.toArray

    spec.Cores
    |> List.sumBy (fun core ->
        Seq.init cores[core.Name].Length (fun i ->
            let unit = Array.init cores[core.Name].Length (fun j -> if i = j then 1.0 else 0.0)

            torch.tensor(Oracle.contract spec (cores |> Map.add core.Name unit), dtype = torch.float64).reshape shape
            |> quadratic norm)
        |> Seq.sum)

let private value norm network = Sensitivity.valueIn norm network |> ok

let private sensitivity =
    testList
        "sensitivity"
        [
            law "of any network is the squared norm of the Jacobian in the weighted norm" (fun (case: AnyNetwork) ->
                if not case.Output.IsEmpty then
                    let network = randomNetwork case.Seed case.Spec
                    let norm = normOf case.Seed case.Spec
                    near 1e-9 (value norm network + 1e-12) (bruteForce norm network + 1e-12) "S")
            law "of a format is the squared norm of the Jacobian in the weighted norm" (fun (case: FormatCase) ->
                let network = randomNetwork case.Seed case.Spec
                let norm = normOf case.Seed case.Spec
                near 1e-9 (value norm network) (bruteForce norm network) "S")
            law "with the identity is the plain one" (fun (case: AnyNetwork) ->
                if not case.Output.IsEmpty then
                    let network = randomNetwork case.Seed case.Spec
                    let modes = [ 0 .. case.Output.Length - 1 ]
                    let norm = Norm.Weighted(modes, torch.eye (int64 (size case.Spec modes), dtype = torch.float64))
                    near 1e-10 (value norm network + 1e-12) (Sensitivity.value network + 1e-12) "S")
            costlyLaw "its gradient is that of brute force" (fun (case: FormatCase) ->
                let network = randomNetwork case.Seed case.Spec
                let norm = normOf case.Seed case.Spec
                let leaves = [ for core in network.Cores -> core.detach().requires_grad_ true ]
                (Sensitivity.totalIn norm (networkOf case.Spec leaves) |> ok).backward()
                let direction = [ for core in network.Cores -> noise case.Seed core.shape ]
                let h = 1e-5

                let at (step: float) =
                    networkOf
                        case.Spec
                        (List.map2
                            (fun (core: torch.Tensor) (d: torch.Tensor) -> core.detach().plus(d.mul (Num.tensor step)))
                            leaves
                            direction)
                    |> value norm

                let slope =
                    List.map2 (fun (leaf: torch.Tensor) (d: torch.Tensor) -> (nonNull leaf.grad).mul(d).sum().number()) leaves direction
                    |> List.sum

                // Central differences: an error of h², and rounding of S over h.
                let s = value norm network
                Expect.isLessThanOrEqual (abs ((at h - at -h) / (2.0 * h) - slope)) (1e-5 * (s + abs slope)) "slope")
        ]

let private gauge =
    testList
        "gauge"
        [
            costlyLaw "balance in a norm keeps T, never raises the weighted S, and is the same from any gauge" (fun (case: FormatCase) ->
                let network = randomNetwork case.Seed case.Spec
                let norm = normOf case.Seed case.Spec
                let other = regauged case.Seed network

                match Gauge.balanceIn norm network, Gauge.balanceIn norm other with
                | Ok balanced, Ok again ->
                    close 1e-8 (Contraction.reconstruct balanced) (Contraction.reconstruct network) "T"
                    Expect.isLessThanOrEqual (value norm balanced) (value norm network * (1.0 + 1e-9)) "S"
                    near 1e-6 (value norm again) (value norm balanced) "S from another gauge"
                // A covariance of low rank can leave a bond without a least S.
                | Error [ TensorNetError.RankDeficientBond _ ], _
                | _, Error [ TensorNetError.RankDeficientBond _ ] -> ()
                | Error errors, _
                | _, Error errors -> failtestf "%A" (errors |> List.map _.Message))
        ]

/// Networks written by hand whose weighted axis several cores carry.
let private handWritten =
    [
        "sa, sb, abt -> st | s=4 a=2 b=3 t=3"
        "sr, dr, tr, sr -> sdt | s=4 d=3 t=3 r=2"
        "sta, sb, abd -> sdt | s=3 t=3 d=4 a=2 b=2"
    ]
    |> List.map (fun text -> Spec.parse [] text |> specOk)

let private leastSquares (norm: Norm) (k: torch.Tensor) (start: Network) =
    let options = { sweeps 15 with Norm = norm }
    let fit = Als.run options k start |> ok
    // The distance is a sum of squares, some of which cancel: known to the rounding of ‖KΣ^½‖².
    let rounding = 1e-8 * quadratic norm k
    near 1e-6 (distance norm k fit.Network ** 2.0 + rounding) (fit.Error ** 2.0 + rounding) "error"
    near 1e-6 (value norm fit.Network) fit.Sensitivity "S"

    for before, after in Seq.pairwise fit.Trace do
        Expect.isLessThanOrEqual after (before * (1.0 + 1e-9) + gramRounding) "error of a sweep"

    Expect.isLessThanOrEqual fit.Error (distance norm k start * (1.0 + 1e-9) + gramRounding * k.norm().number()) "error against the start"

let private correction (norm: Norm) (k: torch.Tensor) (start: Network) =
    let fit = Als.run { sweeps 15 with Norm = norm } k start |> ok
    let whole = sqrt (quadratic norm k)

    for slack in [ 1.001; 1.3 ] do
        let delta = fit.Error * slack

        if delta > 1e-6 * whole && delta < whole then
            match Correction.epc { sweeps 15 with Norm = norm } (ErrorBound.Absolute delta) k fit.Network with
            | Ok corrected ->
                Expect.isLessThanOrEqual (distance norm k corrected.Network) (delta * (1.0 + 1e-8)) "error"
                near 1e-6 (value norm corrected.Network) corrected.Sensitivity "S as reported"
                Expect.isLessThanOrEqual corrected.Sensitivity (fit.Sensitivity * (1.0 + 1e-8)) "S"

                for before, after in Seq.pairwise corrected.Trace do
                    Expect.isLessThanOrEqual after (before * (1.0 + 1e-12)) "S of a sweep"
            | Error [ TensorNetError.RankDeficientBond _ ] -> ()
            | Error errors -> failtestf "%A" (errors |> List.map _.Message)

let private byHand name (check: Norm -> torch.Tensor -> Network -> unit) =
    testList
        name
        [
            for spec in handWritten do
                for seed in [ 1; 2; 3; 4 ] do
                    testCase $"{spec}, seed {seed}" (fun () ->
                        use _ = torch.NewDisposeScope()
                        check (normOf seed spec) (noise seed (Spec.shape spec)) (randomNetwork (seed + 1) spec))
        ]

let private iterations =
    testList
        "iterations"
        [
            costlyLaw "the weighted error never rises, and what is reported is what the network has" (fun (case: FormatCase) ->
                leastSquares (normOf case.Seed case.Spec) (noisy case) (start case))
            byHand "the weighted error never rises where several cores carry the axis" leastSquares
            costlyLaw "correction keeps the weighted error within the bound and never raises the weighted S" (fun (case: FormatCase) ->
                correction (normOf case.Seed case.Spec) (noisy case) (start case))
            byHand "correction where several cores carry the axis" correction
            costlyLaw "with the identity all is as in the Frobenius norm" (fun (case: FormatCase) ->
                let k = noisy case
                let mode = case.Seed % case.Spec.Output.Length
                let norm = Norm.Weighted([ mode ], torch.eye (int64 (size case.Spec [ mode ]), dtype = torch.float64))
                let plain = { Factorize.defaults with Sweeps = sweeps 10 }
                let weighted = { plain with Sweeps = { plain.Sweeps with Norm = norm } }
                let a, b = Factorize.runSpec plain case.Spec k |> ok, Factorize.runSpec weighted case.Spec k |> ok
                near 1e-6 (b.Error + gramRounding) (a.Error + gramRounding) "error"
                let bound = ErrorBound.Absolute(1.2 * a.Error)

                if a.Error > 1e-3 && 1.2 * a.Error < k.norm().number() then
                    match Correction.epc plain.Sweeps bound k a.Network, Correction.epc weighted.Sweeps bound k a.Network with
                    | Ok a, Ok b -> near 1e-5 b.Sensitivity a.Sensitivity "S"
                    | Error [ TensorNetError.RankDeficientBond _ ], _ -> ()
                    | _, Error errors
                    | Error errors, _ -> failtestf "%A" (errors |> List.map _.Message))
            costlyLaw "a diagonal covariance is the scaling of the mode" (fun (case: FormatCase) ->
                let k = noisy case
                let mode = case.Seed % case.Spec.Output.Length
                let n = int64 (size case.Spec [ mode ])
                let scale = (noise case.Seed [ n ]).exp()
                let shape = Array.init (int (k.dim ())) (fun i -> if i = mode then n else 1L)
                let scaled (tensor: torch.Tensor) = tensor.mul (scale.reshape shape)
                let norm = Norm.Weighted([ mode ], torch.diag (scale.squared ()))
                let options = { sweeps 10 with Norm = norm }
                let first = start case
                let carrier = (Spec.carriers case.Spec.Output[mode] case.Spec).Head

                let stretched =
                    case.Spec.Cores
                    |> List.map (fun core ->
                        if core = carrier then
                            along first[core.Name] (List.findIndex ((=) case.Spec.Output[mode]) core.Axes) (torch.diag scale)
                        else
                            first[core.Name])
                    |> networkOf case.Spec

                let weighted = Als.run options k first |> ok
                let plain = Als.run (sweeps 10) (scaled k) stretched |> ok
                // Sweeps over a network with more ranks than it needs make more of a rounding: 3e-5 of the error where the target has other
                // units, or differs by 1e-14. What they make of it without a norm is allowed with one.
                let spread =
                    List.max
                        [
                            for unit in [ 1.0 + 1e-14; 0.7; 1.1; 1.3 ] do
                                let again = Als.run (sweeps 10) ((scaled k).mul(Num.tensor unit)) stretched |> ok
                                abs (again.Error / unit - plain.Error)
                        ]

                let room = 10.0 * spread + 1e-6 * (plain.Error + 1e-4 * (scaled k).norm().number())
                Expect.isLessThanOrEqual (abs (weighted.Error - plain.Error)) room "error"

                if plain.RelativeError > 1e-3 && spread < 1e-7 * plain.Error then
                    close 1e-4 (scaled (Contraction.reconstruct weighted.Network)) (Contraction.reconstruct plain.Network) "T")
            costlyLaw "where Σ vanishes T has nothing" (fun (case: FormatCase) ->
                let k = noisy case
                let mode = case.Seed % case.Spec.Output.Length
                let n = size case.Spec [ mode ]

                if n > 1 then
                    let x = (noise case.Seed [ int64 n; 9L ])

                    let silent =
                        x.mul (torch.tensor([| for i in 0 .. n - 1 -> if i = 0 then 0.0 else 1.0 |], dtype = torch.float64).unsqueeze 1L)

                    let norm = Norm.Weighted([ mode ], silent.matmul silent.mT)
                    let options = { Factorize.defaults with Sweeps = { sweeps 10 with Norm = norm } }
                    let fit = Factorize.runSpec options case.Spec k |> ok
                    let slice = (Contraction.reconstruct fit.Network).select(int64 mode, 0L)
                    Expect.isLessThanOrEqual (slice.norm().number()) (1e-8 * k.norm().number()) "the silent slice")
            costlyLaw "from the result of plain least squares weighted ones only lower the weighted error" (fun (case: FormatCase) ->
                let k = noisy case
                let norm = normOf case.Seed case.Spec
                let plain = Factorize.runSpec { Factorize.defaults with Sweeps = sweeps 10 } case.Spec k |> ok
                let weighted = Als.run { sweeps 10 with Norm = norm } k plain.Network |> ok
                let slack = gramRounding * sqrt (quadratic norm k)
                Expect.isLessThanOrEqual weighted.Error (distance norm k plain.Network + slack) "weighted error")
            costlyLaw "a bound in a weighted norm is met, and corrected the network is less sensitive" (fun (case: FormatCase) ->
                let shape = [| for n in case.Shape -> int64 n |]
                let k = (noisy case).reshape shape

                if case.Shape.Length = 3 then
                    let mode = case.Seed % 3
                    let norm = Norm.Weighted([ mode ], covariance case.Seed case.Shape[mode] (case.Shape[mode] + 1))
                    let options = { Factorize.defaults with Sweeps = { sweeps 10 with Norm = norm } }

                    for family in [ FormatFamily.CP; FormatFamily.Tucker2; FormatFamily.TensorTrain; FormatFamily.TensorChain ] do
                        let bound = ErrorBound.Relative 0.4
                        let fit = Factorize.toBound options bound family k |> ok
                        Expect.isLessThanOrEqual (distance norm k fit.Network) (0.4 * (1.0 + 1e-8) * sqrt (quadratic norm k)) "error"

                        match Factorize.stableToBound options bound family k with
                        | Ok stable ->
                            Expect.isLessThanOrEqual stable.RelativeError (0.4 * (1.0 + 1e-8)) "error"
                            Expect.isLessThanOrEqual stable.Sensitivity (fit.Sensitivity * (1.0 + 1e-8)) "S"
                        | Error [ TensorNetError.RankDeficientBond _ ] -> ()
                        | Error errors -> failtestf "%A" (errors |> List.map _.Message))
            costlyLaw "the front and its mirror keep their bounds in the weighted norm" (fun (case: FormatCase) ->
                let k = noisy case
                let norm = normOf case.Seed case.Spec
                let options = { sweeps 8 with Norm = norm }
                let first = (Als.run options k (start case) |> ok).Network

                match ParetoFront.trace options [ 0.5; 0.7; 0.9 ] k first with
                | Error [ TensorNetError.Unreachable _ ]
                | Error [ TensorNetError.RankDeficientBond _ ] -> ()
                | Error errors -> failtestf "%A" (errors |> List.map _.Message)
                | Ok front ->
                    for point in front.Points do
                        Expect.isLessThanOrEqual
                            (distance norm k point.Network)
                            (point.Bound * (1.0 + 1e-8) * sqrt (quadratic norm k))
                            "error"

                        near 1e-6 (value norm point.Network) point.Sensitivity "S"

                    let s = front.Points[front.Points.Count - 1].Sensitivity * 1.5

                    match LeastError.fit options s k first with
                    | Ok mirror -> Expect.isLessThanOrEqual (value norm mirror.Network) (s * (1.0 + 1e-6)) "S of the mirror"
                    | Error [ TensorNetError.RankDeficientBond _ ] -> ()
                    | Error errors -> failtestf "%A" (errors |> List.map _.Message))
            costlyLaw "neither target, start nor covariance is changed; float32 comes back as float32" (fun (case: FormatCase) ->
                let k = (noisy case).``to`` torch.float32
                let first = Network.copyAs torch.float32 (start case)

                match normOf case.Seed case.Spec with
                | Norm.Frobenius -> ()
                | Norm.Weighted(_, sigma) as norm ->
                    let before = [ for tensor in k :: sigma :: List.ofSeq first.Cores -> tensor.clone () ]
                    let options = { sweeps 3 with Norm = norm }
                    let fit = Als.run options k first |> ok
                    Correction.epc options (ErrorBound.Relative 0.9) k first |> ignore
                    Gauge.balanceIn norm first |> ignore
                    value norm first |> ignore

                    List.iter2
                        (fun (a: torch.Tensor) b -> Expect.isTrue (identical a b) "bits")
                        before
                        (k :: sigma :: List.ofSeq first.Cores)

                    Expect.isTrue (fit.Network.Cores |> Seq.forall (fun core -> core.dtype = torch.float32)) "dtype")
            testCase "the rows of a TT-matrix are weighted together" (fun () ->
                use _ = torch.NewDisposeScope()
                let k = noise 1 [ 6L; 6L ]
                let norm = Norm.Weighted([ 0 ], covariance 2 6 8)
                let format = Format.TensorTrainMatrix([ 2; 3 ], [ 3; 2 ], [ 2 ])
                let options = { Factorize.defaults with Sweeps = { sweeps 40 with Norm = norm } }
                let fit = Factorize.run options format k |> ok
                let plain = Factorize.run { options with Sweeps = sweeps 40 } format k |> ok
                let error (fit: Fit) = sqrt (quadratic norm (k.minus ((Contraction.reconstruct fit.Network).reshape(6L, 6L))))
                near 1e-6 (error fit) fit.Error "error"
                Expect.isLessThan fit.Error (error plain) "weighted error")
        ]

let private realKernels =
    testList
        "real kernels"
        [
            fileTest "data" "face-resnet-kernels.safetensors" (fun path ->
                use _ = torch.NewDisposeScope()
                let kernels, _ = safetensors path

                let name, weight =
                    kernels
                    |> Map.toSeq
                    |> Seq.filter (fun (_, w) -> w.dim () = 4L && w.shape[1] >= 64L)
                    |> Seq.minBy (fun (_, w) -> w.numel ())

                let k = ConvGeometry.kernelOfWeight (ConvGeometry.ofWeight weight) weight
                let n = int k.shape[0]
                // Correlated channels of falling strength.
                let norm = Norm.Weighted([ 0 ], covariance 3 n (n / 4) |> Norm.shrunk 0.01 |> ok)

                for format in
                    [
                        Format.CP 24
                        Format.Tucker2(24, 24)
                        Format.TensorTrain [ 24; 24 ]
                        Format.TensorChain [ 3; 8; 8 ]
                    ] do
                    let options = { Factorize.defaults with Sweeps = { sweeps 20 with Tolerance = 1e-6 } }
                    let plain = Factorize.run options format k |> ok

                    let weighted =
                        Factorize.run { options with Sweeps = { options.Sweeps with Norm = norm } } format k |> ok

                    Expect.isLessThan weighted.Error (distance norm k plain.Network) $"{name}, {Format.name format}")
        ]

let private refused expected (norm: Norm) =
    let k = noise 1 [ 4L; 3L; 4L ]
    let options = { Factorize.defaults with Sweeps = { sweeps 3 with Norm = norm } }
    let first = (Factorize.run Factorize.defaults (Format.CP 2) k |> ok).Network

    let results =
        [
            Factorize.run options (Format.CP 2) k |> Result.map ignore
            Factorize.stable options None (Format.CP 2) k |> Result.map ignore
            Factorize.toBound options (ErrorBound.Relative 0.5) FormatFamily.Tucker2 k |> Result.map ignore
            Als.run options.Sweeps k first |> Result.map ignore
            Correction.epc options.Sweeps (ErrorBound.Relative 0.9) k first |> Result.map ignore
            ParetoFront.trace options.Sweeps [ 0.9 ] k first |> Result.map ignore
            LeastError.fit options.Sweeps 10.0 k first |> Result.map ignore
            Gauge.balanceIn norm first |> Result.map ignore
            Sensitivity.totalIn norm first |> Result.map ignore
        ]

    for result in results do
        match result with
        | Error errors -> Expect.isTrue (expected errors) $"%A{errors |> List.map _.Message}"
        | Ok() -> failtest "accepted"

let private refusal name (make: unit -> Norm) expected =
    testCase name (fun () ->
        use _ = torch.NewDisposeScope()
        refused expected (make ()))

let private eye n : torch.Tensor = torch.eye (n, dtype = torch.float64)

let private refusals =
    testList
        "refusals"
        [
            refusal "a mode that the target has not" (fun () -> Norm.Weighted([ 3 ], eye 4L)) (function
                | [ TensorNetError.Unsupported("The modes of the norm", "[3]", _) ] -> true
                | _ -> false)
            refusal "no mode, a mode twice" (fun () -> Norm.Weighted([ 0; 0 ], eye 16L)) (List.exists _.IsUnsupported)
            refusal "a covariance of another size" (fun () -> Norm.Weighted([ 0 ], eye 5L)) (function
                | [ TensorNetError.Shape("The covariance", [ 5L; 5L ], _) ] -> true
                | _ -> false)
            refusal
                "a covariance that is no matrix"
                (fun () -> Norm.Weighted([ 0 ], torch.ones (4L, dtype = torch.float64)))
                (List.exists _.IsShape)
            refusal "a covariance that is zero" (fun () -> Norm.Weighted([ 0 ], torch.zeros_like (eye 4L))) (List.exists _.IsZeroTensor)
            refusal "a covariance with NaN" (fun () -> Norm.Weighted([ 0 ], (eye 4L).mul(Num.tensor nan))) (List.exists _.IsNotFinite)
            refusal "a covariance of whole numbers" (fun () -> Norm.Weighted([ 0 ], (eye 4L).``to`` torch.int64)) (List.exists _.IsDType)
            refusal
                "a covariance that is not symmetric"
                (fun () -> Norm.Weighted([ 0 ], noise 1 [ 4L; 4L ]))
                (List.exists _.IsNotCovariance)
            refusal
                "a covariance with a negative eigenvalue"
                (fun () -> Norm.Weighted([ 0 ], (eye 4L).neg()))
                (List.exists _.IsNotCovariance)
            testCase "a target that lies where Σ vanishes" (fun () ->
                use _ = torch.NewDisposeScope()
                let first: torch.Tensor = torch.tensor ([| 1.0; 0.0; 0.0 |], dtype = torch.float64)
                let k = (noise 1 [ 3L; 4L ]).mul(first.unsqueeze 1L)
                let norm = Norm.Weighted([ 0 ], torch.diag ((torch.ones_like first).minus first))

                match Factorize.run { Factorize.defaults with Sweeps = { sweeps 3 with Norm = norm } } (Format.TensorTrain [ 1 ]) k with
                | Error [ TensorNetError.ZeroTensor _ ] -> ()
                | other -> failtestf "%A" other)
            testCase "shrinking keeps the trace and ends at the identity" (fun () ->
                use _ = torch.NewDisposeScope()
                let sigma = covariance 1 4 2
                let trace (m: torch.Tensor) = m.trace().number()
                near 1e-12 (trace (Norm.shrunk 0.3 sigma |> ok)) (trace sigma) "trace"
                close 1e-12 (Norm.shrunk 1.0 sigma |> ok) ((eye 4L).mul(Num.tensor (trace sigma / 4.0))) "the identity"

                for share in [ -0.1; 1.1; nan ] do
                    Expect.isTrue (Norm.shrunk share sigma).IsError "share")
        ]

let all = testList "weighted norm" [ sensitivity; gauge; iterations; realKernels; refusals ]
