namespace TensorNets

open TorchSharp

/// Core after core to integers, the others as they have become: the first sweep rounds each in turn, the sweeps after it do it again where
/// that lowers ‖K − T̂‖.
[<RequireQualifiedAccess>]
module internal CompensatedSweeps =
    /// The most sweeps, the first among them.
    let private most = 4

    /// The integers of a core at X, with what is lost made up for.
    let private rounded (bits: int) (layout: ScaleLayout) (block: Block) (grams: Tensor list) (x: Tensor) : RoundedCore option =
        use scope = torch.NewDisposeScope()
        let core = LocalProblem.ofX block x
        let scales = NearestRounding.scales bits layout core
        let every = LocalProblem.toX block (ScaleLayout.spread layout core.shape scales)

        CompensatedRounding.run bits grams every x
        |> Option.map (fun integers ->
            {
                Integers = (LocalProblem.ofX block integers).``to`` torch.int8 |> scope.MoveToOuter
                Scales = scope.MoveToOuter scales
                Layout = layout
            })

    /// What the cores have in common.
    [<NoEquality; NoComparison>]
    type private Setting =
        {
            Problem: RoundingProblem
            /// As they have become, in float64.
            Cores: Tensor[]
            Bits: int
            Sigma2: float
            Target: Tensor
            Norm2: float
        }

        member this.Lookup = CoreArray.Lookup this.Problem.Spec this.Cores

    /// A core fitted to the others as they are and rounded, and what tells ‖K − T̂‖² of a core in its place. None where that is not
    /// finite, or the core has axes that are summed in it alone.
    let private anew (given: Setting) (layout: ScaleLayout) (block: Block) : (RoundedCore * (Tensor -> float)) option =
        if not block.OwnSummedAxes.IsEmpty then
            None
        else
            let grams = LocalProblem.grams None block given.Lookup given.Target
            let weights = LocalProblem.weights None block given.Lookup given.Target
            let c = LocalProblem.targetOf None block given.Lookup given.Target
            let x = (LocalCorrection.systemOf grams weights c None given.Norm2).At given.Sigma2
            let residual (core: Tensor) = LocalAlgebra.residual given.Norm2 grams c (LocalProblem.toX block core)

            if x.isfinite().all().truth() then
                rounded given.Bits layout block grams x |> Option.map (fun fresh -> fresh, residual)
            else
                None

    /// Core i rounded anew; with `better`, only where ‖K − T̂‖ falls.
    let private visit (given: Setting) (current: RoundedCore[]) better (i: int, (layout, block)) : bool =
        use inner = torch.NewDisposeScope()

        match anew given layout block with
        | Some(fresh, residual) ->
            let core = NearestRounding.restored fresh
            let isTaken = not better || residual core < residual given.Cores[i]

            if isTaken then
                given.Cores[i] <- inner.MoveToOuter core
                inner.MoveToOuter fresh.Integers |> ignore
                inner.MoveToOuter fresh.Scales |> ignore
                current[i] <- fresh

            isTaken
        | None -> false

    /// The best integers found for a target in float64, from those of the nearest rounding.
    let run (bits: int) (sigma2: float) (problem: RoundingProblem) (target: Tensor) (nearest: RoundedCore list) : RoundedCore list =
        use scope = torch.NewDisposeScope()
        let plan = Plan.make Order.Auto problem.Spec

        let blocks =
            LocalProblem.blocks problem.Spec |> List.zip [ for core in nearest -> core.Layout ] |> List.indexed

        let cores = Array.copy problem.Cores
        let current = List.toArray nearest

        let given =
            {
                Problem = problem
                Cores = cores
                Bits = bits
                Sigma2 = sigma2
                Target = target
                Norm2 = target.squared().sum().number()
            }

        let error () = Fit.explicitError plan target given.Lookup

        let restore (rounded: RoundedCore list) = rounded |> List.iteri (fun i core -> cores[i] <- NearestRounding.restored core)

        let rec again left =
            if left > 0 && (blocks |> List.map (visit given current true) |> List.contains true) then
                again (left - 1)

        for block in blocks do
            visit given current false block |> ignore

        // Cores that could not be rounded so are rounded to the nearest.
        blocks |> List.iter (fun (i, _) -> cores[i] <- NearestRounding.restored current[i])
        again (most - 1)
        let found = error ()
        restore nearest

        let best = if found < error () then List.ofArray current else nearest

        for core in best do
            scope.MoveToOuter core.Integers |> ignore
            scope.MoveToOuter core.Scales |> ignore

        best
