namespace TensorNets

open System.Collections.Concurrent
open TorchSharp

/// <summary>A kernel network applied to an input: the same as the dense layer with the reconstructed kernel.</summary>
[<RequireQualifiedAccess>]
module Convolution =
    /// <summary>The kernel tensor K[s, d, t] of a dense convolution weight [t, s, height, width] (any number of dimensions, no
    /// groups).</summary>
    let kernelOfWeight (weight: Tensor) : Tensor =
        match Check.readable "The weight" weight with
        | [] when weight.dim () >= 2L -> ()
        | [] ->
            TensorNetError.raiseErrors (
                Error
                    [
                        TensorNetError.Shape("The weight", Check.shapeOf weight, "two or more axes: (out, in, kernel positions)")
                    ]
            )
        | errors -> TensorNetError.raiseErrors (Error errors)

        use scope = torch.NewDisposeScope()
        let positions = weight.shape[2..] |> Array.fold (*) 1L

        weight.reshape(weight.shape[0], weight.shape[1], positions).permute(1L, 2L, 0L).contiguous()
        |> scope.MoveToOuter

    /// <summary>The dense weight [t, s, height, width] of a kernel tensor K[s, d, t].</summary>
    let weightOfKernel (struct (height, width): struct (int64 * int64)) (kernel: Tensor) : Tensor =
        match Check.readable "The kernel" kernel with
        | [] when kernel.dim () = 3L && height >= 0L && width >= 0L && kernel.shape[1] = height * width -> ()
        | [] ->
            TensorNetError.raiseErrors (
                Error [ TensorNetError.Shape("The kernel", Check.shapeOf kernel, $"(in, {height} · {width}, out)") ]
            )
        | errors -> TensorNetError.raiseErrors (Error errors)

        use scope = torch.NewDisposeScope()

        kernel.reshape(kernel.shape[0], height, width, kernel.shape[2]).permute(3L, 0L, 1L, 2L).contiguous()
        |> scope.MoveToOuter

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

            let small = geometry.Kernel |> List.mapi (fun i k -> max 1L (1L + geometry.Dilation[i] * (k - 1L)))

            match made.Lowering, LoweringChoice.staged made { Kept = false; ByKernels = Kernels.isOn () } 1L small with
            | Lowering.Staged, None ->
                Error
                    [
                        TensorNetError.Unsupported(
                            "lowering",
                            $"Staged for {spec}",
                            "Dense, Windowed, Cheapest or Measured; Staged for convolutions by networks of two to eight cores, "
                            + "each kernel axis in one of them or in cores applied together"
                        )
                    ]
            | _ -> Ok made)

    /// Multiplications and additions for one image of the given spatial size, without bias.
    let internal flops (plan: ConvPlan) (size: int64 list) : float =
        (LoweringChoice.find
            plan
            { Kept = false; ByKernels = Kernels.isOn () }
            [| yield 1L; yield plan.Geometry.InChannels; yield! size |]
            None)
            .Flops

    /// Whether a network can be applied stage by stage to a convolution of a geometry.
    let canStage (geometry: ConvGeometry) (spec: Spec) =
        (ConvGeometry.check geometry).IsEmpty && (plan (Some Lowering.Staged) geometry spec).IsOk

    /// The layer, of an input of the shape given, in its own dtype.
    let private applyAs
        (plan: ConvPlan)
        (cache: WeightCache option)
        (lookup: string -> Tensor)
        (bias: Tensor | null)
        (x: Tensor)
        (shape: int64[])
        : Tensor =
        use scope = torch.NewDisposeScope()
        let n = plan.Least.Length
        let channels = plan.Geometry.InChannels
        let lead = shape.Length - n - 1

        let run (input: Tensor) (shape: int64[]) =
            let measured =
                if plan.Lowering.IsMeasured then Some(LoweringChoice.measure cache lookup bias input) else None

            (LoweringChoice.find plan { Kept = cache.IsSome; ByKernels = Kernels.takes input } shape measured).Run.Value
                cache
                lookup
                bias
                input

        // A linear layer takes any number of axes in front, a convolution one or none.
        (if lead = 1 then
             run x shape
         elif n = 0 then
             let rows = Array.fold (*) 1L shape[.. lead - 1]

             (run (x.reshape (rows, channels)) [| rows; channels |])
                 .reshape(Array.append shape[.. lead - 1] [| plan.Geometry.OutChannels |])
         else
             (run (x.unsqueeze 0L) (Array.append [| 1L |] shape)).squeeze 0L)
        |> scope.MoveToOuter

    /// The layer, of an input of the shape given. A cache is given where no core needs a gradient. Numbers of 16 bits on the CPU are
    /// computed with in float32 and the result rounded once: libtorch's convolutions of bfloat16 read what nobody wrote where channels do
    /// not fill their blocks, those of float16 take a hundred times as long, and each stage would round.
    let internal apply
        (plan: ConvPlan)
        (cache: WeightCache option)
        (lookup: string -> Tensor)
        (bias: Tensor | null)
        (x: Tensor)
        (shape: int64[])
        : Tensor =
        if HalfPrecision.is x.dtype && x.device_type = DeviceType.CPU then
            use scope = torch.NewDisposeScope()
            let cores = dict [ for core in plan.Spec.Cores -> core.Name, HalfPrecision.widened (lookup core.Name) ]

            let bias: Tensor | null =
                match bias with
                | null -> null
                | bias -> HalfPrecision.widened bias

            let y = applyAs plan cache (fun name -> cores[Spec.original name]) bias (HalfPrecision.widened x) shape
            y.``to`` x.dtype |> scope.MoveToOuter
        else
            applyAs plan cache lookup bias x shape
