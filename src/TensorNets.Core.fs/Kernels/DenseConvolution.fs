namespace TensorNets

open System
open System.Collections.Generic
open TorchSharp

/// A convolution of all channels with all, of kernels of several positions, in float32, with its gradients: stride and dilation 1, no groups.
[<Sealed>]
type internal SpatialProduct() =
    inherit torch.autograd.SingleTensorFunction<SpatialProduct>()

    static let windowOf (kernel: Tensor) (x: Tensor) above left =
        let taps = kernel.shape
        PlaneWindow.Of(x.shape, int taps[2], int taps[3], above, left)

    /// By minimal filtering, or by shifted products.
    static let isTiled (w: PlaneWindow) (kernel: Tensor) = WinogradProduct.takes kernel.shape[1] kernel.shape[0] w

    static let convolve (w: PlaneWindow) (kernel: Tensor) (bias: Tensor | null) (x: Tensor) : Tensor =
        if isTiled w kernel then
            WinogradProduct.convolve w kernel bias x
        else
            ShiftedProduct.convolve w kernel bias x

    static let back (w: PlaneWindow) (kernel: Tensor) (gradient: Tensor) : Tensor =
        if isTiled w kernel then
            WinogradProduct.back w kernel gradient
        else
            ShiftedProduct.back w kernel gradient

    static let gather (w: PlaneWindow) (kernel: Tensor) (gradient: Tensor) (x: Tensor) : Tensor =
        if isTiled w kernel then WinogradProduct.gather w gradient x else ShiftedProduct.gather w gradient x

    override _.Name = "TensorNets.SpatialProduct"

    override _.forward(context: torch.autograd.AutogradContext, [<ParamArray>] operands: obj[]) : Tensor =
        let kernel, x = operands[0] :?> Tensor, operands[1] :?> Tensor
        let above, left = unbox<int> operands[2], unbox<int> operands[3]
        let bias = operands |> Array.tryItem 4 |> Option.map (fun bias -> bias :?> Tensor) |> Option.toObj
        context.save_for_backward (List [ kernel; x ])
        context.save_data ("above", above)
        context.save_data ("left", left)
        context.save_data ("bias", not (isNull bias))
        convolve (windowOf kernel x above left) kernel bias x

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
                let across (tensor: Tensor) = tensor.transpose (0L, 1L)

                [
                    across (torch.nn.functional.conv2d (across x, across gradient, null, ones, padding, ones))
                    torch.nn.functional.conv_transpose2d (gradient, kernel, null, ones, padding, [| 0L; 0L |], ones)
                ]
            else
                use lying = gradient.contiguous ()
                let w = windowOf kernel x above left

                [
                    if kernel.requires_grad then gather w kernel lying x else none
                    if x.requires_grad then back w kernel lying else none
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

    /// Whether such channels and sizes are convolved here, were they float32.
    static member Fits(images: int64, s: int64, t: int64, w: PlaneWindow) =
        SpatialProduct.Tiles(images, s, t, w).IsSome
        || Product.isHere
           && w.IsRegular
           && not (WinogradProduct.takes s t w)
           && ShiftedProduct.fits images s t w

    /// The tiles that such images are cut into, where they are convolved by minimal filtering.
    static member Tiles(images: int64, s: int64, t: int64, w: PlaneWindow) : int64 voption =
        if Product.isHere && w.IsRegular then WinogradProduct.tiles images s t w else ValueNone

    /// The window of images and a kernel t × s × rows × columns that are convolved here.
    static member Window(above: int, left: int, kernel: Tensor, x: Tensor) : PlaneWindow voption =
        if Product.takes x && x.is_contiguous () then
            let w = windowOf kernel x above left
            if SpatialProduct.Fits(x.shape[0], x.shape[1], kernel.shape[0], w) then ValueSome w else ValueNone
        else
            ValueNone

    /// Images by a kernel t × s × rows × columns and a bias or none. For sizes that fit.
    static member Of(w: PlaneWindow, kernel: Tensor, bias: Tensor | null, x: Tensor) : Tensor =
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
            convolve w kernel bias x
        else
            match bias with
            | null -> SpatialProduct.apply (kernel, x, w.Above, w.Left)
            | bias -> SpatialProduct.apply (kernel, x, w.Above, w.Left, bias)
