namespace TensorNets

open TorchSharp

/// The ranks of a ring by sequential singular value decompositions to a budget (TR-SVD; Zhao et al. 2016).
[<RequireQualifiedAccess>]
module internal RingRanks =
    /// The left singular vectors and what is left of a matrix, truncated to a budget.
    let private split (budget: float) (matrix: Tensor) : Tensor * int =
        use scope = torch.NewDisposeScope()
        let struct (u, s, _) = Decompose.svd false matrix
        let rank = TreeRanks.within budget (TreeRanks.tailsFrom s)
        (u.narrow(1L, 0L, int64 rank).mT.matmul matrix |> scope.MoveToOuter), rank

    /// Ranks (closing bond first) for one way to share the first rank out over the two bonds of core 0.
    let private sequential (share: float) (shape: int64[]) (closing: int, second: int) (rest: Tensor) : int list =
        use _ = torch.NewDisposeScope()
        let n = shape.Length
        let closing, second = int64 closing, int64 second

        let mutable remaining =
            rest.reshape(closing, second, -1L).permute(1L, 2L, 0L).reshape(second * shape[1], -1L)

        [
            int closing
            int second
            for i in 1 .. n - 2 do
                let projected, rank = split share remaining
                rank
                remaining <- projected.reshape (int64 rank * shape[i + 1], -1L)
        ]

    /// The pairs (closing, second) whose product is at least the rank and at most what the first mode spans; (1, rank) is always among
    /// them.
    let private pairs (rank: int) (most: int) =
        [
            for small in 1 .. int (ceil (sqrt (float rank))) do
                let large = (rank + small - 1) / small

                if small * large <= most then
                    small, large
                    large, small
        ]
        |> List.distinct

    /// The first unfolding of a target with its singular value decomposition, which every budget begins with.
    type First = private { Unfolding: Tensor; Left: Tensor; Tails: float[] }

    /// The caller's scope owns the tensors.
    let first (target: Tensor) : First =
        use scope = torch.NewDisposeScope()
        let unfolding = target.reshape (target.shape[0], -1L)
        let struct (u, s, _) = Decompose.svd false unfolding

        {
            Unfolding = scope.MoveToOuter unfolding
            Left = scope.MoveToOuter u
            Tails = TreeRanks.tailsFrom s
        }

    /// <summary>The ring of fewest parameters among the ways to share out the first rank, each truncation within its part of the budget:
    /// the first has two parts, the others one. Once it is to stop: of the ways that have been looked at, at least one.</summary>
    let ofBudget (stopped: unit -> bool) (spec: Spec) (target: Tensor) (first: First) (budget: float) : Spec =
        use _ = torch.NewDisposeScope()
        let share = budget / float target.shape.Length
        let bonds = spec.Cores |> List.map _.Axes.Head
        let most = int (min first.Unfolding.shape[0] first.Unfolding.shape[1])
        let rank = TreeRanks.within (2.0 * share) first.Tails

        let ring (closing, second) =
            use _ = torch.NewDisposeScope()
            // A product above the rank takes further singular vectors.
            let rest = first.Left.narrow(1L, 0L, int64 (closing * second)).mT.matmul first.Unfolding
            let ranks = sequential share target.shape (closing, second) rest
            spec |> Spec.resized (List.zip bonds ranks) |> TreeRanks.admissible

        let rec smallest best rest =
            match rest with
            | pair :: others when not (stopped ()) ->
                let next = ring pair
                smallest (if Spec.parameters next < Spec.parameters best then next else best) others
            | _ -> best

        let ways = pairs rank most
        smallest (ring ways.Head) ways.Tail
