namespace TensorNets

open System
open TorchSharp

/// minimise ‖K − T‖² + σ²S: the expected squared error of a network whose cores get white noise of variance σ².
[<RequireQualifiedAccess>]
module internal PenalizedSweeps =
    /// Every core in turn at its minimum, X (G + σ²W) = C, then one cycle of the gauge, until that gains less than the tolerance; in
    /// float64 and in place. A sweep that does not lower the value is undone. The sweeps, why they ended, and the value at the start and
    /// after each.
    let private sweeps (options: SweepOptions) (sigma2: float) (spec: Spec) (target: Tensor) (cores: Tensor[]) =
        let blocks = LocalProblem.blocks spec
        let plan = Plan.make Order.Auto spec
        let lookup = CoreArray.Lookup spec cores
        let bonds = FreeBonds.ofSpec spec
        let sensitivity = Sensitivity.plan spec
        let norm2 = target.squared().sum().number()
        use kept = LocalProblem.keeping blocks

        let value s =
            let error = Fit.explicitError plan target lookup
            error * error + sigma2 * s, sqrt (error * error / norm2)

        let balanced () =
            let s, _, _ = Gauge.lenient 1 bonds sensitivity cores
            s

        let visit i (block: Block) =
            use scope = torch.NewDisposeScope()
            let grams = LocalProblem.grams (Some kept) block lookup target
            let weights = LocalProblem.weights (Some kept) block lookup target
            let c = LocalProblem.targetOf (Some kept) block lookup target

            if grams @ weights |> List.forall (fun matrix -> matrix.isfinite().all().truth()) then
                Fit.replace scope cores i (LocalProblem.ofX block ((LocalCorrection.systemOf grams weights c None norm2).At sigma2))

            kept.Forget block.Core.Name

        let once () =
            List.iteri visit blocks
            let s = balanced ()
            kept.Clear()
            s

        let rec loop n before trace =
            match SweepOptions.ending options n with
            | Some stop -> n, stop, trace
            | None ->
                use scope = torch.NewDisposeScope()
                let old = [| for core in cores -> core.clone () |]
                let s = once ()
                let next, error = value s

                // Written so that NaN counts as a failure.
                if not (next <= before) then
                    old |> Array.iteri (fun i core -> Fit.replace scope cores i core)
                    n, Stop.Rounding, trace
                else
                    SweepOptions.report options (n + 1) error s

                    if before - next <= options.Tolerance * before then
                        n + 1, Stop.Converged, next :: trace
                    else
                        loop (n + 1) next (next :: trace)

        let first, _ = value (balanced ())
        kept.Clear()
        let n, stop, trace = loop 0 first [ first ]
        n, stop, List.rev trace

    let private frobenius (sigma2: float) (options: SweepOptions) (target: Tensor) (start: Network) : Result<Fit, TensorNetError list> =
        let options = SweepsLeft.listening options
        use _ = Mode.left ()
        use _ = torch.no_grad ()

        match SweepOptions.check options @ Check.forSpec start.Spec target with
        | [] ->
            use _ = torch.NewDisposeScope()
            let k = Check.double target
            use work = CoreArray.Of start
            let n, stop, trace = sweeps options sigma2 start.Spec k work.Cores
            let fit = Fit.make target.dtype start.Spec work.Cores k (FitHistory.make n stop trace)
            Ok(Fit.toOuterScope fit)
        | errors -> Error errors

    /// From a start, in the norm of the options.
    let run (sigma2: float) (options: SweepOptions) (target: Tensor) (start: Network) : Result<Fit, TensorNetError list> =
        let inUnits (units: TargetUnits) =
            // σ² has the units of ‖K‖² over those of S.
            let own = TargetUnits.number (units.SensitivityExponent - 2 * units.Exponent) sigma2
            WhitenedProblem.from false (fun _ -> frobenius own)

        TargetUnits.from false inUnits options target start
