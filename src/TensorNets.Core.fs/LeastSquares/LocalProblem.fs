namespace TensorNets

open TorchSharp

/// A part of a core's environment that shares no axis with the rest of it: the Gram and the weight factor over branches.
type internal Branch =
    {
        Columns: Axis list
        Gram: Plan
        /// For each core j of the branch, m_j and the double layer of the branch without j; only its diagonal, where all are diagonal along
        /// every column.
        /// Planned when first asked for: least squares have no use for them.
        LazyWeights: Lazy<(float * Plan) list>
        Diagonal: bool
    }

    /// For each core j of the branch, m_j and the double layer of the branch without j.
    member this.Weights = this.LazyWeights.Value

/// The least-squares problem of one core, all others fixed: X over batch × rows × columns.
type internal Block =
    {
        Core: Core
        /// Open axes that other cores carry too: G, W and C are block diagonal along them.
        Batch: Axis list
        /// Open axes of this core alone.
        Rows: Axis list
        /// Summed axes of this core alone: only the sum along them matters.
        OwnSummedAxes: Axis list
        Branches: Branch list
        /// K contracted with E_k: batch, rows, columns.
        Target: Plan
        Dims: Map<Axis, int>
    }

/// The systems that alternating methods solve: for one core, the Gram G of its environment, the target C = K·E_k, and the weight W for
/// which S = tr(X W Xᵀ) + const.
[<RequireQualifiedAccess>]
module internal LocalProblem =
    /// Groups of cores that share axes, directly or through one another. An axis of dimension 1 ties nothing together: a ring closed by one
    /// is a train.
    let private components (spec: Spec) (cores: Core list) =
        let ties (b: Core) axis = Spec.dim axis spec > 1 && List.contains axis b.Axes

        let touches (a: Core) (group: Core list) = group |> List.exists (fun b -> a.Axes |> List.exists (ties b))

        (([]: Core list list), cores)
        ||> List.fold (fun groups core ->
            let near, far = groups |> List.partition (touches core)
            far @ [ List.concat near @ [ core ] ])

    let private dimsOf (axes: Axis list) (spec: Spec) =
        axes
        |> List.collect (fun axis -> [ axis, Spec.dim axis spec; Axis.primed axis, Spec.dim axis spec ])

    /// The double layer of the cores of a group but one, j, over the edge that is asked for: identities or ones take the place of j's axes.
    let private weightNetwork (spec: Spec) (batch: Axis list) (columns: Axis list) (diagonal: bool) (group: Core list) (j: Core) =
        let rest = group |> List.filter (fun other -> other.Name <> j.Name)
        let carried axis = rest |> List.exists (fun other -> List.contains axis other.Axes)

        let identities =
            if diagonal then
                []
            else
                columns |> List.filter (fun axis -> List.contains axis j.Axes) |> List.map PlanInput.identity

        let ones =
            (if diagonal then batch @ columns else batch)
            |> List.filter (carried >> not)
            |> List.map PlanInput.ones

        let copies = Spec.doubled rest (Set.ofList (spec.Output @ j.Axes)) [] spec
        let edge = batch @ columns @ (if diagonal then [] else List.map Axis.primed columns)
        rest, identities @ ones, Spec.extended (dimsOf (batch @ columns) spec) (copies.Cores @ identities @ ones) edge copies

    /// The branch of a group, with the columns that no branch before it has: one of dimension 1 may be carried by several.
    let private branch (spec: Spec) (core: Core) (batch: Axis list) (taken: Axis list) (group: Core list) : Branch =
        let inGroup axis = group |> List.exists (fun other -> List.contains axis other.Axes)

        let columns =
            core.Axes
            |> List.filter (fun axis -> inGroup axis && not (Spec.isOpen axis spec) && not (List.contains axis taken))

        // Every core has all columns and besides them open axes that no other has.
        let isStar =
            group
            |> List.collect _.Axes
            |> List.countBy id
            |> List.forall (fun (axis, count) -> count = (if List.contains axis columns then group.Length else 1))

        /// The double layer of some cores of the group, and further cores.
        let plan (layers: Core list, others: Core list, network: Spec) =
            match DoubleLayerOrder.ofStar layers.Length with
            | Some pairs when isStar && others.IsEmpty -> Plan.inOrder pairs network
            | _ -> Plan.make Order.Auto network

        let free = group |> List.filter (fun other -> not (PlanInput.isFixed other))

        // For CP, and for a branch of a single core.
        let diagonal =
            free |> List.forall (fun j -> columns |> List.forall (fun axis -> List.contains axis j.Axes))

        {
            Columns = columns
            Gram = plan (group, [], Spec.doubled group (Set.ofList spec.Output) (batch @ columns @ List.map Axis.primed columns) spec)
            LazyWeights =
                lazy
                    [
                        for j in free -> Spec.multiplicity j spec, plan (weightNetwork spec batch columns diagonal group j)
                    ]
            Diagonal = diagonal
        }

    /// The block of one core.
    let block (spec: Spec) (core: Core) : Block =
        let own = Spec.ownAxes core spec
        let opened axis = Spec.isOpen axis spec
        let rows = own |> List.filter opened

        let batch = core.Axes |> List.filter (fun axis -> opened axis && not (List.contains axis own))

        let rest = Spec.without core.Name spec

        let groups =
            if batch.IsEmpty then components spec rest
            elif rest.IsEmpty then []
            else [ rest ]

        let branches =
            ([], groups)
            ||> List.fold (fun branches group ->
                let taken = branches |> List.collect _.Columns
                branches @ [ branch spec core batch taken group ])

        let columns = branches |> List.collect _.Columns

        let target =
            let withTarget = rest @ [ PlanInput.Target |> PlanInput.withAxes spec.Output ]

            Spec.extended [] withTarget (batch @ rows @ columns) spec |> Plan.make Order.Auto

        {
            Core = core
            Batch = batch
            Rows = rows
            OwnSummedAxes = own |> List.filter (opened >> not)
            Branches = branches
            Target = target
            Dims = spec.Dims
        }

    /// The blocks of all cores that are not fixed, in order.
    let blocks (spec: Spec) : Block list = Spec.freeCores spec |> List.map (block spec)

    let size (axes: Axis list) (block: Block) = axes |> List.fold (fun product axis -> product * int64 block.Dims[axis]) 1L

    /// The shape in which a block is solved: batch, rows, then the columns of each branch.
    let solveShape (block: Block) =
        [|
            size block.Batch block
            size block.Rows block
            for branch in block.Branches do
                size branch.Columns block
        |]

    let private storage (block: Block) = block.Batch @ block.Rows @ (block.Branches |> List.collect _.Columns)

    /// A core's tensor as X: summed over its own summed axes, in the shape in which the block is solved.
    let toX (block: Block) (tensor: Tensor) : Tensor =
        let axes = block.Core.Axes

        let summed =
            if block.OwnSummedAxes.IsEmpty then
                tensor
            else
                tensor.sum (block.OwnSummedAxes |> List.map (Axis.place axes) |> List.toArray)

        let kept = axes |> List.filter (fun axis -> not (List.contains axis block.OwnSummedAxes))

        summed.permute(storage block |> List.map (Axis.place kept) |> List.toArray).reshape(solveShape block)

    /// X as the core's tensor; spread evenly along its own summed axes, which is the least norm and leaves T as it is.
    let ofX (block: Block) (x: Tensor) : Tensor =
        let stored = storage block @ block.OwnSummedAxes

        let sizes = storage block |> List.map (fun axis -> int64 block.Dims[axis]) |> List.toArray

        let spread =
            if block.OwnSummedAxes.IsEmpty then
                x.reshape sizes
            else
                let lone = block.OwnSummedAxes |> List.map (fun axis -> int64 block.Dims[axis]) |> List.toArray

                x
                    .div(Num.tensor (float (size block.OwnSummedAxes block)))
                    .reshape(Array.append sizes (Array.map (fun _ -> 1L) lone))
                    .expand(Array.append sizes lone)

        spread.permute(block.Core.Axes |> List.map (Axis.place stored) |> List.toArray).contiguous()

    /// Every plan of a block.
    let plans (block: Block) : Plan list =
        [
            yield! block.Branches |> List.map _.Gram
            yield! block.Branches |> List.collect (_.Weights >> List.map snd)
            block.Target
        ]

    /// What the blocks of a sweep of least squares have in common, nothing as yet.
    let keepingGrams (blocks: Block list) : IntermediateCache =
        new IntermediateCache(blocks |> List.collect (fun block -> block.Target :: (block.Branches |> List.map _.Gram)))

    /// What the blocks of a sweep have in common, nothing as yet.
    let keeping (blocks: Block list) : IntermediateCache = new IntermediateCache(blocks |> List.collect plans)

    /// As `evaluate`, with what is kept from blocks before.
    let evaluateKeeping
        (kept: IntermediateCache option)
        (block: Block)
        (lookup: string -> Tensor)
        (target: Tensor)
        (plans: Plan list)
        : Tensor list =
        use scope = torch.NewDisposeScope()

        let find (name: string) : Tensor =
            match PlanInput.ofName name with
            | PlanInput.Target -> target
            | input ->
                Contraction.constant target.dtype target.device (fun axis -> block.Dims[axis]) input
                |> Option.defaultWith (fun () -> lookup (Spec.original name))

        Contraction.runKeeping kept plans target.dtype target.device find |> List.map scope.MoveToOuter

    /// Runs plans of a block: cores and target by name, identities and ones made on the spot. The caller's scope owns the results.
    let evaluate (block: Block) (lookup: string -> Tensor) (target: Tensor) (plans: Plan list) : Tensor list =
        evaluateKeeping None block lookup target plans

    /// G of each branch: batch × columns × columns.
    let grams (kept: IntermediateCache option) (block: Block) lookup target : Tensor list =
        use scope = torch.NewDisposeScope()

        evaluateKeeping kept block lookup target (block.Branches |> List.map _.Gram)
        |> List.map2
            (fun branch (g: Tensor) ->
                let p = size branch.Columns block
                g.reshape (size block.Batch block, p, p) |> scope.MoveToOuter)
            block.Branches

    /// The shape of a weight of a branch: batch × columns × columns, or batch × columns where it is diagonal.
    let weightShape (block: Block) (branch: Branch) =
        let p = size branch.Columns block
        let batch = size block.Batch block
        if branch.Diagonal then [| batch; p |] else [| batch; p; p |]

    /// W of each branch.
    let weights (kept: IntermediateCache option) (block: Block) lookup (target: Tensor) : Tensor list =
        use scope = torch.NewDisposeScope()

        [
            for branch in block.Branches ->
                let shape = weightShape block branch

                // A branch of fixed cores adds nothing to S.
                if branch.Weights.IsEmpty then
                    torch.zeros (shape, dtype = target.dtype, device = target.device) |> scope.MoveToOuter
                else
                    evaluateKeeping kept block lookup target (branch.Weights |> List.map snd)
                    |> List.map2 (fun (m, _) (w: Tensor) -> w.mul (Num.tensor m)) branch.Weights
                    |> List.reduce (fun (a: Tensor) b -> a.plus b)
                    |> _.reshape(shape)
                    |> scope.MoveToOuter
        ]

    /// C = K·E_k in the shape in which the block is solved.
    let targetOf (kept: IntermediateCache option) (block: Block) lookup target : Tensor =
        use scope = torch.NewDisposeScope()

        (evaluateKeeping kept block lookup target [ block.Target ]).Head.reshape(solveShape block)
        |> scope.MoveToOuter
