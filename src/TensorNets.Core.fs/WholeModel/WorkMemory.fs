namespace TensorNets

/// The memory that work on layers takes: layers side by side are bounded by it.
[<RequireQualifiedAccess>]
module internal WorkMemory =
    /// Bytes that layers worked on side by side may take together; a layer that takes more is worked on alone.
    let room = 1.5 * 1073741824.0

    /// What work on any layer takes.
    let private least = 4e7

    /// An estimate of the bytes that work on a layer of so many parameters takes at a rank of CP, 0 for networks without a hyperedge. Peaks
    /// of CP over 256 × 9 × 256 and 512 × 9 × 512 at ranks 100 to 760 are within an eighth of it.
    let private atRank (parameters: int64) (rank: float) : float = least + float parameters * (100.0 + rank)

    /// The same for the format that is chosen. For tensor chains the square of the rank stands for that of CP, as in their cost.
    let ofChoice (layer: PlannedLayer) : float =
        match layer.Choice.Format with
        | Format.CP rank -> float rank
        | Format.TensorChain ranks -> float (List.max ranks) * float (List.max ranks)
        | _ -> 0.0
        |> atRank layer.Parameters

    /// The same for the candidates of a layer, the largest of which has most.
    let ofPlanning (options: PlanOptions) (layer: SourceLayer) : float =
        let g = layer.Geometry

        let isSwept =
            GeometryChecks.positions g > 1L
            && options.Families
               |> List.exists (fun family -> family = FormatFamily.CP || family = FormatFamily.TensorChain)

        if isSwept then
            let entries = float (SourceLayer.size layer) / float g.Groups
            let sides = (g.InChannels + g.OutChannels) / g.Groups + GeometryChecks.positions g
            let ratio = options.Ratios |> List.fold min infinity
            atRank (SourceLayer.size layer) (entries / ratio / float sides)
        else
            atRank (SourceLayer.size layer) 0.0
