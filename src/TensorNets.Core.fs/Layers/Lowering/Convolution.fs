namespace TensorNets

open System.Collections.Concurrent
open TorchSharp

/// <summary>A kernel network applied to an input: the same as the dense layer with the reconstructed kernel.</summary>
[<RequireQualifiedAccess>]
module Convolution =
    /// What is counted on where weights are made anew for each input.
    let private uncached () = { CachesWeights = false; ByKernels = Kernels.isOn (); KeepsSize = false }

    /// The plan for a network whose core names and open axes have been checked.
    let internal plan (lowering: Lowering option) (geometry: ConvGeometry) (spec: Spec) : Result<ConvPlan, TensorNetError list> =
        AxisRoles.ofSpec geometry spec
        |> Result.bind (fun roles ->
            let made =
                {
                    Geometry = geometry
                    Roles = roles
                    Spec = spec
                    Lowering = defaultArg lowering Lowering.Cheapest
                    Reconstruct = DenseLowering.create spec (AxisRoles.weight geometry roles)
                    Choices = ConcurrentDictionary()
                    Least = InputChecks.least geometry
                }

            let unsupported found expected = Error [ TensorNetError.Unsupported("lowering", found, expected) ]
            let small = geometry.Kernel |> List.mapi (fun i k -> max 1L (1L + geometry.Dilation[i] * (k - 1L)))

            match made.Lowering with
            | Lowering.Windowed
            | Lowering.Measured when geometry.IsEmbedding -> unsupported $"{made.Lowering} for an embedding" "Staged, Dense or Cheapest"
            | Lowering.Staged when
                not geometry.IsEmbedding
                && (LoweringChoice.staged (LoweringChoice.sized made (uncached ()) 1L small)).IsNone
                ->
                unsupported
                    $"Staged for {spec}"
                    ("Dense, Windowed, Cheapest or Measured; Staged for convolutions by networks of two to eight cores, "
                     + "each kernel axis in one of them or in cores applied together")
            | _ -> Ok made)

    /// Multiplications and additions for one image of the given spatial size, without bias.
    let internal flops (plan: ConvPlan) (size: int64 list) : float =
        (LoweringChoice.find plan (uncached ()) [| yield 1L; yield plan.Geometry.InChannels; yield! size |] None).Flops

    /// <summary>Whether a network can be applied stage by stage to a convolution of a geometry.</summary>
    /// <example><code>Convolution.canStage geometry spec // true</code></example>
    let canStage (geometry: ConvGeometry) (spec: Spec) =
        Argument.notNull (nameof geometry) geometry
        Argument.notNull (nameof spec) spec
        (GeometryChecks.errors geometry).IsEmpty && (plan (Some Lowering.Staged) geometry spec).IsOk

    /// The layer in the dtype of the input.
    let private applyAs (plan: ConvPlan) (tensors: LayerWeights) (x: Tensor) (shape: int64[]) : Tensor =
        use scope = torch.NewDisposeScope()
        let n = plan.Least.Length
        let lead = shape.Length - n - 1

        let run (x: Tensor) (shape: int64[]) =
            let setting = { CachesWeights = tensors.Cache.IsSome; ByKernels = Kernels.takes x; KeepsSize = false }
            let measured = if plan.Lowering.IsMeasured then Some(LoweringChoice.measure tensors x) else None
            (LoweringChoice.find plan setting shape measured).Run.Value tensors x

        // A linear layer takes any number of axes in front, a convolution one or none.
        (if lead = 1 then
             run x shape
         elif n = 0 then
             let rows = Array.fold (*) 1L shape[.. lead - 1]

             (run (x.reshape (rows, plan.Geometry.InChannels)) [| rows; plan.Geometry.InChannels |])
                 .reshape(Array.append shape[.. lead - 1] [| plan.Geometry.OutChannels |])
         else
             (run (x.unsqueeze 0L) (Array.append [| 1L |] shape)).squeeze 0L)
        |> scope.MoveToOuter

    /// An embedding's rows for tokens that have been checked.
    let private rows (plan: ConvPlan) (tensors: LayerWeights) (tokens: Tensor) (shape: int64[]) : Tensor =
        use scope = torch.NewDisposeScope()
        let g = plan.Geometry
        let flat = tokens.reshape(-1L).``to`` torch.int64
        let count = flat.shape[0]
        // No token: those of one that are left out.
        let asked =
            if count = 0L then torch.zeros ([| 1L |], dtype = torch.int64, device = tokens.device) else flat

        let run = (LoweringChoice.find plan (uncached ()) [| asked.shape[0]; g.InChannels |] None).Run.Value
        let found = (run tensors asked).narrow(0L, 0L, count)

        let found =
            match g.PaddingIdx with
            | Some token -> found.masked_fill (flat.eq(token.ToScalar()).unsqueeze -1L, 0.0.ToScalar())
            | None -> found

        found.reshape (Array.append shape [| g.OutChannels |]) |> scope.MoveToOuter

    /// The layer, of an input of the shape given. Numbers of 16 bits on the CPU are computed with in float32 and the result rounded once:
    /// libtorch's convolutions of bfloat16 read what nobody wrote where channels do not fill their blocks, those of float16 take a hundred
    /// times as long, and each stage would round.
    let internal apply (plan: ConvPlan) (tensors: LayerWeights) (x: Tensor) (shape: int64[]) : Tensor =
        if plan.Geometry.IsEmbedding then
            rows plan tensors x shape
        elif HalfPrecision.is x.dtype && x.device_type = DeviceType.CPU then
            use scope = torch.NewDisposeScope()

            let cores =
                dict [ for core in plan.Spec.Cores -> core.Name, HalfPrecision.widened (tensors.Lookup core.Name) ]

            let bias: Tensor | null =
                match tensors.Bias with
                | null -> null
                | bias -> HalfPrecision.widened bias

            let tensors = { tensors with Lookup = (fun name -> cores[Spec.original name]); Bias = bias }
            let y = applyAs plan tensors (HalfPrecision.widened x) shape
            y.``to`` x.dtype |> scope.MoveToOuter
        else
            applyAs plan tensors x shape
