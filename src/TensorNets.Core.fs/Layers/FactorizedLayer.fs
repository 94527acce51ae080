namespace TensorNets

open System
open System.Collections.Generic
open System.IO
open System.Runtime.InteropServices
open TorchSharp

/// How a layer came about: the format as text, and how far its kernel was from the dense one then, ‖K − T‖ / ‖K‖.
type internal LayerOrigin = { Format: string; KernelError: float }

/// <summary>A linear layer or a convolution whose weight is a tensor network.</summary>
/// <remarks>Equivalent to the dense layer with the kernel that the network contracts to, forward and gradient. The cores are parameters
/// under their names in the spec (A, B, C, …) and the bias is <c>bias</c>: those are the keys of its state dict. Input: images × channels ×
/// spatial dimensions, or without the images; for a linear layer any axes, then features. Made by <c>Layers</c>.</remarks>
[<AbstractClass>]
type FactorizedLayer internal (name': string, plan': ConvPlan, cores: Tensor list, bias': Tensor option, trained: string -> bool) as this =
    inherit torch.nn.Module<Tensor, Tensor>(name')

    // A move of dtype or device looks for fields by the names of the parameters. Fields of this class end in a prime, which no core's name
    // can.
    let spec' = plan'.Spec
    let geometry' = plan'.Geometry
    let hasBias' = bias'.IsSome
    let weight' = WeightCache()
    let kept' = Some weight'
    let names' = [| for core in spec'.Cores -> core.Name |]
    let first' = names'[0]
    let lookup' (name: string) : Tensor = nonNull (this.get_parameter (Spec.original name))
    let mutable replaced': (string * WeakReference<Modules.Parameter>) list = []
    let norm' = OwnedNorm spec'

    do
        // The module owns its parameters: no dispose scope around its making may take them along.
        let own name (tensor: Tensor) =
            let parameter = new Modules.Parameter(tensor, trained name)
            parameter.DetachFromDisposeScope() |> ignore
            this.register_parameter (name, parameter)

        for core, tensor in List.zip spec'.Cores cores do
            own core.Name tensor

        bias' |> Option.iter (own "bias")

    // Moves of dtype or device replace the registered parameters: they are always read from there.
    member private this.Parameter(name: string) : Modules.Parameter = nonNull (this.get_parameter name)

    member internal this.Lookup(name: string) : Tensor = this.Parameter(Spec.original name)

    /// Whether the cores' gradients are recorded.
    member private this.Records =
        torch.is_grad_enabled () && names' |> Array.exists (fun name -> (this.Parameter name).requires_grad)

    member internal _.Plan = plan'

    /// Keeps in mind whose place the layer has taken, without keeping it alive: an optimizer that holds those parameters can be given
    /// these.
    member internal _.Replaces(dense: torch.nn.Module) =
        replaced' <- [ for struct (name, p) in dense.named_parameters () -> name, WeakReference<Modules.Parameter> p ]

    /// The parameters whose place the layer has taken, by name, as far as anything still holds them.
    member internal _.Replaced() : (string * Modules.Parameter) list =
        [
            for name, weak in replaced' do
                match weak.TryGetTarget() with
                | true, p -> name, p
                | _ -> ()
        ]

    /// The network without numbers.
    member _.Spec = spec'
    /// How the layer came about, where that is known.
    member val internal Origin: LayerOrigin option = None with get, set
    /// The integers that its cores were restored from; they may have been trained since.
    member val internal Integers: QuantizedNetwork option = None with get, set
    /// S of the network that least squares gave, of a layer that was just made of a dense one.
    member val internal StartSensitivity = nan with get, set
    /// Channels, kernel size, stride, padding, dilation, groups.
    member _.Geometry = geometry'
    /// How the network is applied, as asked for.
    member _.Lowering = plan'.Lowering

    /// The cores' parameters, in the order of the spec.
    member this.Factors: IReadOnlyList<Modules.Parameter> =
        [| for core in spec'.Cores -> this.Parameter core.Name |]

    /// The bias, or null.
    member this.Bias: Modules.Parameter | null = if hasBias' then this.Parameter "bias" else null

    /// The number of trainable numbers, bias included.
    member this.ParameterCount = Spec.parameters spec' + (if hasBias' then geometry'.OutChannels else 0L)

    /// <summary>Multiplications and additions for one image of the given spatial size, one number for each spatial dimension, without bias;
    /// for a linear layer none, for one row. As in training: a dense weight is rebuilt.</summary>
    member _.Flops([<ParamArray>] size: int64[]) =
        Argument.notNull (nameof size) size

        if size.Length <> geometry'.Kernel.Length then
            invalidArg (nameof size) $"{size.Length} sizes for a {ConvGeometry.name geometry'}; expected {geometry'.Kernel.Length}."

        Convolution.flops plan' (List.ofArray size)

    /// How an input of a shape (images, channels, spatial dimensions) is applied as things stand: Staged, Windowed or Dense. By estimate
    /// where the lowering is Measured. While no gradient of the cores is recorded, a dense weight is rebuilt only when a core has changed,
    /// which favours it.
    member this.LoweringFor([<ParamArray>] shape: int64[]) : Lowering =
        Argument.notNull (nameof shape) shape

        if shape.Length <> geometry'.Kernel.Length + 2 then
            invalidArg (nameof shape) $"{shape.Length} dimensions; expected {geometry'.Kernel.Length + 2}."

        use _ = torch.NewDisposeScope()

        let setting =
            {
                CachesWeights = not this.Records
                ByKernels = Kernels.takes (HalfPrecision.widened (this.Parameter first'))
                KeepsSize = false
            }

        (LoweringChoice.find plan' setting shape None).Lowering

    /// The norm in which <c>Sensitivity</c> is measured: that in which the kernel was factorized, Frobenius unless told otherwise. It is no
    /// part of the state dict.
    member _.Norm = norm'.Norm

    /// <summary>Sets the norm in which <c>Sensitivity</c> is measured; Σ is copied. Modes count the open axes of the spec from 0.</summary>
    /// <remarks>Errors: modes that the spec has not, a Σ that does not fit them or is no covariance; then nothing is changed.</remarks>
    member _.TrySetNorm(norm: Norm) : Result<unit, TensorNetError list> = norm'.TrySet norm

    /// <summary>As <c>TrySetNorm</c>; throws a <c>TensorNetException</c> that lists every error.</summary>
    member this.SetNorm(norm: Norm) : unit = this.TrySetNorm norm |> TensorNetError.raiseErrors

    /// <summary>S of the network in the layer's norm, in the layer's dtype: a differentiable scalar, to be added to a loss.</summary>
    /// <exception cref="T:TensorNets.TensorNetException">The dtype does not hold S (<c>OutOfRange</c>, with its logarithm).</exception>
    member this.Sensitivity() : Tensor =
        let first = this.Parameter first'
        norm'.Sensitivity(first.dtype, first.device, this.Lookup)

    /// <summary>The dense weight that the network contracts to, in the shape of TorchSharp's own layer. Differentiable.</summary>
    member this.Kernel() : Tensor =
        use scope = torch.NewDisposeScope()
        let first = this.Lookup spec'.Cores.Head.Name

        LoweringChoice.weight plan' first.dtype first.device this.Lookup |> scope.MoveToOuter

    /// <summary>A copy of the network with its numbers. The caller disposes it.</summary>
    member this.Network() : Network =
        use _ = Mode.left ()
        use scope = torch.NewDisposeScope()

        new Network(spec', [| for p in this.Factors -> p.detach().clone() |> scope.MoveToOuter |])

    /// <summary>Copies tensors into the cores in place: an optimizer that holds the parameters keeps them. They may be the cores
    /// themselves, in any order.</summary>
    /// <returns>Every core whose shape or dtype differs or whose numbers cannot be read; then nothing is changed.</returns>
    member this.TrySetFactors(factors: IReadOnlyList<Tensor>) : Result<unit, TensorNetError list> =
        ArgumentNullException.ThrowIfNull(factors, nameof factors)

        match FactorChecks.errors spec' (fun name -> this.Parameter name) factors with
        | [] ->
            StateDict.overwrite
                [
                    for core, factor in Seq.zip spec'.Cores factors -> $"Core '{core.Name}'", this.Parameter core.Name :> Tensor, factor
                ]
        | errors -> Error errors

    /// <summary>As <c>TrySetFactors</c>; throws a <c>TensorNetException</c> that lists every error.</summary>
    member this.SetFactors(factors: IReadOnlyList<Tensor>) : unit = this.TrySetFactors factors |> TensorNetError.raiseErrors

    /// <summary>Copies a state dict into the parameters, or says everything that does not fit it and changes nothing.</summary>
    /// <remarks>Errors: those of <c>StateDict.load</c>, all at once.</remarks>
    member this.TryLoadState(state: IReadOnlyDictionary<string, Tensor>) : Result<unit, TensorNetError list> = StateDict.load state this

    /// <summary>As <c>TryLoadState</c>; throws a <c>TensorNetException</c> that lists every error.</summary>
    member this.LoadState(state: IReadOnlyDictionary<string, Tensor>) : unit = this.TryLoadState state |> TensorNetError.raiseErrors

    /// <summary>As TorchSharp's own, but all or nothing: a state that does not fit changes nothing. Not strict: missing and extra keys are
    /// left and returned.</summary>
    /// <remarks>TorchSharp's <c>load_state_dict</c> and <c>load</c> of a model do not ask the layers in it: <c>StateDict.load</c> is all or
    /// nothing for a whole model.</remarks>
    /// <exception cref="T:TensorNets.TensorNetException">Lists every misshapen key and, if strict, every missing and extra one.</exception>
    override this.load_state_dict
        (
            source: Dictionary<string, Tensor>,
            [<Optional; DefaultParameterValue(true)>] strict: bool,
            [<Optional; DefaultParameterValue(null: IList<string> | null)>] skip: IList<string> | null
        ) : struct (IList<string> * IList<string>) =
        StateDict.loadWith strict skip source this |> TensorNetError.raiseErrors

        StateDict.unmatched skip source (this.state_dict ())

    /// <summary>As TorchSharp's own, for what <c>save</c> has written, but all or nothing, as <c>load_state_dict</c>. <c>load</c> from a
    /// stream comes here. The reader may go on behind the state.</summary>
    /// <exception cref="T:TensorNets.TensorNetException">Lists every key that does not fit, or says why the state cannot be read
    /// (<c>BadFile</c>).</exception>
    override this.load
        (
            reader: BinaryReader,
            [<Optional; DefaultParameterValue(true)>] strict: bool,
            [<Optional; DefaultParameterValue(null: IList<string> | null)>] skip: IList<string> | null,
            [<Optional; DefaultParameterValue(null: Dictionary<string, bool> | null)>] loadedParameters: Dictionary<string, bool> | null
        ) : torch.nn.Module =
        ArgumentNullException.ThrowIfNull(reader, nameof reader)
        Argument.stream (nameof reader) _.CanRead "read" reader.BaseStream
        use _ = torch.NewDisposeScope()
        let state = StateDict.read false "The state" reader.BaseStream |> TensorNetError.raiseErrors
        this.LoadRead(state, strict, skip, loadedParameters)

    /// <summary>As TorchSharp's own, for a file that <c>save</c> has written, with nothing behind the state, but all or nothing, as
    /// <c>load_state_dict</c>.</summary>
    /// <exception cref="T:TensorNets.TensorNetException">Lists every key that does not fit, or says why the file cannot be read
    /// (<c>BadFile</c>).</exception>
    override this.load
        (
            location: string,
            [<Optional; DefaultParameterValue(true)>] strict: bool,
            [<Optional; DefaultParameterValue(null: IList<string> | null)>] skip: IList<string> | null,
            [<Optional; DefaultParameterValue(null: Dictionary<string, bool> | null)>] loadedParameters: Dictionary<string, bool> | null
        ) : torch.nn.Module =
        ArgumentNullException.ThrowIfNull(location, nameof location)
        use _ = torch.NewDisposeScope()
        let state = StateDict.readFile location |> TensorNetError.raiseErrors
        this.LoadRead(state, strict, skip, loadedParameters)

    /// Loads what was read and notes which keys were loaded.
    member private this.LoadRead
        (state: Dictionary<string, Tensor>, strict: bool, skip: IList<string> | null, loadedParameters: Dictionary<string, bool> | null)
        : torch.nn.Module =
        let struct (missing, extra) = this.load_state_dict (state, strict, skip)

        match loadedParameters with
        | null -> ()
        | loaded -> StateDict.note skip state missing extra loaded

        this

    /// <summary>A dense layer with the weight that the network contracts to, the same geometry and a copy of the bias: TorchSharp's own
    /// Linear or convolution.</summary>
    /// <remarks>The weight is trained if any core is, the bias if the bias is. A padding that differs before and after, as 'same' with an
    /// even kernel has, is written as 'same'.</remarks>
    /// <exception cref="T:TensorNets.TensorNetException">TorchSharp has no layer of this geometry (<c>Unsupported</c>).</exception>
    member this.ToDense() : torch.nn.Module<Tensor, Tensor> =
        use _ = Mode.left ()
        use _ = torch.no_grad ()
        use _ = torch.NewDisposeScope()
        let first = this.Lookup spec'.Cores.Head.Name
        let dense = DenseLayer.make geometry' hasBias' first.dtype first.device
        let weight = nonNull (dense.get_parameter "weight")
        weight.copy_ (this.Kernel()) |> ignore
        weight.requires_grad <- this.Factors |> Seq.exists _.requires_grad

        match this.Bias with
        | null -> ()
        | values ->
            let bias = nonNull (dense.get_parameter "bias")
            bias.copy_ values |> ignore
            bias.requires_grad <- values.requires_grad

        dense.train this.training
        dense

    override this.forward(x: Tensor) : Tensor =
        let first = this.Parameter first'
        let isHere = not (isNull (box x) || x.IsInvalid)

        if isHere && InputChecks.suits geometry' plan'.Least first x then
            let cache =
                if this.Records then
                    weight'.Drop()
                    None
                else
                    kept'

            Convolution.apply plan' { Cache = cache; Lookup = lookup'; Bias = this.Bias } x x.shape
        else
            raise (TensorNetException(List.toArray (InputChecks.errors geometry' first x)))

    /// As TorchSharp's own. In training mode no dense weight is kept.
    override _.train([<Optional; DefaultParameterValue(true)>] on: bool) =
        if on then
            weight'.Drop()

        base.train on

    override _.Dispose(disposing: bool) =
        if disposing then
            norm'.Reset()
            weight'.Drop()
            this.Integers |> Option.iter (fun integers -> (integers :> IDisposable).Dispose())

        base.Dispose disposing

    override _.GetName() = name'
