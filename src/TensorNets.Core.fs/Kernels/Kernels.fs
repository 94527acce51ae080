namespace TensorNets

open TorchSharp

/// <summary>The one door to what is written by hand for vector units. No other room names another file of this one (but for the words of
/// the contract, <c>ConvCall</c>, and what was measured, <c>Tuning</c>), uses pointers, or asks what the processor has.</summary>
/// <remarks>
/// <para>Who may call: anything below this room, on any thread. What begins with <c>try</c> answers ValueNone where no kernel pays; what
/// does not always answers.</para>
/// <para>Numbers: those of libtorch in the same dtype up to rounding, by the laws of <c>tests/Properties/Kernels</c>, on sizes of every
/// tail. Only what is asked for is read and written, whatever the alignment. A number that is not finite spoils at most the tile that it is
/// in.</para>
/// <para>Bits: the same on any number of threads and in every run on one processor; not the same with kernels on and off, nor on processors
/// without 512-bit vectors.</para>
/// <para>Threads: libtorch's own, as many as torch.get_num_threads() says; no more are started.</para>
/// <para>Memory: results are new tensors; arguments are neither changed nor disposed; what lies in between is freed before a call returns,
/// exceptions included.</para>
/// <para>Gradients: first ones are kernels too, those of gradients are libtorch's operations. What a kernel has made its own backward pass
/// differentiates, whatever the switch says by then.</para>
/// <para>Off: by the AppContext switch <c>TensorNets.Kernels</c> (false) or the environment variable <c>TENSORNETS_KERNELS=off</c>, both
/// read once; in a scope by <c>withoutKernels</c>; and where the processor has no 512-bit vectors. Products of matrices are libtorch's
/// on processors of Intel too, unless the variable is <c>all</c>. Then libtorch does it all, and
/// tridiagonal systems go by scalar loops (which a processor without those vectors does not need: their loops run anywhere). No algorithm
/// depends on it.</para>
/// </remarks>
[<RequireQualifiedAccess>]
module internal Kernels =
    /// What was measured on one machine.
    let tuning = Tuning.measured

    /// Whether kernels that need 512-bit vectors run.
    let isOn () = KernelSwitch.isOn ()

    /// What an act gives while kernels are off for it, gradients that it asks for included; what runs beside it is not touched.
    let withoutKernels (act: unit -> 'T) : 'T =
        use _ = KernelSwitch.suspend ()
        act ()

    /// Whether an input is one that convolutions are made for: float32 on the CPU, kernels on.
    let takes (x: Tensor) = x.dtype = torch.float32 && x.device_type = DeviceType.CPU && isOn ()

    /// A B: of matrices, of stacks of them, of vectors; by libtorch where no kernel pays. Differentiable.
    let matmul (a: Tensor, b: Tensor) : Tensor = MatMul.Of(a, b)

    /// K[t, s, d] = Σ_r C[t, r] A[s, r] B[d, r] of float32 factors. Differentiable.
    let tryCpKernel (c: Tensor) (a: Tensor) (b: Tensor) : Tensor voption =
        if takes c && takes a && takes b && CpKernel.Pays(c, a, b) then
            ValueSome(CpKernel.Of(c, a, b))
        else
            ValueNone

    /// Whether a kernel makes a convolution.
    let pays (call: ConvCall) : bool =
        isOn ()
        && match call with
           | ConvCall.Pointwise(images, summed, fresh, positions) -> PointwiseConvolution.Pays(images, summed, fresh, positions)
           | ConvCall.Depthwise(images, channels, window) -> DepthwiseConvolution.Pays(images, channels, window)
           | ConvCall.Dense(images, summed, fresh, window) -> (WinogradConvolution.tiles images summed fresh window).IsSome

    /// A convolution of one position, by a matrix of new × old channels, for which a kernel pays. The result lies in a layout; a bias only
    /// where that is Channels.First. Differentiable.
    let pointwise (output: Channels) (matrix: Tensor) (bias: Tensor | null) (images: Tensor) : Tensor =
        PointwiseConvolution.Of(output, matrix, bias, images)

    /// A convolution of each channel by its own kernel, channels × taps, for which a kernel pays. Differentiable.
    let depthwise (window: ConvWindow) (kernels: Tensor) (images: Tensor) : Tensor = DepthwiseConvolution.Of(window, kernels, images)

    /// A convolution of all channels with all by a kernel t × s × rows × columns, between zeros above and to the left (as many below and to
    /// the right). Differentiable.
    let tryDense (above: int) (left: int) (kernel: Tensor) (bias: Tensor | null) (images: Tensor) : Tensor voption =
        if takes images && images.is_contiguous () then
            DenseConvolution.TryWindow(above, left, kernel, images)
            |> ValueOption.map (fun window -> DenseConvolution.Of(window, kernel, bias, images))
        else
            ValueNone

    let private memory (entries: float) = 4.0 * entries / tuning.Bandwidth

    /// Seconds of a convolution by a kernel, if one makes it, as estimated from what was measured.
    let seconds (call: ConvCall) : float voption =
        let shared operations seconds = tuning.CallSeconds + seconds / float (ParallelFor.threadsFor operations)

        match call with
        | _ when not (pays call) -> ValueNone
        | ConvCall.Pointwise(images, summed, fresh, positions) ->
            let s, t, n = float summed, float fresh, float (images * positions)
            let operations = 2.0 * n * s * t
            ValueSome(shared operations (operations / tuning.PointwiseRate + memory (n * (s + t) + s * t)))
        | ConvCall.Depthwise(images, channels, w) ->
            let inside, outside = float w.Height * float w.Width, float w.OutHeight * float w.OutWidth
            let planes = float (images * channels)
            let operations = 2.0 * planes * outside * float w.Taps
            let entries = planes * (inside + outside) + float channels * float w.Taps
            ValueSome(shared operations (operations / tuning.DepthwiseRate + memory entries))
        | ConvCall.Dense(images, summed, fresh, w) ->
            WinogradConvolution.tiles images summed fresh w
            |> ValueOption.map (fun tiles ->
                let s, t, tiles, numbers = float summed, float fresh, float tiles, float WinogradTransforms.Numbers
                let products = 2.0 * numbers * tiles * s * t
                let transformed = numbers * (tiles * (s + t) + s * t)
                shared products (products / tuning.WinogradRate + transformed / tuning.TransformRate))

    /// Seconds of products of matrices of a number of operations, by whichever makes them.
    let matmulSeconds (operations: float) : float =
        if KernelSwitch.multiplies () && Gemm.pays operations then
            operations / tuning.ContractionRate / float (ParallelFor.threadsFor operations)
        else
            operations / tuning.TorchContractionRate

    /// As <c>TridiagonalKernel.reduce</c>: the τ of the reflections, the diagonal of T and what stands beside it.
    let reduceToTridiagonal (n: int) (matrix: Tensor) (reflections: Tensor) : struct (float[] * float[] * float[]) =
        TridiagonalKernel.reduce n matrix reflections

    /// As <c>TridiagonalKernel.solve</c>: U with (T + λ) U = D − λ Y, in <c>into</c>, and ⟨U, D + λ (Y + U)⟩.
    let solveTridiagonal (elimination: struct (float[] * float[])) (lambda: float) (d: Tensor) (y: Tensor | null) (into: Tensor) : float =
        TridiagonalKernel.solve elimination lambda d y into
