namespace TensorNets

open TorchSharp

/// One step of a layer that is applied stage by stage, with its numbers: all that another runtime needs.
[<NoEquality; NoComparison>]
type internal LayerStage =
    {
        /// The places of the channels in the order in which the stage reads them; empty where it reads them as they stand.
        Order: int64[]
        /// The channels fall into as many blocks side by side, to each of which the stage is applied by itself.
        Blocks: int64
        /// What is applied to a block.
        Geometry: ConvGeometry
        /// Its dense weight, in float64, laid out as TorchSharp's layers have it.
        Weight: Tensor
        /// Where the weight is one core of small integers: int8, and the scale of every entry in float32, laid out as the weight.
        Integers: struct (Tensor * Tensor) option
    }

/// A layer stage by stage. The bias is added last.
[<NoEquality; NoComparison>]
type internal StagedLayer =
    {
        Stages: LayerStage list
        /// The places of the channels that come out of the last stage in the order of the layer; empty where they are in it.
        Order: int64[]
    }

/// The stages that the search finds, as data for another runtime.
[<RequireQualifiedAccess>]
module internal LayerStages =
    let private setting = { CachesWeights = true; ByKernels = false; KeepsSize = true }

    /// The size of an input along a dimension that nothing is known of.
    let private unknown = 16L

    /// A linear layer as a convolution over one dimension of one position.
    let private convolution (g: ConvGeometry) =
        if g.Kernel.IsEmpty then
            { ConvGeometry.plain 1 g.InChannels g.OutChannels with Groups = g.Groups }
        else
            g

    let private found (g: ConvGeometry) (size: int64 list) (spec: Spec) : Result<SizedLayer * Stage list, TensorNetError list> =
        match GeometryChecks.errors g with
        | [] when g.IsEmbedding -> Error [ TensorNetError.Unsupported("A chain of layers", g.Kind, "a linear layer or a convolution") ]
        | [] ->
            AxisRoles.ofSpec g spec
            |> Result.bind (fun roles ->
                let whole = convolution g
                let reach i = max 1L (1L + whole.Dilation[i] * (whole.Kernel[i] - 1L))

                let layer =
                    {
                        Setting = setting
                        Geometry = whole
                        Roles = roles
                        Spec = spec
                        Images = 1L
                        Input =
                            [
                                for i in 0 .. whole.Kernel.Length - 1 -> max (reach i) (List.tryItem i size |> Option.defaultValue unknown)
                            ]
                    }

                // Where a kernel axis runs through several cores, they are applied together whatever that takes.
                match
                    [ layer; { layer with Setting = { setting with KeepsSize = false } } ]
                    |> List.tryPick StageSearch.plan
                with
                | Some(stages, _, _) -> Ok(layer, stages)
                | None ->
                    Error
                        [
                            TensorNetError.Unsupported(
                                "A chain of layers",
                                string spec,
                                $"networks of at most {StageSearch.most} cores, each kernel axis in some of them that are applied together"
                            )
                        ])
        | errors -> Error errors

    /// <summary>Whether a network can be applied stage by stage to a layer of a geometry. Errors: those of the geometry; <c>Shape</c> where
    /// the network does not fit it; <c>Unsupported</c>, naming the network.</summary>
    let check (geometry: ConvGeometry) (spec: Spec) : Result<unit, TensorNetError list> = found geometry [] spec |> Result.map ignore

    /// The places of channels of the axes `from` in the order of the axes `target`.
    let private places (spec: Spec) (from: Axis list) (target: Axis list) : int64[] =
        let long = List.filter (fun axis -> Spec.dim axis spec > 1)

        if long from = long target then
            [||]
        else
            use _ = torch.NewDisposeScope()
            let dims = [| for axis in from -> int64 (Spec.dim axis spec) |]
            let order = [| for axis in target -> int64 (List.findIndex ((=) axis) from) |]
            let count = Array.fold (*) 1L dims
            torch.arange(count, dtype = torch.int64, device = torch.CPU).reshape(dims).permute(order).reshape(-1L).data<int64>().ToArray()

    /// What a stage applies to a block of channels.
    let private applied (g: ConvGeometry) (stage: Stage) (transposed: bool) (groups: int64) (spec: Spec) : ConvGeometry =
        let along (values: 'T list) none = [ for i in 0 .. g.Kernel.Length - 1 -> if List.contains i stage.Dims then values[i] else none ]

        if g.Kernel.IsEmpty then
            { ConvGeometry.plain 0 (groups * Spec.size stage.Summed spec) (groups * Spec.size stage.New spec) with
                Groups = groups
            }
        else
            {
                InChannels = groups * Spec.size stage.Summed spec
                OutChannels = groups * Spec.size stage.New spec
                Kernel = along g.Kernel 1L
                Stride = along g.Stride 1L
                Dilation = along g.Dilation 1L
                Padding = along g.Padding (struct (0L, 0L))
                PaddingMode = g.PaddingMode
                Groups = groups
                Transposed = transposed
                OutputPadding = along g.OutputPadding 0L
                Embedding = None
            }

    /// The integers of a stage that is one core of them, and the scale of every entry, in the shape of its weight.
    let private integers (quantized: QuantizedNetwork option) (tensor: Spec) (shape: int64[]) =
        match quantized, tensor.Cores with
        | Some quantized, [ core ] when List.sort core.Axes = List.sort tensor.Output ->
            let own = quantized.Cores |> Seq.find (fun own -> own.Name = core.Name)

            let order = [| for axis in tensor.Output -> Axis.place core.Axes axis |]

            let laid (entries: Tensor) = entries.cpu().permute(order).reshape(shape).contiguous()
            Some(struct (laid own.Integers, laid (ScaleLayout.spread own.Layout own.Integers.shape own.Scales)))
        | _ -> None

    /// A stage that reads channels in the order of `state`, and the order of those that come out.
    let private made (g: ConvGeometry) (layer: SizedLayer) (network: Network, quantized) (state: Axis list) (stage: Stage) =
        let spec = layer.Spec
        let carried, free = stage.PassThrough |> List.partition stage.Carried
        let transposed = g.Transposed && not stage.Dims.IsEmpty
        let channels = if transposed then stage.Summed @ stage.New else stage.New @ stage.Summed

        let kernel =
            layer.Roles.Kernel
            |> List.map fst
            |> List.filter (fun axis -> List.contains axis stage.Weight.Spec.Output)

        let tensor = Spec.make spec.Dims stage.Weight.Spec.Cores (carried @ channels @ kernel)
        let geometry = applied g stage transposed (Spec.size carried spec) spec

        let weight =
            Contraction.runMany [ Plan.make Order.Auto tensor ] torch.float64 torch.CPU (Network.lookup network)
            |> List.head

        let shape = List.toArray (ConvGeometry.weightShape geometry)

        let made: LayerStage =
            {
                Order = places spec state (free @ carried @ stage.Summed)
                Blocks = Spec.size free spec
                Geometry = geometry
                Weight = weight.reshape(shape).contiguous()
                Integers = integers quantized tensor shape
            }

        made, free @ carried @ stage.New

    /// <summary>The layer of a network stage by stage, in the order of least estimated time for inputs of a spatial size, which may be
    /// empty where it is not known. No stage has more entries than its cores, unless a kernel axis runs through several of them. The
    /// integers that the network stands for, if they are given, are handed on. The scope around owns all tensors. Errors: those of
    /// <c>check</c>.</summary>
    let ofNetwork
        (geometry: ConvGeometry)
        (size: int64 list)
        (quantized: QuantizedNetwork option)
        (network: Network)
        : Result<StagedLayer, TensorNetError list> =
        found geometry size network.Spec
        |> Result.map (fun (layer, stages) ->
            use _ = torch.no_grad ()
            use scope = torch.NewDisposeScope()
            let network = Network.copyAs torch.float64 network
            let roles = layer.Roles

            let stages, last =
                (roles.Group @ roles.Inputs, stages) ||> List.mapFold (made geometry layer (network, quantized))

            for stage in stages do
                scope.MoveToOuter stage.Weight |> ignore

                for struct (integers, scales) in Option.toList stage.Integers do
                    scope.MoveToOuter integers |> ignore
                    scope.MoveToOuter scales |> ignore

            { Stages = stages; Order = places layer.Spec last (roles.Group @ roles.Outputs) })
