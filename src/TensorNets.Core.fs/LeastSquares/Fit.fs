namespace TensorNets

open System
open System.Collections.Generic
open TorchSharp

/// How an iteration went.
type internal FitHistory =
    {
        Sweeps: int
        Stop: Stop
        Trace: float list
        /// The bound that it had not met yet where it was broken off.
        Missed: float option
        /// The spec of the network that was asked for, where one was.
        Asked: Spec option
    }

[<RequireQualifiedAccess>]
module internal FitHistory =
    let make sweeps stop trace = { Sweeps = sweeps; Stop = stop; Trace = trace; Missed = None; Asked = None }
    /// Of what took no iteration.
    let direct = make 0 Stop.Converged []

/// <summary>A bond of a fit that is narrower than was asked for: the target has no more, or what more it has is rounding, or S does not
/// need it at the bound.</summary>
[<Struct>]
type BondCut =
    {
        /// The name of the axis.
        Bond: string
        /// Its dimension in the network or format asked for.
        Asked: int
        /// Its dimension in the network found.
        Found: int
    }

/// <summary>A network found for a target, with what it reached. Disposing it disposes the network.</summary>
[<Sealed>]
type Fit internal (network: Network, error: float, targetNorm: float, sensitivity: float, history: FitHistory) =
    /// The network, in the dtype of the target.
    member _.Network = network
    /// ‖K − T‖ in the norm asked for and the units of the target, from the explicit difference in float64.
    member _.Error = error
    /// ‖K − T‖ / ‖K‖ in the norm asked for.
    member _.RelativeError = error / targetNorm
    /// S = Σ_k m_k ‖E_k‖² in the norm asked for.
    member _.Sensitivity = sensitivity
    /// The sweeps of the last iteration that led here, steps of all cores together among them: at most MaxSweeps.
    member _.Sweeps = history.Sweeps
    /// Why the iteration ended.
    member _.Stop = history.Stop
    /// What the iteration lowers, at the start and after each sweep: S, or the relative error (ALS, and a correction that has not met its
    /// bound).
    member _.Trace: IReadOnlyList<float> = history.Trace
    /// False where an iteration was broken off, by cancellation or NaN, before any network met the bound asked for; this one is the
    /// nearest to it of all that were found. True everywhere else, also where no bound was asked for.
    member _.MeetsBound = history.Missed.IsNone

    /// The bonds that were cut, in the order of their names: those of the network found that are narrower than in the one asked for. Empty
    /// where ranks were looked for (<c>Factorize.toBound</c>).
    member _.Cuts: IReadOnlyList<BondCut> =
        match history.Asked with
        | None -> []
        | Some asked ->
            [
                for axis, width in Map.toList asked.Dims do
                    match Map.tryFind axis network.Spec.Dims with
                    | Some found when found < width -> { Bond = Axis.name axis; Asked = width; Found = found }
                    | _ -> ()
            ]

    member internal _.History = history
    /// ‖K‖ in the norm asked for.
    member internal _.TargetNorm = targetNorm
    /// The same network, with another account of how it was found.
    member internal _.After history = new Fit(network, error, targetNorm, sensitivity, history)

    override _.ToString() =
        let missed =
            history.Missed
            |> Option.map (fun bound -> $" before the bound {bound:G6} was met")
            |> Option.defaultValue ""

        let found = $"relative error {error / targetNorm:G6}, sensitivity {sensitivity:G6}"
        $"{network.Spec}: {found}, {history.Sweeps} sweeps, {history.Stop}{missed}"

    interface IDisposable with
        member _.Dispose() = (network :> IDisposable).Dispose()

[<RequireQualifiedAccess>]
module internal Fit =
    /// ‖K − T‖ from the explicit difference.
    let explicitError (plan: Plan) (target: Tensor) lookup =
        use _ = torch.NewDisposeScope()
        let tensor = Contraction.runMany [ plan ] target.dtype target.device lookup |> List.head
        target.minus(tensor).norm().number()

    /// Replaces a core of the array; the old tensor is disposed. The new one leaves the scope.
    let replace (scope: DisposeScope) (cores: Tensor[]) i (tensor: Tensor) =
        let old = cores[i]
        cores[i] <- scope.Detach tensor
        old.Dispose()

    /// The fit for cores in float64 whose error has been measured; the network gets the dtype asked for, and the cores are copied.
    let make (dtype: torch.ScalarType) (spec: Spec) (cores: Tensor[]) (target: Tensor) (history: FitHistory) : Fit =
        use scope = torch.NewDisposeScope()
        let tensors = [| for core in cores -> core.``to`` (dtype, copy = true) |> scope.MoveToOuter |]
        let network = new Network(spec, tensors)
        // What is handed over is what is measured: rounding to float32 is part of the error.
        let lookup = CoreArray.Lookup spec [| for tensor in tensors -> tensor.``to`` torch.float64 |]
        let plan = Plan.make Order.Auto spec
        let error = explicitError plan target lookup
        let s = Sensitivity.numberOf (Sensitivity.plan spec) torch.float64 target.device lookup
        new Fit(network, error, target.norm().number(), s, history)

    /// The fit, its cores moved to the scope around the current one.
    let toOuterScope (fit: Fit) : Fit =
        fit.Network.Cores |> Seq.iter (fun core -> core.MoveToOuterDisposeScope() |> ignore)
        fit

    /// The fit in a dtype, with a network of its own.
    let copyAs (dtype: torch.ScalarType) (target: Tensor) (fit: Fit) : Fit =
        make dtype fit.Network.Spec (Seq.toArray fit.Network.Cores) target fit.History

    /// The same fit, with a network of its own.
    let copy (fit: Fit) : Fit =
        new Fit(Network.copyAs fit.Network.DType fit.Network, fit.Error, fit.TargetNorm, fit.Sensitivity, fit.History)

    let dispose (fit: Fit) = (fit :> IDisposable).Dispose()

    /// The fit, which tells what it is narrower in than a spec that was asked for.
    let askedFor (spec: Spec) (fit: Fit) : Fit = fit.After { fit.History with Asked = Some spec }

    let private unreachable (fit: Fit) bound error : Result<Fit, TensorNetError list> =
        dispose fit
        Error [ error (bound, fit.Error) ]

    /// The fit, unless it missed its bound though nothing broke it off: then the error that names both.
    let settled (fit: Fit) : Result<Fit, TensorNetError list> =
        match fit.History.Missed with
        // An error that is no number: NaN appeared in the target, and the cores are the last good ones.
        | Some bound when fit.Stop <> Stop.Cancelled && Double.IsFinite fit.Error -> unreachable fit bound TensorNetError.Unreachable
        | _ -> Ok fit

    /// Only what meets its bound, for callers that can do nothing with less.
    let bounded (fit: Fit) : Result<Fit, TensorNetError list> =
        match fit.History.Missed with
        | Some bound when fit.Stop = Stop.Cancelled -> unreachable fit bound TensorNetError.Cancelled
        | Some bound -> unreachable fit bound TensorNetError.Unreachable
        | None -> Ok fit
