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

    /// What is known of one core, all others as they are.
    let private system (block: Block) lookup (target: Tensor) (sigma2: float) (norm2: float) =
        let grams = LocalProblem.grams None block lookup target
        let weights = LocalProblem.weights None block lookup target
        let c = LocalProblem.targetOf None block lookup target
        let x = (LocalCorrection.systemOf grams weights c None norm2).At sigma2
        grams, c, (if x.isfinite().all().truth() then Some x else None)

    /// A core fitted to the others as they are and rounded, and what tells ‖K − T̂‖² of a core in its place; None of one that has no system.
    let private anew bits sigma2 norm2 lookup target layout (block: Block) : (RoundedCore * (Tensor -> float)) option =
        if not block.OwnSummedAxes.IsEmpty then
            None
        else
            let grams, c, x = system block lookup target sigma2 norm2
            let residual (core: Tensor) = LocalAlgebra.residual norm2 grams c (LocalProblem.toX block core)
            x |> Option.bind (rounded bits layout block grams) |> Option.map (fun fresh -> fresh, residual)

    /// The best integers found for a target in float64, from those of the nearest rounding.
    let run
        (bits: int)
        (sigma2: float)
        (layouts: ScaleLayout list)
        (problem: RoundingProblem)
        (target: Tensor)
        (nearest: RoundedCore list)
        : RoundedCore list =
        use scope = torch.NewDisposeScope()
        let plan = Plan.make Order.Auto problem.Spec
        let norm2 = target.squared().sum().number()
        let blocks = LocalProblem.blocks problem.Spec |> List.zip layouts |> List.indexed
        let cores = Array.copy problem.Cores
        let current = List.toArray nearest
        let lookup = CoreArray.Lookup problem.Spec cores
        let error () = Fit.explicitError plan target lookup

        let restore (rounded: RoundedCore list) = rounded |> List.iteri (fun i core -> cores[i] <- NearestRounding.restored core)

        /// Core i rounded anew; with `better`, only where ‖K − T̂‖ falls.
        let visit better (i: int, (layout, block)) : bool =
            use inner = torch.NewDisposeScope()

            match anew bits sigma2 norm2 lookup target layout block with
            | Some(fresh, residual) ->
                let core = NearestRounding.restored fresh
                let isTaken = not better || residual core < residual cores[i]

                if isTaken then
                    cores[i] <- inner.MoveToOuter core
                    inner.MoveToOuter fresh.Integers |> ignore
                    inner.MoveToOuter fresh.Scales |> ignore
                    current[i] <- fresh

                isTaken
            | None -> false

        let rec again left =
            if left > 0 && (blocks |> List.map (visit true) |> List.contains true) then
                again (left - 1)

        for block in blocks do
            visit false block |> ignore

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
