namespace TensorNets

open TorchSharp

/// A convolution of images that is compared with itself in float64.
type internal ConvolutionProbe =
    {
        Images: int64
        In: int64
        Out: int64
        Size: int64 list
        Kernel: int64 list
        Stride: int64 list
        Padding: int64 list
        Dilation: int64 list
        /// The gradient of the input instead, which is the transposed convolution.
        Transposed: bool
        /// Whether the channels of a position lie side by side in the input.
        ChannelsLast: bool
    }

/// Whether libtorch's float32 convolutions are right on this processor.
[<RequireQualifiedAccess>]
module internal ConvolutionCheck =
    let square: ConvolutionProbe =
        {
            Images = 2L
            In = 24L
            Out = 20L
            Size = [ 8L; 8L ]
            Kernel = [ 3L; 3L ]
            Stride = [ 1L; 1L ]
            Padding = [ 1L; 1L ]
            Dilation = [ 1L; 1L ]
            Transposed = false
            ChannelsLast = false
        }

    /// Where wrong results were seen: channels that fill no block of 8 or 16, two images or more, several positions.
    let probes: ConvolutionProbe list =
        [
            square
            { square with In = 20L; Out = 40L }
            { square with In = 16L; Out = 100L }
            { square with In = 16L; Out = 100L; ChannelsLast = true }
            { square with Transposed = true }
            { square with
                Images = 3L
                Size = [ 17L; 19L ]
                Kernel = [ 5L; 3L ]
                Stride = [ 2L; 1L ]
                Padding = [ 2L; 1L ]
                Dilation = [ 1L; 2L ]
            }
        ]

    /// What is above it is no rounding: float32 makes 1e-6 of such sums.
    let tolerance = 1e-4

    /// Freed memory full of NaN: an engine that reads what nobody wrote shows it.
    let private poison () =
        for n in [ 100L; 300L; 1_000L; 3_000L; 10_000L; 30_000L ] do
            use memory = Fresh.floats [| n |]
            use nan = Num.like memory nan
            use _ = memory.copy_ nan
            ()

    /// Numbers that look like noise, of an integer hash, with no generator of torch's.
    let private numbers (seed: int) (shape: int64[]) : Tensor =
        let count = int (Array.fold (*) 1L shape)

        let values =
            Array.init count (fun i ->
                let mixed = (uint32 i + uint32 seed * 7919u) * 2654435761u
                let mixed = (mixed ^^^ (mixed >>> 15)) * 2246822519u
                float32 (mixed >>> 8) / 8388608.0f - 1.0f)

        (torch.tensor (values, dtype = torch.float32, device = torch.CPU)).reshape shape

    /// A probe's result by libtorch, in the dtype of its tensors.
    let byTorch (probe: ConvolutionProbe) (weight: Tensor) (x: Tensor) : Tensor =
        let stride, padding, dilation =
            List.toArray probe.Stride, List.toArray probe.Padding, List.toArray probe.Dilation

        let x = if probe.ChannelsLast then x.permute(0L, 2L, 3L, 1L).contiguous().permute(0L, 3L, 1L, 2L) else x

        if probe.Transposed then
            torch.nn.functional.conv_transpose2d (x, weight, strides = stride, padding = padding, dilation = dilation)
        else
            torch.nn.functional.conv2d (x, weight, strides = stride, padding = padding, dilation = dilation)

    /// ‖y − z‖ / ‖z‖ of a probe's result y and that of libtorch in float64; NaN where y has any.
    let error (convolve: ConvolutionProbe -> Tensor -> Tensor -> Tensor) (probe: ConvolutionProbe) : float =
        use _ = Mode.left ()
        use _ = torch.no_grad ()
        use _ = torch.NewDisposeScope()
        let inside = if probe.Transposed then probe.Out else probe.In
        let x = numbers 1 [| yield! [ probe.Images; inside ]; yield! probe.Size |]
        let weight = numbers 2 [| yield! [ probe.Out; probe.In ]; yield! probe.Kernel |]
        let z = byTorch probe (weight.``to`` torch.float64) (x.``to`` torch.float64)
        poison ()
        let y = (convolve probe weight x).``to`` torch.float64
        y.minus(z).norm().number() / z.norm().number()

    /// The first error above the tolerance, or the largest.
    let worst (convolve: ConvolutionProbe -> Tensor -> Tensor -> Tensor) : float =
        let errors = probes |> List.map (error convolve)

        errors
        |> List.tryFind (fun e -> not (e < tolerance))
        |> Option.defaultWith (fun () -> List.max errors)

    let private gate = obj ()
    let mutable private found: float voption = ValueNone

    /// Errors where libtorch convolves wrongly, as it computes now; worked out once.
    let check () : TensorNetError list =
        lock gate (fun () ->
            let error = found |> ValueOption.defaultWith (fun () -> worst byTorch)
            found <- ValueSome error
            if error < tolerance then [] else [ TensorNetError.WrongConvolutions error ])

    /// Switches oneDNN off, for the whole process, where libtorch convolves wrongly with it. Errors where that does not help.
    let mend () : TensorNetError list =
        lock gate (fun () ->
            match check () with
            | [] -> []
            | errors when not (OneDnn.set false) -> errors
            | _ ->
                found <- ValueNone
                check ())
