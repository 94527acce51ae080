namespace TensorNets

open System
open System.Collections.Generic
open TorchSharp

/// A convolution of all channels with all in float32, with its gradients: stride and dilation 1, no groups.
[<Sealed>]
type internal DenseConvolution() =
    inherit torch.autograd.SingleTensorFunction<DenseConvolution>()

    static let windowOf (kernel: Tensor) (x: Tensor) above left =
        let taps = kernel.shape
        ConvWindow.Of(x.shape, int taps[2], int taps[3], above, left)

    override _.Name = "TensorNets.DenseConvolution"

    override _.forward(context: torch.autograd.AutogradContext, [<ParamArray>] operands: obj[]) : Tensor =
        let kernel, x = operands[0] :?> Tensor, operands[1] :?> Tensor
        let above, left = unbox<int> operands[2], unbox<int> operands[3]
        let bias = operands |> Array.tryItem 4 |> Option.map (fun bias -> bias :?> Tensor) |> Option.toObj
        context.save_for_backward (List [ kernel; x ])
        context.save_data ("above", above)
        context.save_data ("left", left)
        context.save_data ("bias", not (isNull bias))
        WinogradConvolution.convolve (windowOf kernel x above left) kernel bias x

    override _.backward(context: torch.autograd.AutogradContext, gradient: Tensor) : List<Tensor> =
        let saved = context.get_saved_variables ()
        let kernel, x = saved[0], saved[1]
        let above, left = unbox<int>(context.get_data "above"), unbox<int>(context.get_data "left")
        let none = Unchecked.defaultof<Tensor>

        let found =
            if torch.is_grad_enabled () then
                // Gradients of gradients: by libtorch's own operations.
                let padding = [| int64 above; int64 left |]
                let ones = [| 1L; 1L |]
                let swapped (tensor: Tensor) = tensor.transpose (0L, 1L)

                [
                    swapped (torch.nn.functional.conv2d (swapped x, swapped gradient, null, ones, padding, ones))
                    torch.nn.functional.conv_transpose2d (gradient, kernel, null, ones, padding, [| 0L; 0L |], ones)
                ]
            else
                use lying = gradient.contiguous ()
                let w = windowOf kernel x above left

                [
                    if kernel.requires_grad then WinogradConvolution.gather w lying x else none
                    if x.requires_grad then WinogradConvolution.back w kernel lying else none
                ]

        List(
            found
            @ [
                none
                none
                if unbox<bool>(context.get_data "bias") then
                    gradient.sum [| 0L; 2L; 3L |]
            ]
        )

    /// The window of images and a kernel t × s × rows × columns, both of float32, that are convolved here.
    static member TryWindow(above: int, left: int, kernel: Tensor, x: Tensor) : ConvWindow voption =
        let w = windowOf kernel x above left

        match WinogradConvolution.tiles x.shape[0] kernel.shape[1] kernel.shape[0] w with
        | ValueSome _ -> ValueSome w
        | ValueNone -> ValueNone

    /// Images by a kernel t × s × rows × columns and a bias or none. For sizes for which that pays.
    static member Of(w: ConvWindow, kernel: Tensor, bias: Tensor | null, x: Tensor) : Tensor =
        let kernel, x = kernel.contiguous (), x.contiguous ()
        let bias = bias |> Option.ofObj |> Option.map _.contiguous() |> Option.toObj

        let records =
            torch.is_grad_enabled ()
            && (kernel.requires_grad
                || x.requires_grad
                || (match bias with
                    | null -> false
                    | bias -> bias.requires_grad))

        if not records then
            WinogradConvolution.convolve w kernel bias x
        else
            match bias with
            | null -> DenseConvolution.apply (kernel, x, w.Above, w.Left)
            | bias -> DenseConvolution.apply (kernel, x, w.Above, w.Left, bias)
