namespace TensorNets

open System
open TorchSharp

/// <summary>Error-preserving correction (EPC): the least sensitive network at a bounded error.</summary>
/// <remarks>minimise S(θ) subject to ‖K − T(θ)‖_F ≤ δ. The network is balanced first (<c>Gauge.balance</c>), since block descent cannot move along
/// the gauge; then each core in turn becomes the minimiser with the others fixed, which one scalar equation gives exactly, and the gauge is balanced
/// again after each sweep. Sources: Phan, Tichavský and Cichocki, "Error Preserving Correction", IEEE TSP 2019; Phan et al., ECCV 2020
/// (arXiv 2008.05441).</remarks>
[<RequireQualifiedAccess>]
module Correction =
    /// The relative error in ‖K − T‖ that counts as meeting the bound.
    let feasibility = 1e-9

    /// A δ/‖K‖ below this is the rounding of a double and counts as this.
    let private rounding = 1e-12

    /// Below this δ/‖K‖ the residual is followed from the current block, where nothing cancels; above, it is cheaper from zero: its relative
    /// rounding is about 1e-16 (‖K‖/δ)².
    let private anchorBelow = 3e-2

    /// Below this δ/‖K‖ a core is all but determined by the others, so that blocks stand still far from the least S.
    let private jointBelow = 1e-3

    /// The part of a block's bound given up to rounding, so that explicit and algebraic residual agree on which side they are.
    let private guard = 1e-13

    type internal BlockResult =
        | Moved of core: Tensor * lambda: float
        | LeastSquares of core: Tensor
        | Kept

    /// From the Grams and weights of the block.
    let private solveSystem
        measured
        (kept: Kept option)
        full
        (block: Block)
        lookup
        (target: Tensor)
        norm2
        bound
        (current: Lazy<float>)
        lambda
        grams
        weights
        =
        use scope = torch.NewDisposeScope()
        let anchored = bound * bound < anchorBelow * anchorBelow * norm2 && current.Value < sqrt norm2

        let pencils =
            List.map3 (fun branch gram weight -> Linalg.pencil branch.Diagonal gram weight) block.Branches grams weights

        let batch = Environment.size block.Batch block

        // Each branch's g and w along its own dimension; products over the other branches fill the grid.
        let g, w =
            match pencils with
            | [] ->
                torch.ones ([| batch |], dtype = target.dtype, device = target.device),
                torch.zeros ([| batch |], dtype = target.dtype, device = target.device)
            | several ->
                let grid = Linalg.grid (several |> List.map (fun p -> p.G, p.W))
                grid.G, grid.W

        let transform (pick: {| V: Tensor; M: Tensor; G: Tensor; W: Tensor |} -> Tensor) x =
            pencils |> List.indexed |> List.fold (fun x (i, p) -> Environment.along i (pick p) x) x

        let source, rho2 =
            if anchored then
                let tensor = Contraction.runMany [ full ] target.dtype target.device lookup |> List.head

                let rest = target.minus (tensor)
                rest, rest.squared().sum().number()
            else
                target, norm2

        let c = Environment.targetOf (if anchored then None else kept) block lookup source
        let d = transform _.V c

        let y0 =
            if anchored then
                Environment.toX block (lookup block.Core.Name) |> transform (fun p -> p.M.matmul p.V)
            else
                torch.zeros_like d

        let over (a: Tensor) = Linalg.toArray (a.sum([| 1L |]).reshape -1L)

        let secular =
            {
                G = Linalg.toArray (g.reshape -1L)
                W = Linalg.toArray (w.reshape -1L)
                DD = over (d.squared ())
                DY = over (d.mul y0)
                YY = over (y0.squared ())
                Rho2 = rho2
            }

        let build lambda =
            let q = g.plus(w.mul (Num.tensor lambda)).unsqueeze 1L
            let numerator = y0.mul(g.unsqueeze 1L).plus(d)
            let y = torch.where (q.gt (Num.tensor 0.0), numerator.div q, torch.zeros_like d)
            let x = y |> transform (fun p -> p.V.mT)

            let residual = if measured && not anchored then Environment.residual norm2 grams c x else None

            Moved(Environment.ofX block x |> scope.MoveToOuter, lambda), residual

        let bound2 = bound * bound * (1.0 - guard)

        match Secular.solve bound2 lambda secular with
        | Multiplier.Root lambda -> build lambda
        | Multiplier.Slack -> build 1e300
        | Multiplier.AboveBound when current.Value <= bound -> Kept, None
        | Multiplier.AboveBound -> LeastSquares(Als.solveBlock kept block lookup target |> scope.MoveToOuter), None

    /// As `solveBlock`, with what is kept from blocks before, and ‖K‖². Beside it ‖K − T‖² after the block, where that was asked for and its Grams tell it.
    let private solveKeeping measured kept full block lookup target norm2 bound current lambda : BlockResult * float option =
        use scope = torch.NewDisposeScope()
        let grams = Environment.grams kept block lookup target
        let weights = Environment.weights kept block lookup target

        // Decompositions would throw.
        if grams @ weights |> List.exists (fun matrix -> not (matrix.isfinite().all().truth())) then
            Kept, None
        else
            let result, residual =
                solveSystem measured kept full block lookup target norm2 bound current lambda grams weights

            match result with
            | Moved(core, _)
            | LeastSquares core -> scope.MoveToOuter core |> ignore
            | Kept -> ()

            result, residual

    /// The exact minimiser of S over one core subject to the bound. `current` is ‖K − T‖ as it stands.
    let internal solveBlock
        (full: Plan)
        (block: Block)
        lookup
        (target: Tensor)
        (bound: float)
        (current: float)
        (lambda: float option)
        : BlockResult =
        let norm2 = target.squared().sum().number()
        solveKeeping false None full block lookup target norm2 bound (lazy current) lambda |> fst

    /// What sweeps of blocks work on.
    type internal Sweeping =
        {
            Cores: Tensor[]
            Lookup: string -> Tensor
            Target: Tensor
            /// ‖K‖².
            Norm2: float
            /// δ.
            Bound: float
            Blocks: Block list
            /// The plan of T.
            Full: Plan
            Gauge: Gauge.Bond list
            Sensitivity: SensitivityPlan
            /// The multiplier of each block in the last sweep.
            Lambdas: float option[]
            Kept: Kept
        }

        interface IDisposable with
            member this.Dispose() = (this.Kept :> IDisposable).Dispose()

    let internal sweeping (spec: Spec) (target: Tensor) (bound: float) (norm: float) (cores: Tensor[]) : Sweeping =
        let blocks = Environment.blocks spec

        {
            Cores = cores
            Lookup = Fit.lookup spec cores
            Target = target
            Norm2 = norm * norm
            Bound = bound
            Blocks = blocks
            Full = Plan.make Order.Auto spec
            Gauge = Gauge.bonds spec
            Sensitivity = Sensitivity.plan spec
            Lambdas = Array.create cores.Length None
            Kept = Environment.keeping blocks
        }

    /// One sweep in place: every block, then one cycle of the gauge. The error and S after it; NaN where a block is not finite.
    let internal sweep (work: Sweeping) : float * float =
        use scope = torch.NewDisposeScope()
        let explicitly () = Fit.explicitError work.Full work.Target work.Lookup
        work.Kept.Clear()
        // An extrapolated point may miss the bound: then blocks are least squares until it is met.
        let mutable current = Lazy<float> explicitly
        let mutable finite = work.Cores |> Array.forall _.isfinite().all().truth()
        let mutable after = None

        work.Blocks
        |> List.iteri (fun i block ->
            if finite then
                let last = i = work.Blocks.Length - 1

                let result, residual =
                    solveKeeping
                        last
                        (Some work.Kept)
                        work.Full
                        block
                        work.Lookup
                        work.Target
                        work.Norm2
                        work.Bound
                        current
                        work.Lambdas[i]

                match result with
                | Moved(core, _)
                | LeastSquares core when not (core.isfinite().all().truth()) -> finite <- false
                | Moved(core, lambda) ->
                    work.Lambdas[i] <- Some lambda
                    current <- lazy work.Bound
                    after <- residual
                    Fit.replace scope work.Cores i core
                | LeastSquares core -> Fit.replace scope work.Cores i core
                | Kept -> ()

                work.Kept.Forget block.Core.Name)

        // A bond that has become rank deficient on the way is left as the blocks made it.
        let s =
            match Gauge.cycles 1 work.Gauge work.Sensitivity work.Cores with
            | Ok(s, _) -> s
            | Error _ -> (Sensitivity.totalOf work.Sensitivity work.Target.dtype work.Target.device work.Lookup).number()

        let error =
            match after with
            | _ when not finite -> nan
            | Some residual -> sqrt residual
            | None -> explicitly ()

        error, s

    /// Sweeps after which all cores are searched together, and the share of S that sweeps must still gain for that.
    let private searchAfter, private crawl = 8, 1e-4

    /// The share of S that a search must have gained for another one.
    let private worthAnother = 2e-3

    /// Whether no core is fixed, which the joint methods cannot do.
    let private hasAllFree (spec: Spec) = (Spec.freeCores spec).Length = spec.Cores.Length

    /// How many sweeps are combined into an extrapolated point.
    let private accelerationDepth = 8

    /// Sweeps of blocks in place from a feasible, balanced start; ends with the last iterate that kept the bound and did not raise S.
    let private sweeps (options: SweepOptions) (spec: Spec) (target: Tensor) (bound: float) (norm: float) (s0: float) (cores: Tensor[]) =
        use work = sweeping spec target bound norm cores
        let blocks, lambdas = work.Blocks, work.Lambdas

        let flat () = Landscape.flat (Array.truncate blocks.Length cores)

        let put (scope: DisposeScope) (vector: Tensor) =
            let mutable from = 0L

            for i in 0 .. blocks.Length - 1 do
                let size = cores[i].numel()
                Fit.replace scope cores i ((vector.narrow (0L, from, size)).reshape(cores[i].shape).clone())
                from <- from + size

        use memory = new Anderson(accelerationDepth)
        use best = new Best(cores)

        /// A sweep from the current point, which may be an extrapolated one: kept where it keeps the bound and does not raise S, undone otherwise; then the
        /// next extrapolated point. Written so that NaN counts as a failure.
        let attempt s =
            use scope = torch.NewDisposeScope()
            let point = flat ()
            let error, next = sweep work

            if error <= bound * (1.0 + feasibility) && next <= s * (1.0 + 1e-12) then
                best.Keep()
                let image = flat ()
                memory.Push(point, image)
                memory.Propose() |> Option.iter (put scope)
                Some(error, next)
            else
                best.Restore()
                memory.Clear()
                None

        let land = lazy Landscape.make spec target bound

        let searchable =
            hasAllFree spec
            && Spec.parameters spec > Joint.limit
            && spec.Cores.Length > 1
            && bound >= jointBelow * norm

        /// A point found by moving all cores together, put in place for the next sweep to bring to the bound; the steps that took.
        let search n again =
            use scope = torch.NewDisposeScope()
            best.Restore()
            memory.Clear()
            let mutable steps = 0

            let listen (ground: Ground) =
                steps <- steps + 1
                SweepOptions.report options (n + steps) (sqrt (max 0.0 ground.Residual) / norm) ground.S
                n + steps < options.MaxSweeps - 1 && not options.Cancellation.IsCancellationRequested

            let multiplier =
                if again then
                    lambdas |> Array.choose id |> Array.tryLast |> Option.map (fun lambda -> 1.0 / lambda)
                else
                    None

            let found = Newton.search land.Value bound multiplier options.Tolerance listen (flat ())
            put scope found
            steps

        /// When to search next: the sweep, S at the last search.
        let mutable nextSearch, searchedAt = searchAfter, infinity

        let rec loop n s plain trace =
            if options.Cancellation.IsCancellationRequested then
                n, Stop.Cancelled, trace
            elif n >= options.MaxSweeps then
                n, Stop.MaxSweeps, trace
            else
                match attempt s with
                | None when plain -> n, Stop.Rounding, trace
                | None -> loop (n + 1) s true (s :: trace)
                | Some(error, next) ->
                    SweepOptions.report options (n + 1) (error / norm) next

                    let crawls = s - next > crawl * s && next < (1.0 - worthAnother) * searchedAt

                    if searchable && n + 1 >= nextSearch && crawls && n + 2 < options.MaxSweeps then
                        let steps = search (n + 1) (searchedAt < infinity)
                        searchedAt <- next
                        nextSearch <- n + 1 + steps + searchAfter
                        loop (n + 1 + steps) next false (List.replicate (steps + 1) next @ trace)
                    elif plain && s - next <= options.Tolerance * s then
                        n + 1, Stop.Converged, next :: trace
                    else
                        // After too small a gain by an extrapolated point, a plain sweep decides whether that was all.
                        let small = s - next <= options.Tolerance * s

                        if small then
                            best.Restore()
                            memory.Clear()

                        loop (n + 1) next (small || memory.IsEmpty) (next :: trace)

        let n, stop, trace = loop 0 s0 true [ s0 ]
        best.Restore()
        n, stop, List.rev trace

    /// The most rounds of the way to a bound, and the factor by which one must lower the error for another.
    let private mostRounds, private roundGain = 16, 0.95

    /// The cores brought nearer to the bound all together, in place: where least squares one core at a time creep. The error after it, which is no higher than before.
    let private approach (options: SweepOptions) (spec: Spec) (target: Tensor) (bound: float) (cores: Tensor[]) : float =
        let full = Plan.make Order.Auto spec
        let error () = Fit.explicitError full target (Fit.lookup spec cores)
        let land = Landscape.make spec target bound
        let goOn _ = not options.Cancellation.IsCancellationRequested

        let round before =
            use scope = torch.NewDisposeScope()
            use best = new Best(cores)
            // A bond that cannot be balanced is left as it is.
            Gauge.cycles Gauge.maxCycles (Gauge.bonds spec) (Sensitivity.plan spec) cores |> ignore
            let found = Newton.approach land (bound * (1.0 - feasibility)) goOn (Landscape.flat cores)

            Landscape.cores land found |> Array.iteri (fun i core -> Fit.replace scope cores i (core.clone ()))

            let after = error ()

            // Written so that NaN counts as a failure.
            if after <= before then
                after
            else
                best.Restore()
                before

        let rec rounds n before =
            let after = round before

            if after <= bound || n >= mostRounds || after > roundGain * before || not (goOn ()) then
                after
            else
                rounds (n + 1) after

        rounds 1 (error ())

    /// Where the bound is all but zero: the least S found among the cores of the tensor that they make now, in place; the S of every step. `given` holds
    /// the cores before they were balanced, from where other valleys are reached.
    let private alongFibre (options: SweepOptions) (work: Derivatives) norm bound n (given: Tensor) (s: float) (cores: Tensor[]) =
        if bound >= jointBelow * norm || options.Cancellation.IsCancellationRequested then
            []
        else
            use scope = torch.NewDisposeScope()
            let mutable steps = 0

            let listen now =
                steps <- steps + 1
                SweepOptions.report options (n + steps) (bound / norm) (min s now)
                not options.Cancellation.IsCancellationRequested

            let point, trace =
                Fibre.search work (bound * (1.0 + 0.5 * feasibility)) options.MaxSweeps options.Tolerance listen [ work.Flat cores; given ]

            if not trace.IsEmpty then
                work.Cores point |> Array.iteri (fun i core -> Fit.replace scope cores i (core.clone ()))

            // Where the best path began above the S of the sweeps, the trace does not.
            trace |> List.map (min s)

    let private frobenius (bound: ErrorBound) (options: SweepOptions) (target: Tensor) (start: Network) : Result<Fit, TensorNetError list> =
        let options = Remaining.listening options
        use _ = torch.no_grad ()
        let spec = start.Spec

        match SweepOptions.check options @ Check.forSpec spec target with
        | [] ->
            use scope = torch.NewDisposeScope()
            let k = Check.double target
            let norm = k.norm().number()

            match ErrorBound.resolve bound norm with
            | Error errors -> Error errors
            | Ok asked ->
                use work = Network.copyAs torch.float64 start
                let cores = [| for core in work.Cores -> core.clone () |> scope.Detach |]

                try
                    let full = Plan.make Order.Auto spec
                    let delta = max asked (rounding * norm)
                    let meets error = error <= delta * (1.0 + feasibility)
                    let first = Fit.explicitError full k (Fit.lookup spec cores)

                    if not (meets first) then
                        let until _ relative = meets (relative * norm)
                        Als.sweepUntil options until spec k cores |> ignore
                        let soFar = Fit.explicitError full k (Fit.lookup spec cores)

                        if not (meets soFar) && delta > 0.0 && hasAllFree spec then
                            approach options spec k delta cores |> ignore

                    let reached = Fit.explicitError full k (Fit.lookup spec cores)
                    use given = Landscape.flat cores

                    if not (meets reached) then
                        Error [ TensorNetError.Unreachable(asked, reached) ]
                    else
                        Gauge.cycles Gauge.maxCycles (Gauge.bonds spec) (Sensitivity.plan spec) cores
                        |> Result.map (fun (s, _) ->
                            let bound = max delta reached
                            let n, stop, trace = sweeps options spec k bound norm s cores

                            // Where blocks crawl or the bound is all but zero, all cores may still move together.
                            let crawls = stop <> Stop.Converged || bound < jointBelow * norm
                            let finite = Double.IsFinite(Fit.explicitError full k (Fit.lookup spec cores))

                            let together =
                                if crawls && finite && hasAllFree spec && Spec.parameters spec <= Joint.limit then
                                    let tensors = Derivatives(spec, k)
                                    let fibre = alongFibre options tensors norm bound n given (List.last trace) cores
                                    let s = List.last (trace @ fibre)
                                    let report i error s = SweepOptions.report options (n + fibre.Length + i) (error / norm) s
                                    fibre @ Joint.run options report tensors bound feasibility s cores
                                else
                                    []

                            let stop = if crawls && options.Cancellation.IsCancellationRequested then Stop.Cancelled else stop

                            let trace = trace @ together
                            let n = n + together.Length
                            let fit = Fit.make target.dtype spec cores k n stop trace
                            Fit.toOuterScope fit)
                finally
                    for core in cores do
                        core.Dispose()
        | errors -> Error errors

    /// <summary>The least sensitive network found at a bounded error, from a given network.</summary>
    /// <remarks>From a start that meets the bound, S never rises and the error never exceeds δ(1 + 1e-9), both in the norm of the
    /// options. From one that does not, least squares first
    /// bring the error down; cancelled before they have met it, the result is <c>Unreachable</c> with what was reached until then. Cancelled later: the best so
    /// far, within the bound. Computed in float64, returned in the dtype of the target; the given network is not changed. Cost per sweep: an ALS sweep
    /// plus, for each core, an eigendecomposition of the size of its bonds.</remarks>
    /// <param name="options">Sweeps, tolerance on the relative change of S, norm, progress, cancellation.</param>
    /// <param name="bound">δ, at least 0 and below ‖K‖. Below what these ranks reach from this start: <c>Unreachable</c>, naming it.</param>
    /// <param name="target">K, of the shape of the network's output.</param>
    /// <param name="start">The network to start from.</param>
    let epc (options: SweepOptions) (bound: ErrorBound) (target: Tensor) (start: Network) : Result<Fit, TensorNetError list> =
        Weighted.from (frobenius bound) options target start
