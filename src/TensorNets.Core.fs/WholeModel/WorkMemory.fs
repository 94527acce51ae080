namespace TensorNets

/// The memory that work on layers takes: layers side by side are bounded by it.
[<RequireQualifiedAccess>]
module internal WorkMemory =
    /// Bytes that layers worked on side by side may take together; a layer that takes more is worked on alone.
    let room = 1.5 * 1073741824.0

    /// What work on any layer takes.
    let private least = 4e7

    /// How many times the dense kernel in float64 work holds: the kernel unfolded, products of it with a core.
    let private kernels = 11.0

    /// How many times the cores work holds. Correction keeps points, images and directions of all cores for each sweep that it combines,
    /// and the allocator keeps what has been given back.
    let private ofTrees, private ofSweeps, private ofCP, private ofRing = 10.0, 35.0, 60.0, 30.0

    /// How many matrices of the two bonds of a core of a ring correction holds.
    let private matricesOfRing = 100.0

    /// An estimate of bytes for a dense kernel of so many parameters and of so many numbers beside it. No peak that `benchmarks -- whole
    /// memory` prints was seen more than a sixth above.
    let private estimate (dense: int64) (others: float) : float = least + 8.0 * (kernels * float dense + others)

    /// The same for the format that is chosen.
    let ofChoice (layer: PlannedLayer) : float =
        let cores = float layer.Choice.Parameters

        match layer.Choice.Format with
        | Format.CP _ -> ofCP * cores
        | Format.TensorChain ranks -> ofRing * cores + matricesOfRing * float (List.max ranks) ** 4.0
        | _ -> ofTrees * cores
        |> estimate layer.Parameters

    /// The same for the candidates of a layer, the largest of which has most; they are not corrected.
    let ofPlanning (options: PlanOptions) (layer: SourceLayer) : float =
        let isSwept =
            options.Families
            |> List.exists (fun family -> family = FormatFamily.CP || family = FormatFamily.TensorChain)

        let entries = SourceLayer.size layer
        let ratio = options.Ratios |> List.fold min infinity
        estimate entries ((if isSwept then ofSweeps else ofTrees) * float entries / ratio)
