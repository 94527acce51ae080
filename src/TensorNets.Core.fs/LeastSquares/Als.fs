namespace TensorNets

open System
open TorchSharp

/// <summary>Alternating least squares for any network: each core in turn becomes the minimiser of ‖K − T‖ with the others fixed.</summary>
[<RequireQualifiedAccess>]
module Als =
    /// What a Gram, which squares the condition, costs in the relative error: the root of the rounding of a double.
    let private gramRounding = 1e-8

    /// The ridge of the second attempt, as a share of the mean diagonal of the Gram.
    let private ridgeShare = 1e-12

    /// The ratio of the smallest to the largest squared pivot from which on a Gram counts as singular to rounding.
    let private singularShare = 1e-13

    /// The same from which on the inverse serves as well as a solution: what it adds to ‖K − T‖² is the square of the rounding over this
    /// share.
    let private regularShare = 1e-7

    /// The share of the largest eigenvalue of a Gram below which a direction is none, where several Grams divide one after the other.
    let private noneShare = 1e-12

    /// C G⁻¹ along the columns of one branch. Cholesky; where G is singular to rounding, with a ridge; where that fails too, the
    /// pseudo-inverse. A ridge leaves in directions that G has not what C has there by rounding, enlarged by 1e4 beside the rest. Where
    /// other branches of the core are divided by their Grams too, that would be 1e8 and more: there it is the pseudo-inverse at once.
    let private divide (isOnly: bool) (i: int) (gram: Tensor) (x: Tensor) : Tensor =
        use scope = torch.NewDisposeScope()
        let p = gram.shape[2]

        /// The factor, and the least share of its pivots, squared, in the largest.
        let attempt (matrix: Tensor) =
            let struct (factor, isDefinite) = Decompose.cholesky matrix

            let share (pivots: float[]) = (Array.min pivots / Array.max pivots) ** 2.0

            let pivots =
                ConstrainedQuadratics.toArray (factor.diagonal (dim1 = -2L, dim2 = -1L))
                |> Array.chunkBySize (int p)

            if not isDefinite || not (pivots |> Array.forall (Array.forall Double.IsFinite)) then
                None
            else
                let least = pivots |> Array.map share |> Array.min
                if least > singularShare then Some(factor, least) else None

        let eye = torch.eye (p, dtype = gram.dtype, device = gram.device)

        let times inverse = LocalAlgebra.along i inverse x

        let solved (factor: Tensor, least: float) =
            // A product is faster than the solution of triangular systems where there are as many rows as columns. Of several branches each
            // is small beside the core.
            let isInverted = x.dim () > 3L || least > regularShare && x.shape[1] >= p

            if isInverted then
                let inverse = Decompose.solveTriangular false factor (eye.expand_as factor)
                times (Kernels.matmul (inverse.mT, inverse))
            else
                (Decompose.choleskySolve factor x.mT).mT

        let result =
            match attempt gram with
            | Some factor -> solved factor
            | None when not isOnly && gram.isfinite().all().truth() -> times (Decompose.pinvAbove noneShare gram)
            | None ->
                let mean =
                    gram.diagonal(dim1 = -2L, dim2 = -1L).mean([| -1L |]).mul(Num.tensor ridgeShare).unsqueeze(-1L).unsqueeze -1L

                match attempt (gram.plus (eye.mul mean)) with
                | Some factor -> solved factor
                // The decomposition would throw: NaN instead, so that the sweep is undone.
                | None when not (gram.isfinite().all().truth()) -> times (gram.mul (Num.tensor nan))
                | None -> times (Decompose.pinv gram)

        result |> scope.MoveToOuter

    /// X of a block with its Grams and its C.
    let private solve (kept: IntermediateCache option) (block: Block) lookup (target: Tensor) =
        use scope = torch.NewDisposeScope()
        let c = LocalProblem.targetOf kept block lookup target
        let grams = LocalProblem.grams kept block lookup target
        let x = grams |> List.indexed |> List.fold (fun x (i, gram) -> divide (grams.Length = 1) i gram x) c
        scope.MoveToOuter x, grams |> List.map scope.MoveToOuter, scope.MoveToOuter c

    /// The least-squares core of a block.
    let internal solveBlock (kept: IntermediateCache option) (block: Block) lookup (target: Tensor) : Tensor =
        use scope = torch.NewDisposeScope()
        let x, _, _ = solve kept block lookup target
        LocalProblem.ofX block x |> scope.MoveToOuter

    /// One sweep in place: the least-squares core of every block in turn. ‖K − T‖² after it, where the last block tells it to rounding.
    let internal pass (kept: IntermediateCache) (blocks: Block list) lookup (target: Tensor) (norm2: float) (cores: Tensor[]) =
        let last = blocks.Length - 1
        let mutable residual = None
        let mutable reach = 0.0

        blocks
        |> List.iteri (fun i block ->
            use inner = torch.NewDisposeScope()
            let x, grams, c = solve (Some kept) block lookup target

            reach <- max reach (LocalAlgebra.reach grams x)

            if i = last then
                residual <- LocalAlgebra.exact norm2 reach (LocalAlgebra.residual norm2 grams c x)

            Fit.replace inner cores i (LocalProblem.ofX block x)
            kept.Forget block.Core.Name)

        residual

    /// Sweeps of which each starts from an Anderson combination of the ones before. A sweep that does not lower the error is undone and
    /// followed by a plain one, which alone can end the iteration.
    let private extrapolated
        (options: SweepOptions)
        (finished: float -> float -> bool)
        (sweep: float -> float option)
        (point: Extrapolated)
        (first: float)
        =
        /// A sweep from the point in place, the one after it proposed; None where it was undone. Written so that NaN counts as a failure.
        let attempt error plain = point.Attempt(fun () -> sweep error |> Option.filter (fun next -> plain || next <= error))

        let rec loop n error plain trace =
            match SweepOptions.ending options n with
            | Some stop -> n, stop, trace
            | None ->
                match attempt error plain with
                | None when plain -> n, Stop.Rounding, trace
                | result ->
                    let next = defaultArg result error
                    SweepOptions.report options (n + 1) next nan
                    let enough = finished error next

                    if enough && plain then
                        n + 1, Stop.Converged, next :: trace
                    else
                        // After too small a gain by an extrapolated point, a plain sweep decides whether that was all.
                        if enough then
                            point.Undo()

                        loop (n + 1) next (enough || point.IsPlain) (next :: trace)

        let result = loop 0 first true [ first ]
        point.Undo()
        result

    /// Sweeps in place over an array of float64 cores until `finished` says so. The error is that of the explicit difference, or equal to
    /// it to rounding.
    let private sweepAll (options: SweepOptions) (finished: float -> float -> bool) (spec: Spec) (target: Tensor) (cores: Tensor[]) =
        let blocks = LocalProblem.blocks spec
        let plan = Plan.make Order.Auto spec
        let lookup = CoreArray.Lookup spec cores
        let norm = target.norm().number()
        use kept = LocalProblem.keepingGrams blocks

        /// One sweep: the relative error after it, or None where it produced NaN or raised the error, and has been undone.
        let sweep error =
            use scope = torch.NewDisposeScope()
            let before = [| for core in cores -> core.alias () |]

            let next =
                match pass kept blocks lookup target (norm * norm) cores with
                | Some residual -> sqrt residual / norm
                | None -> Fit.explicitError plan target lookup / norm

            if next <= error + gramRounding then
                Some next
            else
                before |> Array.iteri (fun i core -> Fit.replace scope cores i core)
                kept.Clear()
                None

        let rec plain n error trace =
            match SweepOptions.ending options n with
            | Some stop -> n, stop, trace
            | None ->
                match sweep error with
                | None -> n, Stop.Rounding, trace
                | Some next ->
                    SweepOptions.report options (n + 1) next nan

                    if finished error next then
                        n + 1, Stop.Converged, next :: trace
                    else
                        plain (n + 1) next (next :: trace)

        let first = Fit.explicitError plan target lookup / norm

        let sweeps, stop, trace =
            match options.Extrapolation with
            | Extrapolation.Off -> plain 0 first [ first ]
            | Extrapolation.Anderson depth ->
                use point = new Extrapolated(depth, blocks.Length, cores, kept.Clear)
                extrapolated options finished sweep point first

        sweeps, stop, List.rev trace

    /// Sweeps in place over an array of float64 cores until `finished` says so, over those that are not absorbed by others
    /// (`AbsorbedCores`): the sweeps, why they ended, and the relative error at the start and after each.
    let internal sweepUntil (options: SweepOptions) (finished: float -> float -> bool) (spec: Spec) (target: Tensor) (cores: Tensor[]) =
        // Without a sweep the cores stay as they are.
        if (SweepOptions.ending options 0).IsSome then
            sweepAll options finished spec target cores
        else
            AbsorbedCores.over spec cores target (sweepAll options finished)

    let private frobenius (options: SweepOptions) (target: Tensor) (start: Network) : Result<Fit, TensorNetError list> =
        let options = SweepsLeft.listening options
        use _ = Mode.left ()
        use _ = torch.no_grad ()

        match SweepOptions.check options @ Check.forSpec start.Spec target with
        | [] ->
            use _ = torch.NewDisposeScope()
            let k = Check.double target
            use work = CoreArray.Of start
            let finished before after = before - after <= options.Tolerance * before
            let sweeps, stop, trace = sweepUntil options finished start.Spec k work.Cores
            let fit = Fit.make target.dtype start.Spec work.Cores k (FitHistory.make sweeps stop trace)
            Ok(Fit.toOuterScope fit)
        | errors -> Error errors

    /// <summary>Alternating least squares from a start.</summary>
    /// <remarks><para>The error, in the norm of the options, never rises beyond rounding. Computed in float64 and returned in the dtype of
    /// the target; the start is not changed. Cost per sweep: for each core, one contraction of K with its environment and a solve of the
    /// size of the core's bonds; a Tucker core is solved branch by branch, never as one matrix. A weighted norm adds one eigendecomposition
    /// of Σ. Errors: those of a target and of a norm; a depth of extrapolation below two.</para>
    /// <para>Extrapolation (<c>SweepOptions.Extrapolation</c>): turn it on where the error falls by little from sweep to sweep for long, as
    /// it does for CP with nearly collinear or diverging factors, for tensor chains, and for most kernels at tight tolerances. A sweep then
    /// starts from θ = g_n − Σ_i γ_i (g_{i+1} − g_i), where g_i is what sweep i made of θ_i and γ minimises ‖f_n − Σ_i γ_i (f_{i+1} − f_i)‖
    /// with f_i = g_i − θ_i; a sweep that does not lower the error is undone, counts as one, and a plain one follows. Where plain sweeps
    /// converge within a few dozen it gains little, and it may end in another local minimum, which is why it is off by default. It costs
    /// copies of the cores, twice the depth. Sources: Walker and Ni, SIAM J. Numer. Anal. 49(4), 2011; for CP by least squares De Sterck,
    /// "A Nonlinear GMRES Optimization Algorithm for Canonical Tensor Decomposition", SIAM J. Sci. Comput. 34(3), 2012.</para></remarks>
    /// <param name="options">Sweeps, tolerance on the relative change of the error, norm, progress, cancellation.</param>
    /// <param name="target">K, of the shape of the network's output.</param>
    /// <param name="start">The network to start from.</param>
    /// <example><code>Als.run sweeps target network |> orStop</code></example>
    let run (options: SweepOptions) (target: Tensor) (start: Network) : Result<Fit, TensorNetError list> =
        Argument.notNull (nameof options) options
        Argument.notNull (nameof start) start
        TargetUnits.from false (fun _ -> WhitenedProblem.from false (fun _ -> frobenius)) options target start
