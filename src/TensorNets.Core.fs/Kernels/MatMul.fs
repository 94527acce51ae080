namespace TensorNets

#nowarn "9"

open System
open System.Collections.Generic
open Microsoft.FSharp.NativeInterop
open TorchSharp

/// Products of two matrices, by `Product` where they fit it.
[<RequireQualifiedAccess>]
module private Pair =
    /// A matrix as it lies in memory, by rows or (true) by columns; copied where it does neither.
    let private lying (tensor: Tensor) : struct (Tensor * bool) =
        if tensor.is_contiguous () then
            struct (tensor.alias (), false)
        else
            let turned = tensor.t ()

            if turned.is_contiguous () then
                struct (turned, true)
            else
                turned.Dispose()
                struct (tensor.contiguous (), false)

    /// The share of the other operand up to which libtorch is given a copy of one that does not lie by rows: 64×256 by 256×2304 in float64 is 6 % faster then.
    let private small = 16L

    /// A B by libtorch, of any dimensions.
    let byLibtorch (a: Tensor) (b: Tensor) : Tensor =
        let isCopied (operand: Tensor) (other: Tensor) =
            not (operand.is_contiguous ())
            && small * operand.numel () <= other.numel ()
            && not (torch.is_grad_enabled ())

        if isCopied a b then
            use a = a.contiguous ()
            a.matmul b
        elif isCopied b a then
            use b = b.contiguous ()
            a.matmul b
        else
            a.matmul b

    /// Whether a product of matrices is made here.
    let fits (a: Tensor) (b: Tensor) =
        Product.takesEither a
        && a.dtype = b.dtype
        && b.device_type = DeviceType.CPU
        && a.dim () = 2L
        && b.dim () = 2L
        && (let first, second = a.shape, b.shape
            let m, k, n = first[0], first[1], second[1]

            Product.isWorth (2.0 * float m * float k * float n)
            && min m (min k n) >= 16L
            && second[0] = k
            && max (m * k) (max (k * n) (m * n)) < int64 Int32.MaxValue)

    let private make<'T when 'T: unmanaged> (a: Tensor) (b: Tensor) : Tensor =
        let m, k, n = int a.shape[0], int a.shape[1], int b.shape[1]
        let struct (a, aTurned) = lying a
        let struct (b, bTurned) = lying b
        use a = a
        use b = b

        let rows (tensor: Tensor) columns : Strided<'T> = { Start = Product.entries tensor; Matrix = 0; Row = columns; Column = 1 }

        let empty (rows: int) (columns: int) = Fresh.empty a.dtype [| int64 rows; int64 columns |]

        let result =
            if not bTurned then
                let c = empty m n

                let left = if aTurned then Product.across (rows a m) else rows a k

                Product.alone m n k left (rows b n) (rows c n)
                c
            elif aTurned then
                use c = empty n m
                Product.alone n m k (rows b k) (rows a m) (rows c m)
                c.t ()
            elif m <= n then
                // Both lie along what is summed: the smaller is turned.
                use columns = Turn.Of(1, m, k, a)
                use c = empty n m
                Product.alone n m k (rows b k) (rows columns m) (rows c m)
                c.t ()
            else
                use columns = Turn.Of(1, n, k, b)
                let c = empty m n
                Product.alone m n k (rows a k) (rows columns n) (rows c n)
                c

        GC.KeepAlive a
        GC.KeepAlive b
        result

    /// A B without gradients, for matrices that fit. It lies by rows or by columns, whichever needs no copy.
    let product (a: Tensor) (b: Tensor) : Tensor = if a.dtype = torch.float32 then make<float32> a b else make<float> a b

/// A product of matrices with its gradients.
[<Sealed>]
type internal MatrixProduct() =
    inherit torch.autograd.SingleTensorFunction<MatrixProduct>()

    override _.Name = "TensorNets.MatrixProduct"

    override _.forward(context: torch.autograd.AutogradContext, [<ParamArray>] operands: obj[]) : Tensor =
        let a, b = operands[0] :?> Tensor, operands[1] :?> Tensor
        context.save_for_backward (List [ a; b ])
        Pair.product a b

    override _.backward(context: torch.autograd.AutogradContext, gradient: Tensor) : List<Tensor> =
        let saved = context.get_saved_variables ()
        let a, b = saved[0], saved[1]
        use aTurned = a.t ()
        use bTurned = b.t ()

        // Where gradients of gradients are recorded, libtorch's own product is.
        let product (x: Tensor) (y: Tensor) = if not (torch.is_grad_enabled ()) && Pair.fits x y then Pair.product x y else x.matmul y

        List
            [
                if a.requires_grad then product gradient bTurned else Unchecked.defaultof<Tensor>
                if b.requires_grad then product aTurned gradient else Unchecked.defaultof<Tensor>
            ]

    /// A B: of matrices, of stacks of them, of vectors. Differentiable.
    static member Of(a: Tensor, b: Tensor) : Tensor =
        let isOne (tensor: Tensor) = tensor.dim () = 3L && tensor.shape[0] = 1L

        if isOne a && isOne b then
            use first = a.squeeze 0L
            use second = b.squeeze 0L
            use product = MatrixProduct.Of(first, second)
            product.unsqueeze 0L
        elif not (Pair.fits a b) then
            Pair.byLibtorch a b
        elif torch.is_grad_enabled () && (a.requires_grad || b.requires_grad) then
            MatrixProduct.apply (a, b)
        else
            Pair.product a b
