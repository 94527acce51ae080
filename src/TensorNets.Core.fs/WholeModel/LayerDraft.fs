namespace TensorNets

open System
open System.Threading
open TorchSharp

/// The network of one kernel on its way: least squares, correction in one go or in rounds, the last touch.
[<RequireQualifiedAccess>]
module internal LayerDraft =
    /// A kernel's network on its way.
    type Draft =
        {
            Network: Network
            /// The relative error within which it can be corrected; none where it is not to be.
            Bound: float option
            /// Whether it is balanced.
            IsBalanced: bool
            /// Whether it is taken as it is.
            IsFinal: bool
            /// S of the network that least squares gave.
            Before: float
            /// By how much correction has lowered log S in its last round.
            Fall: float
        }

    /// The longest time that a token can be given.
    let private longest = TimeSpan.FromDays 40.0

    /// A token that ends after a time, or with the caller's.
    let private limited (time: TimeSpan option) (token: CancellationToken) =
        let source = CancellationTokenSource.CreateLinkedTokenSource token
        time |> Option.iter (fun time -> source.CancelAfter(max TimeSpan.Zero (min longest time)))
        source

    /// A matrix of two cores in the Frobenius norm, the least sensitive one of which is known.
    let private isMatrix (norm: Norm) (spec: Spec) (kernel: Tensor) = spec.Cores.Length = 2 && kernel.dim () = 2L && norm = Norm.Frobenius

    /// The least bound that is asked of a matrix whose rank leaves nothing out, as a share of its norm; and the least slack, for cores that
    /// are rounded to float32.
    let private leastBound, private leastSlack = 1e-12, 1.000001

    /// The least sensitive matrix near the best error of its rank.
    let private matrix (options: CompressOptions) (spec: Spec) (kernel: Tensor) : Result<Draft, TensorNetError list> =
        let bound best =
            let allowed = max leastSlack options.Slack * best
            ErrorBound.Relative(max leastBound (if allowed < 1.0 then allowed else leastSlack * best))

        LeastSensitiveMatrix.near bound (Spec.dim (Spec.bonds spec).Head spec) kernel
        |> Result.map (fun (fit, before) ->
            {
                Network = fit.Network
                Bound = None
                IsBalanced = true
                IsFinal = false
                Before = before
                Fall = 0.0
            })

    let private sweeps (options: CompressOptions) norm (token: CancellationToken) : SweepOptions =
        { SweepOptions.defaults with
            MaxSweeps = options.Sweeps
            Tolerance = options.Tolerance
            Norm = norm
            Cancellation = token
        }

    /// Least squares of at most so many sweeps, within a time.
    let fit (options: CompressOptions) count time norm (spec: Spec) (kernel: Tensor) : Result<Fit, TensorNetError list> =
        use limit = limited time options.Cancellation
        let sweeps = { sweeps options norm limit.Token with MaxSweeps = min count options.Sweeps }

        Factorize.runSpec { Factorize.defaults with Sweeps = sweeps } spec kernel
        |> Result.bind (fun fit ->
            // A time that leaves no sweep leaves a start, which may be worse than a kernel of zeros: one sweep is better than that.
            if fit.RelativeError < 1.0 then
                Ok fit
            else
                use fit = fit
                Als.run { sweeps with MaxSweeps = 1; Cancellation = options.Cancellation } kernel fit.Network)

    /// So many sweeps of least squares more.
    let refitted (options: CompressOptions) count norm (kernel: Tensor) (draft: Draft) : Result<Fit, TensorNetError list> =
        Als.run { sweeps options norm options.Cancellation with MaxSweeps = count } kernel draft.Network

    /// What least squares have left.
    let ofFit (options: CompressOptions) (spec: Spec) (fit: Fit) : Draft =
        let bound = options.Slack * fit.RelativeError

        {
            Network = fit.Network
            Bound = if TreeSvd.isTree spec || options.Corrections < 1 || not (bound < 1.0) then None else Some bound
            IsBalanced = false
            IsFinal = false
            Before = fit.Sensitivity
            Fall = 0.0
        }

    /// The kernel as its own network, of one core.
    let private dense norm (spec: Spec) (kernel: Tensor) : Result<Draft, TensorNetError list> =
        let network = new Network(spec, [| (Check.double kernel).clone() |])

        Sensitivity.valueIn norm network
        |> Result.map (fun s -> { Network = network; Bound = None; IsBalanced = true; IsFinal = true; Before = s; Fall = 0.0 })

    /// Whether a network is made by sweeps, not at one go.
    let isSwept norm (spec: Spec) (kernel: Tensor) = spec.Cores.Length > 1 && not (isMatrix norm spec kernel)

    /// A kernel's network near the error of least squares.
    let first (options: CompressOptions) time norm (spec: Spec) (kernel: Tensor) : Result<Draft, TensorNetError list> =
        if spec.Cores.Length = 1 then dense norm spec kernel
        elif isMatrix norm spec kernel then matrix options spec kernel
        else fit options options.Sweeps time norm spec kernel |> Result.map (ofFit options spec)

    /// The fall of log S in a correction, from the balanced network on.
    let private fallOf (fit: Fit) : float =
        if fit.MeetsBound && fit.Trace.Count > 1 then
            max 0.0 (log (fit.Trace[0] / fit.Trace[fit.Trace.Count - 1]))
        else
            0.0

    /// The network after some sweeps of correction more, which balance it first.
    let corrected (options: CompressOptions) count time norm (kernel: Tensor) (draft: Draft) : Result<Draft, TensorNetError list> =
        match draft.Bound with
        | None -> Ok draft
        | Some bound ->
            use limit = limited time options.Cancellation

            Correction.nearest { sweeps options norm limit.Token with MaxSweeps = count } (ErrorBound.Relative bound) kernel draft.Network
            |> Result.map (fun fit -> { draft with Network = fit.Network; IsBalanced = true; Fall = fallOf fit })

    /// The network that is taken: balanced, and with bits the one of least expected error once it is rounded.
    let last (options: CompressOptions) time norm (kernel: Tensor) (draft: Draft) : Result<Network, TensorNetError list> =
        let balanced =
            if draft.IsBalanced then
                draft.Network
            else
                match Gauge.balanceIn norm draft.Network with
                | Ok balanced -> balanced
                // A bond of lower rank than its dimension has no gauge.
                | Error _ -> Network.copyAs draft.Network.DType draft.Network

        match options.Quantize with
        | Some quantize when options.Corrections > 0 && not draft.IsFinal ->
            use limit = limited time options.Cancellation
            let sweeps = { sweeps options Norm.Frobenius limit.Token with MaxSweeps = options.Corrections }
            Quantization.correct { quantize with Norm = norm } sweeps kernel balanced |> Result.map _.Network
        | _ -> Ok balanced

    /// A kernel's network in one go, and S before.
    let whole (options: CompressOptions) time norm (spec: Spec) (kernel: Tensor) : Result<Network * float, TensorNetError list> =
        first options time norm spec kernel
        |> Result.bind (corrected options options.Corrections time norm kernel)
        |> Result.bind (fun draft -> last options time norm kernel draft |> Result.map (fun network -> network, draft.Before))

    /// A network that is taken as it is, and S before.
    let final (network: Network, before: float) : Draft =
        { Network = network; Bound = None; IsBalanced = true; IsFinal = true; Before = before; Fall = 0.0 }
