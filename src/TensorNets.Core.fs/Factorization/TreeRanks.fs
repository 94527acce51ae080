namespace TensorNets

open TorchSharp

/// The ranks of a tree whose truncation costs at most a budget, by the singular values at its bonds.
[<RequireQualifiedAccess>]
module internal TreeRanks =
    /// The largest rank of a bond between two cores.
    let private largest (axis: Axis) (spec: Spec) : int =
        match Spec.carriers axis spec with
        | [ first; second ] -> FormatLayout.largestBond (fun a -> Spec.dim a spec) axis first.Axes second.Axes
        | _ -> System.Int32.MaxValue

    /// Ranks that exceed what the others allow cut to that.
    let rec admissible (spec: Spec) : Spec =
        let excess axis =
            let most = largest axis spec
            if Spec.dim axis spec > most then Some(axis, most) else None

        match Spec.bonds spec |> List.tryPick excess with
        | Some cut -> admissible (Spec.resized [ cut ] spec)
        | None -> spec

    /// The network with one rank lowered by one and the others cut to what is then admissible; none at rank 1.
    let lowered (axis: Axis) (spec: Spec) : Spec option =
        match Spec.dim axis spec with
        | 1 -> None
        | rank -> Some(admissible (Spec.resized [ axis, rank - 1 ] spec))

    /// The sums of squared singular values from position r on, r = 0 … their number.
    let tailsFrom (values: Tensor) : float[] =
        Array.scanBack (fun sigma sum -> sum + sigma * sigma) (ConstrainedQuadratics.toArray values) 0.0

    /// The tails of a matrix.
    let tailsOf (matrix: Tensor) : float[] =
        use _ = torch.NewDisposeScope()
        tailsFrom (Decompose.svdvals matrix)

    /// The smallest rank, at least 1, whose tail is within a budget.
    let within (budget: float) (tails: float[]) : int = max 1 (tails |> Array.findIndex (fun tail -> tail <= budget))

    /// The tails at every bond of a tree.
    let tails (spec: Spec) (target: Tensor) : (Axis * float[]) list =
        [
            for axis in Spec.bonds spec ->
                use _ = torch.NewDisposeScope()
                let far = Spec.carriers axis spec |> List.last
                let rows = TreeSvd.openAxesBehind spec far axis
                axis, tailsOf (TreeSvd.unfolding spec rows target)
        ]

    /// Σ over bonds of the tails at the ranks of a network: the truncation's squared error is at most that.
    let cost (tails: (Axis * float[]) list) (spec: Spec) = tails |> List.sumBy (fun (axis, tail) -> tail[Spec.dim axis spec])

    /// Drops one singular direction after another, always the one that saves most parameters for its squared error, while the sum keeps the
    /// budget. Stopped, it has dropped fewer.
    let private greedy (stopped: unit -> bool) (tails: (Axis * float[]) list) (budget: float) (full: Spec) : Spec =
        let rec descend spec spent =
            let parameters = Spec.parameters spec

            let moves =
                if stopped () then
                    []
                else
                    tails
                    |> List.choose (fun (axis, _) -> lowered axis spec)
                    |> List.map (fun next -> next, cost tails next)
                    |> List.filter (fun (_, next) -> next <= budget)

            match moves with
            | [] -> spec
            | moves ->
                let next, spent =
                    moves
                    |> List.maxBy (fun (next, after) -> float (parameters - Spec.parameters next) / max (after - spent) 1e-300)

                descend next spent

        descend full (cost tails full)

    /// The budget shared out equally over the bonds.
    let private equal (tails: (Axis * float[]) list) (budget: float) (full: Spec) : Spec option =
        let share = budget / float tails.Length

        let spec =
            full |> Spec.resized (tails |> List.map (fun (axis, tail) -> axis, within share tail)) |> admissible

        if cost tails spec <= budget then Some spec else None

    /// <summary>The network of fewest parameters, of the greedy and the equal share, whose tails sum up to at most a budget. Stopped, one
    /// of more parameters within it.</summary>
    let ofBudget (stopped: unit -> bool) (tails: (Axis * float[]) list) (spec: Spec) (budget: float) : Spec =
        let full =
            spec
            |> Spec.resized (tails |> List.map (fun (axis, tail) -> axis, max 1 (tail.Length - 1)))
            |> admissible

        Option.toList (equal tails budget full) @ [ greedy stopped tails budget full ]
        |> List.minBy Spec.parameters
