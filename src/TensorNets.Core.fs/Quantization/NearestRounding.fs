namespace TensorNets

open TorchSharp

/// A core of integers whose scales are its own still.
[<NoEquality; NoComparison>]
type internal RoundedCore = { Integers: Tensor; Scales: Tensor; Layout: ScaleLayout }

/// Entries to the nearest multiple of a scale, and which scale.
[<RequireQualifiedAccess>]
module internal NearestRounding =
    /// The smallest positive number that float32 has in full.
    let smallest: float = 1.17549435e-38

    /// The largest integer of so many bits, which has its negative.
    let largest (bits: int) : float = float ((1 <<< (bits - 1)) - 1)

    /// Shares of the largest entry of a row that its largest integer may stand for: what is above is cut, what is below is finer.
    let private shares = [ for i in 0..24 -> 1.0 - 0.025 * float i ]

    /// Entries over their scale, as integers; 0 where the scale is.
    let integers (bits: int) (scales: Tensor) (values: Tensor) : Tensor =
        let most = largest bits

        let quotient =
            values.div(scales).round().clamp(Num.tensor -most |> _.ToScalar(), (Num.tensor most).ToScalar())

        torch.where (scales.gt (Num.tensor 0.0), quotient, torch.zeros_like quotient)

    /// The layout of scales of a core.
    let layout (scales: Scales) (spec: Spec) (core: Core) : ScaleLayout =
        match scales with
        | Scales.PerCore -> ScaleLayout.Whole
        | Scales.PerGroup entries -> ScaleLayout.Groups entries
        | Scales.PerSlice ->
            match
                core.Axes
                |> List.filter (fun axis -> not (Spec.isOpen axis spec) && (Spec.carriers axis spec).Length > 1)
            with
            | [] when spec.Cores.Length = 1 && not core.Axes.IsEmpty -> ScaleLayout.Along(core.Axes.Length - 1)
            | [] -> ScaleLayout.Whole
            | bonds -> ScaleLayout.Along(Axis.place core.Axes (bonds |> List.maxBy (fun axis -> Spec.dim axis spec)) |> int)

    /// For every row of entries the scale at which its largest one is the largest integer.
    let private fullScales (bits: int) (rows: Tensor) : Tensor = rows.abs().amax([| 1L |], keepdim = true).div(Num.tensor (largest bits))

    /// The scales of least squared rounding error of rows, and those at which nothing is cut.
    let private leastOf (bits: int) (rows: Tensor) : struct (Tensor * Tensor) =
        use scope = torch.NewDisposeScope()
        let full = fullScales bits rows
        let mutable best = full
        let mutable least = torch.full_like (full, infinity)

        for share in shares do
            use inner = torch.NewDisposeScope()
            let scale = full.mul (Num.tensor share)
            let error = (integers bits scale rows).mul(scale).minus(rows).squared().sum([| 1L |], keepdim = true)
            let isBetter = error.lt least
            best <- torch.where (isBetter, scale, best) |> inner.MoveToOuter
            least <- torch.where (isBetter, error, least) |> inner.MoveToOuter

        struct (scope.MoveToOuter best, scope.MoveToOuter full)

    /// For every row of entries the scale of least squared rounding error.
    let scales (bits: int) (layout: ScaleLayout) (core: Tensor) : Tensor =
        use scope = torch.NewDisposeScope()
        let struct (best, _) = leastOf bits (ScaleLayout.rows layout core)
        // Scales are kept in float32: integers are those of what is kept. Beyond its range they wait for those of the other cores, with
        // which they may come to one in it.
        let kept = best.``to``(torch.float32).``to`` torch.float64
        let isHeld = kept.isfinite().logical_and(kept.ge (Num.tensor smallest))
        (torch.where (isHeld, kept, best)).reshape -1L |> scope.MoveToOuter

    /// Rows by which the share that is cut is told for all.
    let private sampled = 16L

    /// How far the scales of least error of rows, some of which are not zero, are below the full ones: the ratio of their norms, in units
    /// in which no square leaves the range of a double.
    let private cut (bits: int) (rows: Tensor) : Tensor =
        let struct (best, full) = leastOf bits (rows.div (rows.abs().max()))
        best.norm().div(full.norm ())

    /// An estimate of <c>scales</c>: how far below the full scales they are is told by a few rows. Rows that are zero, which have the scale
    /// 0, tell nothing of the others.
    let estimatedScales (bits: int) (layout: ScaleLayout) (core: Tensor) : Tensor =
        use scope = torch.NewDisposeScope()
        let rows = ScaleLayout.rows layout core
        let full = fullScales bits rows
        let told = full.reshape(-1L).nonzero().reshape -1L
        let count = told.shape[0]

        let scales =
            if count = 0L then
                full
            else
                let some = told.slice (0L, 0L, count, max 1L (count / sampled))
                full.mul (cut bits (rows.index_select (0L, some)))

        scales.reshape -1L |> scope.MoveToOuter

    /// A core, in float64, to the nearest.
    let core (bits: int) (layout: ScaleLayout) (core: Tensor) : RoundedCore =
        use scope = torch.NewDisposeScope()
        let scales = scales bits layout core
        let integers = integers bits (ScaleLayout.spread layout core.shape scales) core

        {
            Integers = integers.``to`` torch.int8 |> scope.MoveToOuter
            Scales = scope.MoveToOuter scales
            Layout = layout
        }

    /// What a core of integers stands for, in float64.
    let restored (core: RoundedCore) : Tensor =
        (core.Integers.``to`` torch.float64).mul(ScaleLayout.spread core.Layout core.Integers.shape core.Scales)
