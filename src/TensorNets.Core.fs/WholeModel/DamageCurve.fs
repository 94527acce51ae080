namespace TensorNets

open System
open TorchSharp

/// What a layer's kernel loses at a few sizes in every family, without factorizing it in full.
[<RequireQualifiedAccess>]
module internal DamageCurve =
    /// A format with the relative error that it comes to, and the network that comes to it, one for each group, where the options have a
    /// function that wants it; none for what is a truncation.
    type Point = { Axes: KernelAxes; Format: Format; Error: float; Fits: Network list }

    /// Σ_{i > r} λ_i of the Gram of an unfolding, r = 0 … its size, in the units of the kernel squared.
    let private tails (unfolding: Tensor) : float[] =
        use _ = torch.NewDisposeScope()
        let m = if unfolding.shape[0] <= unfolding.shape[1] then unfolding else unfolding.mT
        let values = Decompose.eigvalsh (m.matmul m.mT)
        let falling = ConstrainedQuadratics.toArray values |> Array.sortDescending |> Array.map (max 0.0)
        Array.scanBack (+) falling 0.0

    /// Matrices: the tails say it all. Two modes, or three with one position.
    let private matrices (sizes: float list) (kernel: Tensor) : Point list =
        let s, t = int kernel.shape[0], int kernel.shape[int (kernel.dim ()) - 1]
        let tail = tails (kernel.reshape (int64 s, int64 t))
        let whole = tail[0]

        sizes
        |> List.map (fun size -> min (min s t) (max 1 (int (size / float (s + t)))))
        |> List.distinct
        |> List.map (fun rank ->
            {
                Axes = KernelAxes.Fused
                Format = Format.TensorTrain [ rank ]
                Error = sqrt (tail[rank] / whole)
                Fits = []
            })

    /// The ranks of a Tucker-2 network of at most so many parameters whose tails are least.
    let private tuckerRanks (size: float) (s, d, t) (first: float[]) (last: float[]) =
        [
            for a in 1 .. min s (d * t) do
                let b = int ((size - float (s * a)) / float (d * a + t))
                let b = min b (min t (d * a))

                if b >= 1 && a <= d * b then
                    a, b
        ]
        |> function
            | [] -> None
            | pairs -> Some(pairs |> List.minBy (fun (a, b) -> first[a] + last[b]))

    /// Tucker-2: the spectrum of the first unfolding, then that of the last one once the first mode is projected.
    let private tucker2 (sizes: float list) (kernel: Tensor) : Point list =
        use _ = torch.NewDisposeScope()
        let s, d, t = int kernel.shape[0], int kernel.shape[1], int kernel.shape[2]
        let m = KernelProjection.unfolded 0 kernel
        let struct (values, vectors) = Decompose.eigh (m.matmul m.mT)

        let first =
            Array.scanBack (+) (ConstrainedQuadratics.toArray values |> Array.sortDescending |> Array.map (max 0.0)) 0.0

        let last = tails (KernelProjection.unfolded 2 kernel)

        sizes
        |> List.choose (fun size -> tuckerRanks size (s, d, t) first last)
        |> List.distinct
        |> List.map (fun (a, b) ->
            use _ = torch.NewDisposeScope()
            // The largest eigenvalues stand last.
            let basis = vectors.narrow (1L, int64 (s - a), int64 a)
            let projected = basis.mT.matmul(m).reshape(int64 a, int64 d, int64 t)
            let rest = tails (KernelProjection.unfolded 2 projected)

            {
                Axes = KernelAxes.Fused
                Format = Format.Tucker2(a, b)
                Error = sqrt ((first[a] + rest[min b (rest.Length - 1)]) / first[0])
                Fits = []
            })

    /// The noise with which cores are widened, as a share of their rms.
    let private fresh = 0.05

    /// A start for a spec from the cores of a smaller one of the same structure: they fill a corner, the rest is weak noise.
    let private widened (spec: Spec) (smaller: Network) : Network =
        use scope = torch.NewDisposeScope()
        use noise = Network.random torch.float64 1UL spec

        let cores =
            [|
                for core, old in Seq.zip noise.Cores smaller.Cores ->
                    let scale = fresh * old.norm().number() / sqrt (float (old.numel ()))
                    let spread = core.std().number()
                    let start = core.mul (Num.tensor (scale / max spread 1e-300))
                    let mutable corner = start.alias ()

                    for axis in 0 .. int (old.dim ()) - 1 do
                        corner <- corner.narrow (int64 axis, 0L, old.shape[axis])

                    corner.copy_ old |> ignore
                    scope.MoveToOuter start
            |]

        new Network(spec, cores)

    /// Least squares for each spec in turn, from small to large, each from the cores of the one before.
    let private swept (options: PlanOptions) (kernel: Tensor) (specs: (Format * Spec) list) : (Format * float * Network list) list =
        use _ = torch.NewDisposeScope()
        let sweeps = { SweepOptions.defaults with MaxSweeps = options.Sweeps; Tolerance = 1e-4 }
        let kept (fit: Fit) = if options.Evaluate.IsSome then [ (Fit.toOuterScope fit).Network ] else []

        let rec run (before: Network option) found rest =
            match rest with
            | [] -> List.rev found
            | (format, spec: Spec) :: rest ->
                let start =
                    match before with
                    | Some network -> Ok(widened spec network)
                    | None -> SvdStart.start 0UL spec kernel

                match start |> Result.bind (Als.run sweeps kernel) with
                | Ok fit -> run (Some fit.Network) ((format, fit.RelativeError, kept fit) :: found) rest
                | Error _ -> run before found rest

        run None [] specs

    /// The largest rank of equal ranks whose network has at most so many parameters.
    let private equalRank (size: float) (shape: int list) (ofRank: int -> Format) : (Format * Spec) option =
        let attempt rank =
            match Format.spec shape (ofRank rank) with
            | Ok spec when float (Spec.parameters spec) <= size -> Some(ofRank rank, spec)
            | _ -> None

        let rec grow low high = if (attempt high).IsSome && high < (1 <<< 20) then grow high (2 * high) else bisect low high

        and bisect low high =
            if high - low <= 1 then
                attempt low
            else
                let middle = (low + high) / 2
                if (attempt middle).IsSome then bisect middle high else bisect low middle

        if (attempt 1).IsNone then None else grow 1 2

    /// The points of formats that go by one rank: each of the largest that its size allows, swept from small to large.
    let private byRank
        axes
        (sizes: float list)
        (options: PlanOptions)
        (kernel: Tensor)
        (shape: int list)
        (ofRank: int -> Format)
        : Point list =
        sizes
        |> List.sort
        |> List.choose (fun size -> equalRank size shape ofRank)
        |> List.distinctBy fst
        |> swept options kernel
        |> List.map (fun (format, error, fits) -> { Axes = axes; Format = format; Error = error; Fits = fits })

    /// TT-matrices of channels in so many factors each; none where a number of channels has too few primes. Those of an embedding may have
    /// more rows than there are tokens.
    let private trainMatrices (options: PlanOptions) (g: ConvGeometry) (sizes: float list) (kernel: Tensor) : Point list =
        let s, t = int kernel.shape[0], int kernel.shape[int (kernel.dim ()) - 1]
        let split = if g.IsEmbedding then BalancedFactors.covering else BalancedFactors.exact

        [
            for count in List.distinct options.TrainMatrixModes do
                let rows, columns = split count s, BalancedFactors.exact count t

                if List.min rows > 1 && List.min columns > 1 then
                    let pairs = List.map2 (*) rows columns
                    let before = List.scan (fun p n -> min (p * n) 1_000_000) 1 pairs
                    let behind = List.scanBack (fun n p -> min (n * p) 1_000_000) pairs 1

                    let ofRank rank =
                        let ranks = [ for i in 1 .. count - 1 -> min rank (min before[i] behind[i]) ]
                        Format.TensorTrainMatrix(rows, columns, ranks)

                    let more = List.fold (*) 1 rows - s
                    let padded = torch.nn.functional.pad (kernel.reshape (int64 s, int64 t), [| 0L; 0L; 0L; int64 more |])
                    let split = padded.reshape [| for n in rows @ columns -> int64 n |]
                    yield! byRank KernelAxes.Fused sizes options split [ s + more; t ] ofRank
        ]

    let private ofFamily
        (family: FormatFamily)
        (axes: KernelAxes)
        (sizes: float list)
        (options: PlanOptions)
        (kernel: Tensor)
        : Point list =
        let shape = [ for size in kernel.shape -> int size ]
        let n = shape.Length

        let ofRank rank =
            match family with
            | FormatFamily.TensorChain -> Format.TensorChain(List.replicate n rank)
            | FormatFamily.TensorTrain ->
                let products = shape |> List.scan (*) 1 |> List.map (fun p -> max 1 (min p 1_000_000))
                let behind = List.scanBack (fun (a: int) b -> min (a * b) 1_000_000) shape 1
                Format.TensorTrain [ for i in 1 .. n - 1 -> min rank (min products[i] behind[i]) ]
            | FormatFamily.Tucker -> Format.Tucker [ for size in shape -> min rank size ]
            | _ -> Format.CP rank

        byRank axes sizes options kernel shape ofRank

    /// Every point of a layer's curve for parameters of the kernel of one group; its networks belong to the scope of the caller.
    let points (options: PlanOptions) (g: ConvGeometry) (covariance: Tensor option) (sizes: float list) (weight: Tensor) : Point list =
        use _ = Mode.left ()
        use _ = torch.no_grad ()
        use scope = torch.NewDisposeScope()
        let kernel = Check.double (ConvGeometry.kernelOfWeight g (weight.detach ()))

        let one (kernel: Tensor) =
            let plain = kernel
            let kernel = KernelProjection.whitened (if g.Groups = 1L then covariance else None) kernel

            if g.IsEmbedding then
                // Shares of tokens weigh rows, which no core of a TT-matrix carries alone.
                matrices sizes kernel @ trainMatrices options g sizes plain
            elif GeometryChecks.positions g = 1L then
                matrices sizes kernel @ trainMatrices options g sizes kernel
            else
                options.Families
                |> List.collect (fun family ->
                    match family with
                    | FormatFamily.Tucker2 -> tucker2 sizes kernel
                    | FormatFamily.TensorTrain when g.Kernel.Length > 1 ->
                        // Over fused positions a train is a Tucker-2 network.
                        let shape = KernelFit.target KernelAxes.Separate (Format.CP 1) g
                        ofFamily family KernelAxes.Separate sizes options (kernel.reshape (List.toArray shape))
                    | family -> ofFamily family KernelAxes.Fused sizes options kernel)

        let found =
            if g.Groups = 1L then
                one kernel
            else
                // Of several groups, the mean over those that have the candidate.
                let groups = [ for i in 0L .. g.Groups - 1L -> one (kernel.select (0L, i)) ]

                groups
                |> List.concat
                |> List.groupBy (fun point -> point.Axes, point.Format)
                // A network for each group, where there are any.
                |> List.filter (fun (_, points) -> points.Head.Fits.IsEmpty || points.Length = groups.Length)
                |> List.map (fun ((axes, format), points) ->
                    {
                        Axes = axes
                        Format = format
                        Error = sqrt (points |> List.averageBy (fun point -> point.Error * point.Error))
                        Fits = points |> List.collect _.Fits
                    })

        for point in found do
            for fit in point.Fits do
                for core in fit.Cores do
                    scope.MoveToOuter core |> ignore

        found
