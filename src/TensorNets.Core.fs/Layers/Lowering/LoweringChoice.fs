namespace TensorNets

open System.Collections.Concurrent
open System.Diagnostics
open TorchSharp

/// <summary>How a kernel network is applied to an input. All give the same result up to rounding.</summary>
[<RequireQualifiedAccess>]
type Lowering =
    /// Core after core, or group of cores after group, each as one convolution of the channels: for CP with a kernel axis for each
    /// dimension 1×1, kh×1 and 1×kw depthwise, 1×1. The order and grouping are those of least estimated time for the size of the input. For
    /// convolutions by networks of two to eight cores. For embeddings: the slices of the cores for each token, contracted; no table.
    | Staged
    /// The input in windows as one more core of the network, contracted by a plan. For any network and any layer but embeddings.
    | Windowed
    /// The kernel is rebuilt, then applied as the dense layer. For any network.
    | Dense
    /// Whichever of the others takes the least estimated time for the size of the input; for embeddings Staged.
    | Cheapest
    /// Whichever of the others is measured fastest, once for each size of the input, when an input of that size first comes. Not for
    /// embeddings.
    | Measured

/// A way to apply a network to inputs of one size.
[<RequireQualifiedAccess>]
type internal Method =
    | Stages of Stage list
    | Windows of Plan
    /// Rows of an embedding.
    | Rows of Plan
    | Dense

[<NoEquality; NoComparison>]
type internal Choice =
    {
        Lowering: Lowering
        Method: Method
        Seconds: float
        Flops: float
        /// Worked out when it is first run.
        Run: Lazy<(LayerWeights -> Tensor -> Tensor)>
    }

/// A kernel network prepared for inputs; choices are kept by the size of the input.
type internal ConvPlan =
    {
        Geometry: ConvGeometry
        Roles: AxisRoles
        Spec: Spec
        Lowering: Lowering
        /// The kernel with its axes in the order of a dense weight.
        Reconstruct: DenseLowering
        /// By the input's images and size, the number of threads, the setting, and whether it was measured.
        Choices: ConcurrentDictionary<struct (int64 * int64 * int64 * int64 * int * Setting * bool), Choice>
        /// The least size of an input.
        Least: int64[]
    }

/// The ways to apply a network to inputs of one size, their times, and the choice between them.
[<RequireQualifiedAccess>]
module internal LoweringChoice =
    /// The rows of an embedding's tokens, that of padding zero.
    let private table (g: ConvGeometry) (kernel: Tensor) : Tensor =
        let rows = kernel.reshape(-1L, g.OutChannels).narrow(0L, 0L, g.InChannels)

        match g.PaddingIdx with
        | Some token ->
            let mask =
                torch.arange(g.InChannels, dtype = torch.int64, device = rows.device).eq(token.ToScalar()).unsqueeze -1L

            rows.masked_fill (mask, 0.0.ToScalar())
        | None -> rows

    /// The dense weight, contiguous. Differentiable.
    let weight (plan: ConvPlan) (dtype: torch.ScalarType) (device: torch.Device) (lookup: string -> Tensor) : Tensor =
        let kernel = DenseLowering.run plan.Reconstruct dtype device lookup

        if plan.Geometry.IsEmbedding then
            (table plan.Geometry kernel).contiguous()
        else
            kernel.reshape(List.toArray (ConvGeometry.weightShape plan.Geometry)).contiguous()

    /// The dense weight for what is applied: kept where no core needs a gradient, made anew else.
    let private keptWeight (plan: ConvPlan) : LayerWeights -> torch.ScalarType -> torch.Device -> Tensor =
        let names = [| for core in plan.Spec.Cores -> core.Name |]

        fun tensors dtype device ->
            let rebuild () = weight plan dtype device tensors.Lookup

            match tensors.Cache with
            | Some cache -> cache.Take("dense", Array.map tensors.Lookup names, rebuild)
            | None -> rebuild ()

    /// The layer at images of a size.
    let sized (plan: ConvPlan) (setting: Setting) (images: int64) (size: int64 list) : SizedLayer =
        {
            Setting = setting
            Geometry = plan.Geometry
            Roles = plan.Roles
            Spec = plan.Spec
            Images = images
            Input = size
        }

    /// Stage by stage, where the network can be.
    let staged (layer: SizedLayer) : Choice option =
        StageSearch.plan layer
        |> Option.map (fun (stages, seconds, flops) ->
            {
                Lowering = Lowering.Staged
                Method = Method.Stages stages
                Seconds = seconds
                Flops = flops
                Run = lazy (StagedLowering.run layer stages)
            })

    /// By windows of the input.
    let private windowed (layer: SizedLayer) : Choice =
        let contraction = WindowedLowering.plan layer

        {
            Lowering = Lowering.Windowed
            Method = Method.Windows contraction
            Seconds = TimeModel.contraction contraction
            Flops = contraction.Flops
            Run = lazy (WindowedLowering.run layer contraction)
        }

    /// The dense way; of a weight that is cached, the seconds are those of the runs after the first.
    let private rebuilt (plan: ConvPlan) (layer: SizedLayer) : Choice =
        let g, images, size = plan.Geometry, layer.Images, layer.Input
        let count (size: int64 list) = size |> List.fold (fun n k -> n * float k) (float images)
        let inside, outside = count size, count (ConvGeometry.outputSize g size)

        let work =
            {
                Groups = float g.Groups
                Summed = float (g.InChannels / g.Groups)
                Fresh = float (g.OutChannels / g.Groups)
                Kernel = float (GeometryChecks.positions g)
                Inside = inside
                Outside = outside
                Applied = if g.Transposed then inside else outside
            }

        let call =
            if layer.Setting.ByKernels then
                TorchConvolution.kernelCall g [ 0 .. g.Kernel.Length - 1 ] images work size
            else
                ValueNone

        let run () =
            let apply, weight = TorchConvolution.dense g images size, keptWeight plan
            fun (tensors: LayerWeights) (x: Tensor) -> apply (weight tensors x.dtype x.device) tensors.Bias x

        {
            Lowering = Lowering.Dense
            Method = Method.Dense
            Seconds =
                (if layer.Setting.CachesWeights then
                     TimeModel.comparison (float (Spec.parameters plan.Spec))
                 else
                     TimeModel.contraction plan.Reconstruct.Plan
                     + TimeModel.copy (work.Groups * work.Summed * work.Fresh * work.Kernel))
                + TimeModel.convolution call work
            Flops = (if layer.Setting.CachesWeights then 0.0 else plan.Reconstruct.Plan.Flops) + work.Flops
            Run = lazy (run ())
        }

    /// An embedding of so many tokens: their rows alone, or the table and a choice of its rows.
    let private ofTokens (plan: ConvPlan) (tokens: int64) : Choice =
        let rows = EmbeddingLowering.plan plan.Roles plan.Spec tokens
        let table = plan.Reconstruct.Plan

        let byTable () =
            let weight = keptWeight plan

            fun (tensors: LayerWeights) (tokens: Tensor) ->
                let first = tensors.Lookup plan.Spec.Cores.Head.Name
                (weight tensors first.dtype first.device).index_select(0L, tokens)

        match plan.Lowering with
        | Lowering.Dense ->
            {
                Lowering = Lowering.Dense
                Method = Method.Dense
                Seconds = TimeModel.contraction table
                Flops = table.Flops
                Run = lazy (byTable ())
            }
        | _ ->
            {
                Lowering = Lowering.Staged
                Method = Method.Rows rows
                Seconds = TimeModel.contraction rows
                Flops = rows.Flops
                Run = lazy (EmbeddingLowering.run plan.Roles plan.Spec rows)
            }

    let private candidates (plan: ConvPlan) (layer: SizedLayer) : Choice list =
        Option.toList (staged layer) @ [ rebuilt plan layer; windowed layer ]

    let private choose (plan: ConvPlan) (setting: Setting) (shape: int64[]) (measured: (Choice -> float) option) : Choice =
        let layer = sized plan setting shape[0] (List.ofArray shape[2..])

        match plan.Lowering, measured with
        | _ when plan.Geometry.IsEmbedding -> ofTokens plan shape[0]
        | Lowering.Staged, _ -> (staged layer).Value
        | Lowering.Windowed, _ -> windowed layer
        | Lowering.Dense, _ -> rebuilt plan layer
        | Lowering.Measured, Some seconds -> candidates plan layer |> List.minBy seconds
        | _ -> candidates plan layer |> List.minBy _.Seconds

    /// Choices kept for a layer: more sizes than these seldom come again.
    let mostKept = 1024

    /// Makes room for one more choice: one goes, as each may have been measured.
    let private makeRoom (plan: ConvPlan) : unit =
        if plan.Choices.Count >= mostKept then
            use all = plan.Choices.GetEnumerator()

            if all.MoveNext() then
                plan.Choices.TryRemove all.Current |> ignore

    /// How a network is applied to an input of a shape: images, channels, spatial dimensions; tokens and their vocabulary.
    let find (plan: ConvPlan) (setting: Setting) (shape: int64[]) (measured: (Choice -> float) option) : Choice =
        let along i = if i < shape.Length then shape[i] else 0L

        let key =
            struct (shape[0], along 2, along 3, along 4, torch.get_num_threads (), setting, measured.IsSome)

        match plan.Choices.TryGetValue key with
        | true, choice -> choice
        | _ ->
            makeRoom plan
            plan.Choices.GetOrAdd(key, choose plan setting shape measured)

    /// The least time of a few runs, after one to warm up.
    let measure (tensors: LayerWeights) (x: Tensor) (choice: Choice) : float =
        use _ = torch.no_grad ()

        let once () =
            use _ = torch.NewDisposeScope()
            let from = Stopwatch.GetTimestamp()
            choice.Run.Value tensors x |> ignore
            Stopwatch.GetElapsedTime(from).TotalSeconds

        once () |> ignore
        Seq.init 5 (fun _ -> once ()) |> Seq.min
