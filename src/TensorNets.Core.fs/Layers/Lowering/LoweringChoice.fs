namespace TensorNets

open System.Collections.Concurrent
open System.Diagnostics
open TorchSharp

/// <summary>How a kernel network is applied to an input. All give the same result up to rounding.</summary>
[<RequireQualifiedAccess>]
type Lowering =
    /// Core after core, or group of cores after group, each as one convolution of the channels: for CP with a kernel axis for each
    /// dimension 1×1, kh×1 and 1×kw depthwise, 1×1. The order and grouping are those of least estimated time for the size of the input. For
    /// convolutions by networks of two to eight cores.
    | Staged
    /// The input in windows as one more core of the network, contracted by a plan. For any network and any layer.
    | Windowed
    /// The kernel is rebuilt, then applied as the dense layer. For any network.
    | Dense
    /// Whichever of the others takes the least estimated time for the size of the input.
    | Cheapest
    /// Whichever of the others is measured fastest, once for each size of the input, when an input of that size first comes.
    | Measured

/// A way to apply a network to inputs of one size.
[<RequireQualifiedAccess>]
type internal Method =
    | Stages of Stage list
    | Windows of Plan
    | Dense

[<NoEquality; NoComparison>]
type internal Choice =
    {
        Lowering: Lowering
        Method: Method
        Seconds: float
        Flops: float
        /// Kept weights, cores by name, bias, input; worked out when it is first run.
        Run: Lazy<(WeightCache option -> (string -> Tensor) -> (Tensor | null) -> Tensor -> Tensor)>
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
    /// The dense weight, contiguous. Differentiable.
    let weight (plan: ConvPlan) (dtype: torch.ScalarType) (device: torch.Device) (lookup: string -> Tensor) : Tensor =
        let kernel = DenseLowering.run plan.Reconstruct dtype device lookup

        kernel.reshape(List.toArray (ConvGeometry.weightShape plan.Geometry)).contiguous()

    /// Stage by stage, where the network can be.
    let staged (plan: ConvPlan) (setting: Setting) (images: int64) (size: int64 list) : Choice option =
        StageSearch.plan setting plan.Geometry plan.Roles plan.Spec images size
        |> Option.map (fun (stages, seconds, flops) ->
            {
                Lowering = Lowering.Staged
                Method = Method.Stages stages
                Seconds = seconds
                Flops = flops
                Run = lazy (StagedLowering.run setting.Kept plan.Geometry plan.Roles plan.Spec stages images size)
            })

    /// By windows of the input.
    let private windowed (plan: ConvPlan) (images: int64) (size: int64 list) : Choice =
        let contraction = WindowedLowering.plan plan.Geometry plan.Roles plan.Spec images size

        {
            Lowering = Lowering.Windowed
            Method = Method.Windows contraction
            Seconds = TimeModel.contraction contraction
            Flops = contraction.Flops
            Run = lazy (fun _ lookup bias x -> WindowedLowering.run plan.Geometry plan.Roles plan.Spec contraction lookup bias x)
        }

    /// The dense way; of a weight that is kept, the seconds are those of the runs after the first.
    let private rebuilt (plan: ConvPlan) (setting: Setting) (images: int64) (size: int64 list) : Choice =
        let g = plan.Geometry
        let count (size: int64 list) = size |> List.fold (fun n k -> n * float k) (float images)
        let inside, outside = count size, count (ConvGeometry.outputSize g size)

        let work =
            {
                Groups = float g.Groups
                Summed = float (g.InChannels / g.Groups)
                Fresh = float (g.OutChannels / g.Groups)
                Kernel = float (ConvGeometry.positions g)
                Inside = inside
                Outside = outside
                Applied = if g.Transposed then inside else outside
            }

        let call =
            if setting.ByKernels then
                TorchConvolution.kernelCall g [ 0 .. g.Kernel.Length - 1 ] images work size
            else
                ValueNone

        let names = [| for core in plan.Spec.Cores -> core.Name |]

        let run () =
            let apply = TorchConvolution.dense g images size

            fun (cache: WeightCache option) (lookup: string -> Tensor) bias (x: Tensor) ->
                let rebuild () = weight plan x.dtype x.device lookup

                let weight =
                    match cache with
                    | Some cache -> cache.Take("dense", Array.map lookup names, rebuild)
                    | None -> rebuild ()

                apply weight bias x

        {
            Lowering = Lowering.Dense
            Method = Method.Dense
            Seconds =
                (if setting.Kept then
                     TimeModel.comparison (float (Spec.parameters plan.Spec))
                 else
                     TimeModel.contraction plan.Reconstruct.Plan
                     + TimeModel.copy (work.Groups * work.Summed * work.Fresh * work.Kernel))
                + TimeModel.convolution call work
            Flops = (if setting.Kept then 0.0 else plan.Reconstruct.Plan.Flops) + work.Flops
            Run = lazy (run ())
        }

    let private candidates plan setting images size : Choice list =
        Option.toList (staged plan setting images size)
        @ [ rebuilt plan setting images size; windowed plan images size ]

    let private cheapest plan setting images size = candidates plan setting images size |> List.minBy _.Seconds

    let private choose (plan: ConvPlan) (setting: Setting) (shape: int64[]) (measured: (Choice -> float) option) : Choice =
        let images, size = shape[0], List.ofArray shape[2..]

        match plan.Lowering, measured with
        | Lowering.Staged, _ -> (staged plan setting images size).Value
        | Lowering.Windowed, _ -> windowed plan images size
        | Lowering.Dense, _ -> rebuilt plan setting images size
        | Lowering.Measured, Some seconds -> candidates plan setting images size |> List.minBy seconds
        | _ -> cheapest plan setting images size

    /// How a network is applied to an input of a shape: images, channels, spatial dimensions.
    let find (plan: ConvPlan) (setting: Setting) (shape: int64[]) (measured: (Choice -> float) option) : Choice =
        let along i = if i < shape.Length then shape[i] else 0L

        let key =
            struct (shape[0], along 2, along 3, along 4, torch.get_num_threads (), setting, measured.IsSome)

        match plan.Choices.TryGetValue key with
        | true, choice -> choice
        | _ -> plan.Choices.GetOrAdd(key, choose plan setting shape measured)

    /// The least time of a few runs, after one to warm up.
    let measure cache lookup bias (x: Tensor) (choice: Choice) =
        use _ = torch.no_grad ()

        let once () =
            use _ = torch.NewDisposeScope()
            let from = Stopwatch.GetTimestamp()
            choice.Run.Value cache lookup bias x |> ignore
            Stopwatch.GetElapsedTime(from).TotalSeconds

        once () |> ignore
        Seq.init 5 (fun _ -> once ()) |> Seq.min
