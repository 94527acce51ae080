namespace TensorNets

open System
open TorchSharp

/// Units in which a target of any size has a norm near one: the target in units of 2^(n q), each of the n cores that are not fixed in units
/// of 2^q. Powers of two, so that nothing rounds on the way in and out.
[<NoEquality; NoComparison>]
type internal TargetUnits =
    {
        /// q.
        Share: int
        /// n.
        Count: int
        /// The unit of the norm that errors and S are measured in (<c>WhitenedNorm.Unit</c>).
        Norm: NormUnit
    }

    /// The exponent of the target, of errors and of bounds on them.
    member this.Exponent = this.Share * this.Count + this.Norm.Exponent

    /// That of S: each of its terms has every core but one, twice.
    member this.SensitivityExponent = 2 * this.Share * (this.Count - 1) + 2 * this.Norm.Exponent

    /// An error or a norm in these units, in those of the caller.
    member this.ErrorOut(x: float) = Math.ScaleB(x * this.Norm.Factor, this.Exponent)

    /// An error or a norm of the caller's, in these units.
    member this.ErrorIn(x: float) = Math.ScaleB(x / this.Norm.Factor, -this.Exponent)

    /// S in these units, in those of the caller.
    member this.SensitivityOut(s: float) = Math.ScaleB(s * (this.Norm.Factor * this.Norm.Factor), this.SensitivityExponent)

    /// S of the caller's, in these units.
    member this.SensitivityIn(s: float) = Math.ScaleB(s / (this.Norm.Factor * this.Norm.Factor), -this.SensitivityExponent)

[<RequireQualifiedAccess>]
module internal TargetUnits =
    let none = { Share = 0; Count = 1; Norm = NormUnit.One }

    /// Those of a norm alone.
    let ofNorm (unit: NormUnit) = { none with Norm = unit }

    /// x 2^e, also where 2^e is no double.
    let number (e: int) (x: float) : float = Math.ScaleB(x, e)

    /// The units for a network of a spec and a target that is finite and not zero.
    let ofTarget (spec: Spec) (target: Tensor) : TargetUnits =
        use _ = torch.NewDisposeScope()
        let largest = target.detach().abs().max().number()
        let count = max 1 (Spec.freeCores spec).Length

        if not (largest > 0.0 && Double.IsFinite largest) then
            none
        else
            let first = Math.ILogB largest
            let scaled = (Num.shifted -first (target.detach().``to`` torch.float64)).norm().number()
            let log = float first + Math.Log2 scaled

            // Always, not only where the range would be left: what is found is then the same to the bit for every target that is so many
            // powers of two away.
            { Share = int (round (log / float count)); Count = count; Norm = NormUnit.One }

    let isNone (units: TargetUnits) = units.Share = 0 && units.Norm = NormUnit.One

    /// Cores that were made in these units in those of the caller.
    let cores (units: TargetUnits) (spec: Spec) (own: Tensor list) : Tensor list =
        if isNone units then
            own
        else
            List.map2 (fun core (own: Tensor) -> if PlanInput.isFixed core then own else Num.shifted units.Share own) spec.Cores own

    let private scaled (e: int) (network: Network) (spec: Spec) : Network =
        use scope = torch.NewDisposeScope()

        let core (core: Core) (given: Tensor) =
            (if PlanInput.isFixed core then given.clone () else Num.shifted e given) |> scope.MoveToOuter

        new Network(spec, Seq.map2 core spec.Cores network.Cores |> Seq.toArray)

    /// A target in these units, in its dtype.
    let target (units: TargetUnits) (given: Tensor) : Tensor = Num.shifted -units.Exponent (given.detach ())

    /// Cores of a start beyond this power of two, in units of the target, are brought near one.
    let private far = 64

    let private exponentOf (core: Tensor) : int =
        use _ = torch.NewDisposeScope()
        let largest = (core.detach().``to`` torch.float64).abs().max().number()
        if largest > 0.0 && Double.IsFinite largest then Math.ILogB largest else 0

    /// A start in these units, in float64: copies. Products of cores that are many powers of two away from the target leave the range of a
    /// double within a sweep; each such core is brought near one by a power of two, which changes T(start) by that.
    let network (units: TargetUnits) (start: Network) : Network =
        use scope = torch.NewDisposeScope()

        let core (core: Core) (given: Tensor) =
            let double = given.detach().``to``(torch.float64, copy = true)

            (if PlanInput.isFixed core then
                 double
             else
                 let away = exponentOf double - units.Share
                 Num.shifted (-units.Share - (if abs away > far then away else 0)) double)
            |> scope.MoveToOuter

        new Network(start.Spec, Seq.map2 core start.Spec.Cores start.Cores |> Seq.toArray)

    /// Whether a start needs no other units.
    let private isNear (start: Network) =
        Seq.forall2 (fun core given -> PlanInput.isFixed core || abs (exponentOf given) <= far) start.Spec.Cores start.Cores

    /// The listener hears of S as it is.
    let listening (units: TargetUnits) (options: SweepOptions) : SweepOptions =
        match options.Progress with
        | None -> options
        | Some progress ->
            let inner =
                { new IProgress<FitProgress> with
                    member _.Report report = progress.Report { report with Sensitivity = units.SensitivityOut report.Sensitivity }
                }

            { options with Progress = Some inner }

    let private log10Of (e: int) (x: float) = Math.Log10 x + float e * Math.Log10 2.0

    /// What leaves the range of its dtype on the way back.
    let private outOfRange (units: TargetUnits) (fit: Fit) (network: Network) : TensorNetError list =
        use _ = torch.NewDisposeScope()

        let isLost out (x: float) =
            let back: float = out x
            x > 0.0 && Double.IsFinite x && (back = 0.0 || not (Double.IsFinite back))

        [
            for core, before, after in Seq.zip3 network.Spec.Cores fit.Network.Cores network.Cores do
                let largest (tensor: Tensor) = tensor.abs().max().number()
                let size = largest before

                if size > 0.0 && Double.IsFinite size && (largest after = 0.0 || not (after.isfinite().all().truth())) then
                    TensorNetError.OutOfRange($"Core '{core.Name}'", log10Of units.Share size, string after.dtype)

            if isLost units.SensitivityOut fit.Sensitivity then
                TensorNetError.OutOfRange("The sensitivity", log10Of units.SensitivityExponent fit.Sensitivity, "Float64")

            if isLost units.ErrorOut fit.TargetNorm then
                TensorNetError.OutOfRange("The norm of the target", log10Of units.Exponent fit.TargetNorm, "Float64")
        ]

    /// A fit found in units, in those of the caller, with a network that has them already. `isS`: its trace is of S.
    let private measured (units: TargetUnits) (isS: bool) (fit: Fit) (network: Network) : Fit =
        let history = fit.History
        let ofTrace = if isS && history.Missed.IsNone then units.SensitivityOut else id

        let history =
            { history with
                Trace = history.Trace |> List.map ofTrace
                Missed = history.Missed |> Option.map units.ErrorOut
            }

        let s = units.SensitivityOut fit.Sensitivity
        new Fit(network, units.ErrorOut fit.Error, units.ErrorOut fit.TargetNorm, s, history)

    /// The fit in the units of the caller; the given one is disposed. `isS`: its trace is of S.
    let back (units: TargetUnits) (isS: bool) (fit: Fit) : Result<Fit, TensorNetError list> =
        if isNone units then
            Ok fit
        else
            use fit = fit
            let network = scaled units.Share fit.Network fit.Network.Spec

            match outOfRange units fit network with
            | [] -> Ok(measured units isS fit network)
            | errors ->
                (network :> IDisposable).Dispose()
                Error errors

    /// Errors in the units of the caller.
    let errors (units: TargetUnits) (found: TensorNetError list) : TensorNetError list =
        let outside = units.ErrorOut

        found
        |> List.map (function
            | TensorNetError.Unreachable(bound, reached) -> TensorNetError.Unreachable(outside bound, outside reached)
            | TensorNetError.Cancelled(bound, reached) -> TensorNetError.Cancelled(outside bound, outside reached)
            | other -> other)

    /// A bound in these units.
    let bound (units: TargetUnits) (bound: ErrorBound) : ErrorBound =
        match bound with
        | ErrorBound.Absolute delta -> ErrorBound.Absolute(units.ErrorIn delta)
        | relative -> relative

    /// A method that takes options, target and start and gives one fit, in units of the target. The caller's scope owns the fit.
    let from
        (isS: bool)
        (run: TargetUnits -> SweepOptions -> Tensor -> Network -> Result<Fit, TensorNetError list>)
        (options: SweepOptions)
        (given: Tensor)
        (start: Network)
        : Result<Fit, TensorNetError list> =
        // Also what is only brought into other units and back.
        use _ = Mode.left ()

        match Check.forSpec start.Spec given with
        | [] ->
            let units = ofTarget start.Spec given

            let spec = start.Spec

            if isNone units && isNear start then
                run units options given start |> Result.map (Fit.askedFor spec)
            else
                use _ = torch.NewDisposeScope()
                use start = network units start

                run units (listening units options) (target units given) start
                |> Result.mapError (errors units)
                |> Result.bind (back units isS)
                |> Result.map (Fit.askedFor spec >> Fit.toOuterScope)
        | found -> Error found
