namespace TensorNets

open System
open TorchSharp

/// What a layer's kernel loses at a few sizes in every family, without factorizing it in full.
[<RequireQualifiedAccess>]
module internal DamageCurve =
    /// A format with the relative error that it comes to.
    type Point =
        {
            Axes: KernelAxes
            Format: Format
            Error: float
            /// What rounding to some bits adds to the squared error.
            Noise: (int * float) list
            /// The network that comes to the error, one for each group, where the options have a function that wants it; none for what is
            /// a truncation.
            Fits: Network list
        }

    /// The same points, their networks moved to the scope around one.
    let toOuter (scope: DisposeScope) (points: Point list) : Point list =
        for point in points do
            for fit in point.Fits do
                for core in fit.Cores do
                    scope.MoveToOuter core |> ignore

        points

    /// What curves are made with: parameters of the points, options, and what tells the noise of rounding.
    [<NoComparison; NoEquality>]
    type private Making =
        {
            Sizes: float list
            /// The error that one more candidate should just keep, where the spectrum tells its rank.
            Bound: float option
            Options: PlanOptions
            Rounding: CandidateRounding
        }

    /// So many eigenvectors of the largest eigenvalues, which stand last.
    let private last (count: int) (vectors: Tensor) : Tensor = vectors.narrow (1L, vectors.shape[1] - int64 count, int64 count)

    /// Σ_{i > r} λ_i of the eigenvalues of a Gram, r = 0 … their number.
    let private tailsOf (values: Tensor) : float[] =
        let falling = ConstrainedQuadratics.toArray values |> Array.sortDescending |> Array.map (max 0.0)
        Array.scanBack (+) falling 0.0

    /// The Gram of an unfolding along its shorter side.
    let private gram (unfolding: Tensor) : Tensor =
        let m = if unfolding.shape[0] <= unfolding.shape[1] then unfolding else unfolding.mT
        m.matmul m.mT

    /// The tails of the Gram of an unfolding, in the units of the kernel squared.
    let private tails (unfolding: Tensor) : float[] =
        use _ = torch.NewDisposeScope()
        tailsOf (Decompose.eigvalsh (gram unfolding))

    /// Matrices: the tails say it all. Two modes, or three with one position.
    let private matrices (making: Making) (kernel: Tensor) : Point list =
        use _ = torch.NewDisposeScope()
        let s, t = int kernel.shape[0], int kernel.shape[int (kernel.dim ()) - 1]
        let matrix = kernel.reshape (int64 s, int64 t)

        // Networks of all ranks are made of the same directions, which outlive what each of them is rounded in.
        let values, directions =
            if making.Rounding.Bits.IsEmpty then
                Decompose.eigvalsh (gram matrix), None
            else
                let struct (values, vectors) = Decompose.eigh (gram matrix)
                values, Some vectors

        let tail = tailsOf values

        let network rank (directions: Tensor) () =
            let u = last rank directions
            let cores = if s <= t then [ u; u.mT.matmul matrix ] else [ matrix.matmul u; u.mT ]
            CandidateRounding.networkOf [ s; t ] (Format.TensorTrain [ rank ]) cores

        let noise rank =
            directions
            |> Option.map (fun directions -> CandidateRounding.noise making.Rounding (network rank directions))
            |> Option.defaultValue []

        let atBound =
            making.Bound
            |> Option.bind (fun bound -> Seq.tryFind (fun rank -> tail[rank] <= bound * bound * tail[0]) (seq { 1 .. min s t }))

        List.map (fun size -> min (min s t) (max 1 (int (size / float (s + t))))) making.Sizes
        @ Option.toList atBound
        |> List.distinct
        |> List.map (fun rank ->
            {
                Axes = KernelAxes.Fused
                Format = Format.TensorTrain [ rank ]
                Error = sqrt (tail[rank] / tail[0])
                Noise = noise rank
                Fits = []
            })

    /// Tucker-2 of some ranks: the spectrum of the first unfolding, then that of the last one once the first mode is projected.
    let private tucker2 (making: Making) (ranks: (int * int) list) (values: Tensor, vectors: Tensor) (kernel: Tensor) : Point list =
        use _ = torch.NewDisposeScope()
        let s, d, t = int kernel.shape[0], int kernel.shape[1], int kernel.shape[2]
        let m = KernelProjection.unfolded 0 kernel
        let first = tailsOf values

        ranks
        |> List.map (fun (a, b) ->
            use _ = torch.NewDisposeScope()
            let basis = last a vectors
            let projected = basis.mT.matmul(m).reshape(int64 a, int64 d, int64 t)
            let unfolded = KernelProjection.unfolded 2 projected
            let rest = tails unfolded

            let network () =
                let struct (_, vectors) = Decompose.eigh (unfolded.matmul unfolded.mT)
                let v = last b vectors
                CandidateRounding.networkOf [ s; d; t ] (Format.Tucker2(a, b)) [ basis; projected.matmul(v).permute(0L, 2L, 1L); v ]

            {
                Axes = KernelAxes.Fused
                Format = Format.Tucker2(a, b)
                Error = sqrt ((first[a] + rest[min b (rest.Length - 1)]) / first[0])
                Noise = CandidateRounding.noise making.Rounding network
                Fits = []
            })

    /// Least squares for each spec in turn, from small to large, each from the cores of the one before.
    let private swept (making: Making) (kernel: Tensor) (specs: (Format * Spec) list) =
        use _ = torch.NewDisposeScope()
        let sweeps = { SweepOptions.defaults with MaxSweeps = making.Options.Sweeps; Tolerance = 1e-4 }
        let kept (fit: Fit) = if making.Options.Evaluate.IsSome then [ (Fit.toOuterScope fit).Network ] else []

        let rec run (before: Network option) found rest =
            match rest with
            | [] -> List.rev found
            | (format, spec: Spec) :: rest ->
                let start =
                    match before with
                    | Some network -> Ok(WidenedStart.ofSmaller spec network)
                    | None -> SvdStart.start 0UL spec kernel

                match start |> Result.bind (Als.run sweeps kernel) with
                | Ok fit ->
                    let noise = CandidateRounding.noise making.Rounding (fun () -> fit.Network)
                    run (Some fit.Network) ((format, fit.RelativeError, noise, kept fit) :: found) rest
                | Error _ -> run before found rest

        run None [] specs

    /// The points of formats that go by one rank: each of the largest that its size allows, swept from small to large.
    let private byRank axes (making: Making) (kernel: Tensor) (shape: int list) (ofRank: int -> Format) : Point list =
        making.Sizes
        |> List.sort
        |> List.choose (fun size -> EqualRank.within size shape ofRank)
        |> List.distinctBy fst
        |> swept making kernel
        |> List.map (fun (format, error, noise, fits) -> { Axes = axes; Format = format; Error = error; Noise = noise; Fits = fits })

    /// TT-matrices of channels in so many factors each; none where a number of channels has too few primes. Those of an embedding may have
    /// more rows than there are tokens.
    let private trainMatrices (g: ConvGeometry) (making: Making) (kernel: Tensor) : Point list =
        let s, t = int kernel.shape[0], int kernel.shape[int (kernel.dim ()) - 1]
        let split = if g.IsEmbedding then BalancedFactors.covering else BalancedFactors.exact

        [
            for count in List.distinct making.Options.TrainMatrixModes do
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
                    yield! byRank KernelAxes.Fused making split [ s + more; t ] ofRank
        ]

    let private ofFamily (family: FormatFamily) (axes: KernelAxes) (making: Making) (kernel: Tensor) : Point list =
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

        byRank axes making kernel shape ofRank

    /// The dense kernel, of which nothing is lost but by rounding.
    let private dense (making: Making) (kernel: Tensor) : Point =
        let network () = CandidateRounding.networkOf [ for size in kernel.shape -> int size ] Format.Dense [ kernel ]

        {
            Axes = KernelAxes.Fused
            Format = Format.Dense
            Error = 0.0
            Noise = CandidateRounding.noise making.Rounding network
            Fits = []
        }

    /// The points of a family other than Tucker-2 for a kernel of several positions.
    let private ofKernel (g: ConvGeometry) (making: Making) (kernel: Tensor) (family: FormatFamily) : Point list =
        match family with
        | FormatFamily.TensorTrain when g.Kernel.Length > 1 ->
            // Over fused positions a train is a Tucker-2 network.
            let shape = KernelFit.target KernelAxes.Separate (Format.CP 1) g
            ofFamily family KernelAxes.Separate making (kernel.reshape (List.toArray shape))
        | family -> ofFamily family KernelAxes.Fused making kernel

    /// The points that all groups have, by the shares that their kernels have of the square of all.
    let private overGroups (squares: float list) (groups: Point list list) : Point list =
        let whole = max 1e-300 (List.sum squares)

        List.map2 (fun square points -> [ for point in points -> square / whole, point ]) squares groups
        |> List.concat
        |> List.groupBy (fun (_, point) -> point.Axes, point.Format)
        |> List.filter (fun (_, points) -> points.Length = groups.Length)
        |> List.map (fun ((axes, format), shared) ->
            let points = List.map snd shared

            {
                Axes = axes
                Format = format
                Error = sqrt (shared |> List.sumBy (fun (share, point) -> share * point.Error * point.Error))
                Noise =
                    [
                        for share, point in shared do
                            for bits, noise in point.Noise -> bits, share * noise
                    ]
                    |> List.groupBy fst
                    |> List.map (fun (bits, of') -> bits, List.sumBy snd of')
                Fits = points |> List.collect _.Fits
            })

    /// Every point of a layer's curve; its networks belong to the scope of the caller. With a bound on the error, matrices and Tucker-2
    /// have the point that just keeps it too.
    let points (bound: float option) (options: PlanOptions) (g: ConvGeometry) (norm: InputNorm) (weight: Tensor) : Point list =
        use _ = Mode.left ()
        use _ = torch.no_grad ()
        use scope = torch.NewDisposeScope()
        let kernel = Check.double (ConvGeometry.kernelOfWeight g (weight.detach ()))

        let plains =
            if g.Groups = 1L then [ kernel ] else [ for i in 0L .. g.Groups - 1L -> kernel.select (0L, i) ]

        let kernels = plains |> List.map (KernelProjection.whitened norm)
        let squares = [ for kernel in kernels -> kernel.squared().sum().number() ]
        let sizes = [ for ratio in options.Ratios -> float (plains.Head.numel ()) / ratio ]
        let isSpatial = not g.IsEmbedding && GeometryChecks.positions g > 1L

        let spectra =
            if isSpatial && List.contains FormatFamily.Tucker2 options.Families then
                kernels |> List.map Tucker2Ranks.spectrum
            else
                []

        // All groups have one format.
        let ranks =
            Tucker2Ranks.ofSizes bound sizes [ for kernel, (_, vectors) in Seq.zip kernels spectra -> kernel, vectors ]

        let one (i: int) (plain: Tensor) (kernel: Tensor) =
            let bits = if g.IsEmbedding then [] else options.Bits
            let rounding = { Bits = bits; Inputs = norm; Norm2 = squares[i] }
            let making = { Sizes = sizes; Bound = bound; Options = options; Rounding = rounding }

            let factorized =
                if g.IsEmbedding then
                    // Shares of tokens weigh rows, which no core of a TT-matrix carries alone.
                    matrices making kernel @ trainMatrices g making plain
                elif not isSpatial then
                    matrices making kernel @ trainMatrices g making kernel
                else
                    List.distinct options.Families
                    |> List.collect (function
                        | FormatFamily.Tucker2 -> tucker2 making ranks spectra[i] kernel
                        | family -> ofKernel g making kernel family)

            if bits.IsEmpty then factorized else dense making kernel :: factorized

        if g.Groups = 1L then
            one 0 plains.Head kernels.Head
        else
            overGroups squares (List.mapi2 one plains kernels)
        |> toOuter scope
