namespace TensorNets

#nowarn "9"

open System
open System.Collections.Generic
open System.Runtime.CompilerServices
open System.Runtime.Intrinsics
open Microsoft.FSharp.NativeInterop
open TorchSharp

/// Loops over one plane at a time, which stays in the first cache of a core. A result is computed as one long row, at the pitch of the
/// padded plane: what falls between its rows is dropped.
[<AbstractClass; Sealed>]
type private PlaneLoops private () =
    /// Numbers in a step: four vectors of 16.
    static member Step = 64

    /// A buffer for a padded plane, cleared, and what the last step reads behind it.
    static member PaddedBuffer(w: ConvWindow) : Scratch<float32> =
        Scratch<float32>.Zeros((w.Height + 2 * w.Above + 1) * w.Pitch + 2 * PlaneLoops.Step)

    /// A buffer for a result at the pitch of the padded plane, cleared.
    static member OutputBuffer(w: ConvWindow) : Scratch<float32> = Scratch<float32>.Zeros(w.Length + 2 * PlaneLoops.Step)

    /// Copies rows from one pitch to another.
    [<MethodImpl(MethodImplOptions.AggressiveOptimization)>]
    static member Move(rows: int, width: int, from: Floats, pitch: int, into: Floats, out: int) : unit =
        for y in 0 .. rows - 1 do
            let source = Span<float32>(NativePtr.toVoidPtr (NativePtr.add from (y * pitch)), width)
            source.CopyTo(Span<float32>(NativePtr.toVoidPtr (NativePtr.add into (y * out)), width))

    /// out[i] = Σ_uv kernel[u, v] padded[i + u pitch + v]. `flipped`: the kernel from its end.
    [<MethodImpl(MethodImplOptions.AggressiveOptimization)>]
    static member Correlate(w: ConvWindow, kernel: Floats, flipped: bool, padded: Floats, out: Floats) : unit =
        let inline load p (i: int) = Vector512.Load(NativePtr.add p i)
        let first, next = if flipped then w.Taps - 1, -1 else 0, 1
        let mutable i = 0

        while i < w.Length do
            let mutable a = Vector512<float32>.Zero
            let mutable b = Vector512<float32>.Zero
            let mutable c = Vector512<float32>.Zero
            let mutable d = Vector512<float32>.Zero
            let mutable tap = NativePtr.add kernel first

            for u in 0 .. w.Rows - 1 do
                let row = NativePtr.add padded (i + u * w.Pitch)

                for v in 0 .. w.Columns - 1 do
                    let k = Vector512.Create(NativePtr.read tap)
                    let p = NativePtr.add row v
                    a <- Vector512.FusedMultiplyAdd(k, load p 0, a)
                    b <- Vector512.FusedMultiplyAdd(k, load p 16, b)
                    c <- Vector512.FusedMultiplyAdd(k, load p 32, c)
                    d <- Vector512.FusedMultiplyAdd(k, load p 48, d)
                    tap <- NativePtr.add tap next

            Vector512.Store(a, NativePtr.add out i)
            Vector512.Store(b, NativePtr.add out (i + 16))
            Vector512.Store(c, NativePtr.add out (i + 32))
            Vector512.Store(d, NativePtr.add out (i + 48))
            i <- i + PlaneLoops.Step

    /// kernel[u, v] += Σ_i out[i] padded[i + u pitch + v].
    [<MethodImpl(MethodImplOptions.AggressiveOptimization)>]
    static member Gather(w: ConvWindow, out: Floats, padded: Floats, kernel: Floats) : unit =
        let inline load p (i: int) = Vector512.Load(NativePtr.add p i)

        for u in 0 .. w.Rows - 1 do
            for v in 0 .. w.Columns - 1 do
                let p = NativePtr.add padded (u * w.Pitch + v)
                let mutable a = Vector512<float32>.Zero
                let mutable b = Vector512<float32>.Zero
                let mutable c = Vector512<float32>.Zero
                let mutable d = Vector512<float32>.Zero
                let mutable i = 0

                while i < w.Length do
                    a <- Vector512.FusedMultiplyAdd(load out i, load p i, a)
                    b <- Vector512.FusedMultiplyAdd(load out (i + 16), load p (i + 16), b)
                    c <- Vector512.FusedMultiplyAdd(load out (i + 32), load p (i + 32), c)
                    d <- Vector512.FusedMultiplyAdd(load out (i + 48), load p (i + 48), d)
                    i <- i + PlaneLoops.Step

                let at = NativePtr.add kernel (u * w.Columns + v)
                NativePtr.write at (NativePtr.read at + Vector512.Sum((a + b) + (c + d)))

/// A convolution of each channel by a kernel of its own, with its gradients.
[<Sealed>]
type internal DepthwiseConvolution() =
    inherit torch.autograd.SingleTensorFunction<DepthwiseConvolution>()

    static let operations (w: ConvWindow) (planes: int64) = 2.0 * float w.Taps * float w.Length * float planes

    /// Every plane by the kernel of its channel; kernels are channels × taps.
    static let correlate (w: ConvWindow) (flipped: bool) (kernels: Tensor) (x: Tensor) : Tensor =
        let images, channels = int x.shape[0], int x.shape[1]
        let y = Fresh.floats [| int64 images; int64 channels; int64 w.OutHeight; int64 w.OutWidth |]
        let k, from, into = Gemm.floats kernels, Gemm.floats x, Gemm.floats y

        let all = images * channels

        ParallelFor.ranges (operations w (int64 all)) all (fun low high ->
            use paddedBuffer = PlaneLoops.PaddedBuffer w
            use outputBuffer = PlaneLoops.OutputBuffer w
            let padded, out = paddedBuffer.Start, outputBuffer.Start
            let inside = NativePtr.add padded (w.Above * w.Pitch + w.Left)

            for i in low .. high - 1 do
                PlaneLoops.Move(w.Height, w.Width, NativePtr.add from (i * w.Height * w.Width), w.Width, inside, w.Pitch)
                PlaneLoops.Correlate(w, NativePtr.add k (i % channels * w.Taps), flipped, padded, out)
                PlaneLoops.Move(w.OutHeight, w.OutWidth, out, w.Pitch, NativePtr.add into (i * w.OutHeight * w.OutWidth), w.OutWidth))

        GC.KeepAlive kernels
        GC.KeepAlive x
        y

    /// The gradients of the kernels.
    static let gather (w: ConvWindow) (gradient: Tensor) (x: Tensor) : Tensor =
        let images, channels = int x.shape[0], int x.shape[1]
        let sums = Fresh.zeros torch.float32 [| int64 channels; int64 w.Taps |]
        let k, g, from = Gemm.floats sums, Gemm.floats gradient, Gemm.floats x

        ParallelFor.ranges (operations w (int64 images * int64 channels)) channels (fun low high ->
            use paddedBuffer = PlaneLoops.PaddedBuffer w
            use outputBuffer = PlaneLoops.OutputBuffer w
            let padded, out = paddedBuffer.Start, outputBuffer.Start
            let inside = NativePtr.add padded (w.Above * w.Pitch + w.Left)

            for channel in low .. high - 1 do
                for image in 0 .. images - 1 do
                    let i = image * channels + channel
                    PlaneLoops.Move(w.Height, w.Width, NativePtr.add from (i * w.Height * w.Width), w.Width, inside, w.Pitch)
                    PlaneLoops.Move(w.OutHeight, w.OutWidth, NativePtr.add g (i * w.OutHeight * w.OutWidth), w.OutWidth, out, w.Pitch)
                    PlaneLoops.Gather(w, out, padded, NativePtr.add k (channel * w.Taps)))

        GC.KeepAlive gradient
        GC.KeepAlive x
        sums

    static member private Sizes = [| "rows"; "columns"; "above"; "left" |]

    override _.Name = "TensorNets.DepthwiseConvolution"

    override _.forward(context: torch.autograd.AutogradContext, [<ParamArray>] operands: obj[]) : Tensor =
        let kernels, x = operands[0] :?> Tensor, operands[1] :?> Tensor
        let sizes = operands[2..] |> Array.map unbox<int>
        context.save_for_backward (List [ kernels; x ])
        Array.iter2 (fun name (size: int) -> context.save_data (name, size)) DepthwiseConvolution.Sizes sizes
        correlate (ConvWindow.Of(x.shape, sizes[0], sizes[1], sizes[2], sizes[3])) false kernels x

    override _.backward(context: torch.autograd.AutogradContext, gradient: Tensor) : List<Tensor> =
        let saved = context.get_saved_variables ()
        let kernels, x = saved[0], saved[1]
        let sizes = DepthwiseConvolution.Sizes |> Array.map (fun name -> unbox<int>(context.get_data name))
        let w = ConvWindow.Of(x.shape, sizes[0], sizes[1], sizes[2], sizes[3])
        let none = Unchecked.defaultof<Tensor>

        let found =
            if torch.is_grad_enabled () then
                // Gradients of gradients: by libtorch's own operations.
                let images, channels = x.shape[0], x.shape[1]
                let padding = [| int64 w.Above; int64 w.Left |]
                let weight = kernels.view (channels, 1L, int64 w.Rows, int64 w.Columns)
                let planes (tensor: Tensor) (shape: int64[]) = tensor.reshape (Array.append shape tensor.shape[2..])

                [
                    torch.nn.functional
                        .conv2d(
                            planes x [| 1L; images * channels |],
                            planes gradient [| images * channels; 1L |],
                            null,
                            [| 1L; 1L |],
                            padding,
                            [| 1L; 1L |],
                            images * channels
                        )
                        .view(images, channels, int64 w.Taps)
                        .sum
                        0L
                    torch.nn.functional.conv_transpose2d (
                        gradient,
                        weight,
                        null,
                        [| 1L; 1L |],
                        padding,
                        [| 0L; 0L |],
                        [| 1L; 1L |],
                        channels
                    )
                ]
            else
                use lying = gradient.contiguous ()

                [
                    if kernels.requires_grad then gather w lying x else none
                    if x.requires_grad then correlate w.Back true kernels lying else none
                ]

        List(found @ List.replicate DepthwiseConvolution.Sizes.Length none)

    /// Whether planes of a size, were they float32, are convolved here: padding within the kernel, and not several images of small planes.
    static member Pays(images: int64, channels: int64, w: ConvWindow) =
        let struct (several, small) = Tuning.measured.SmallPlanes

        (images < several || int64 w.Height * int64 w.Width >= small)
        && Gemm.pays (operations w (images * channels))
        && w.IsRegular
        && images * channels * int64 (w.Height + w.Rows) * int64 (w.Width + w.Columns) < int64 Int32.MaxValue

    /// Channels by kernels of their own, channels × taps, in planes. For sizes for which that pays.
    static member Of(w: ConvWindow, kernels: Tensor, images: Tensor) : Tensor =
        let kernels, images = kernels.contiguous (), images.contiguous ()

        if torch.is_grad_enabled () && (kernels.requires_grad || images.requires_grad) then
            DepthwiseConvolution.apply (kernels, images, w.Rows, w.Columns, w.Above, w.Left)
        else
            correlate w false kernels images
