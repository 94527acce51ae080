namespace TensorNets

open TorchSharp

[<RequireQualifiedAccess>]
module internal Check =
    let shapeOf (tensor: Tensor) = List.ofArray tensor.shape

    let isReal (tensor: Tensor) = tensor.dtype = torch.float32 || tensor.dtype = torch.float64

    /// What is wrong with a dtype in which numbers are to be made or held.
    let floating (what: string) (dtype: torch.ScalarType) : TensorNetError list =
        if dtype = torch.float64 || dtype = torch.float32 || HalfPrecision.is dtype then
            []
        else
            [ TensorNetError.DType(what, string dtype, "Float64, Float32, BFloat16 or Float16") ]

    /// Below this no tensor is compared with the memory of the machine.
    let private alwaysFits = 1e7

    /// Where a tensor would have more entries than the memory of this machine holds.
    let fits (what: string) (entries: float) (dtype: torch.ScalarType) : TensorNetError list =
        if entries < alwaysFits then
            []
        else
            let size = if dtype = torch.float64 then 8.0 else 4.0
            let most = floor (float (System.GC.GetGCMemoryInfo().TotalAvailableMemoryBytes) / size)
            if entries > most then [ TensorNetError.TooLarge(what, entries, most) ] else []

    /// Why the numbers of a tensor cannot be read: there is no tensor, it is disposed, on the meta device, quantized or sparse, or its
    /// dtype is raw bits.
    let readable (what: string) (tensor: Tensor) : TensorNetError list =
        let unreadable found = [ TensorNetError.Unreadable(what, found) ]

        if isNull (box tensor) then
            unreadable "null"
        elif tensor.IsInvalid then
            [ TensorNetError.Disposed what ]
        elif tensor.device_type = DeviceType.META then
            unreadable "on the meta device, which holds no numbers"
        elif tensor.is_quantized () then
            unreadable $"quantized ({tensor.dtype})"
        elif tensor.is_sparse then
            unreadable "sparse"
        elif tensor.dtype > torch.bfloat16 then
            unreadable $"of dtype {int tensor.dtype}, which TorchSharp does not know"
        else
            []

    /// Errors of a module that has been disposed.
    let alive (what: string) (m: torch.nn.Module) : TensorNetError list =
        try
            m.training |> ignore
            []
        with :? System.ObjectDisposedException ->
            [ TensorNetError.Disposed what ]

    /// Raises where a layer is null or has been disposed.
    let layer (layer: torch.nn.Module) : unit =
        System.ArgumentNullException.ThrowIfNull(layer, nameof layer)
        alive "The layer" layer |> TensorNetError.raiseAny

    /// What is wrong with a tensor of numbers: it cannot be read, a dtype that is not real, entries that are NaN or infinite.
    let finite (what: string) (tensor: Tensor) : TensorNetError list =
        let errors = readable what tensor

        if not errors.IsEmpty then
            errors
        elif not (isReal tensor) then
            [ TensorNetError.DType(what, string tensor.dtype, "Float32 or Float64") ]
        else
            use _ = torch.NewDisposeScope()
            // A parameter made in inference mode cannot be asked where gradients are on.
            use _ = torch.no_grad ()
            let bad = tensor.isfinite().logical_not().sum().integer()

            if bad > 0L then [ TensorNetError.NotFinite(what, bad) ] else []

    /// As `finite`, and not zero everywhere.
    let target (what: string) (tensor: Tensor) : TensorNetError list =
        match finite what tensor with
        | [] ->
            use _ = torch.NewDisposeScope()
            if tensor.count_nonzero().integer() = 0L then [ TensorNetError.ZeroTensor what ] else []
        | errors -> errors

    /// ‖K‖ of a tensor of finite entries, none of whose squares leaves the range of a double.
    let norm (tensor: Tensor) : float =
        use _ = torch.NewDisposeScope()
        let double = tensor.detach().``to`` torch.float64
        let largest = double.abs().max().number()

        if largest > 0.0 && System.Double.IsFinite largest then
            let e = System.Math.ILogB largest
            System.Math.ScaleB((Num.shifted -e double).norm().number(), e)
        else
            largest

    /// Errors of a target for a network's spec: shape, dtype, NaN, zero.
    let forSpec (spec: Spec) (tensor: Tensor) : TensorNetError list =
        [
            if (readable "The target" tensor).IsEmpty && shapeOf tensor <> Spec.shape spec then
                TensorNetError.Shape("The target", shapeOf tensor, $"{TensorNetError.shapeText (Spec.shape spec)}, the output of {spec}")
            yield! target "The target" tensor
        ]

    /// A copy of the tensor in float64, detached, that the caller's dispose scope owns. A view of a tensor made in inference mode could
    /// take part in no gradient.
    let double (tensor: Tensor) : Tensor = tensor.detach().``to``(torch.float64, copy = true).contiguous()
