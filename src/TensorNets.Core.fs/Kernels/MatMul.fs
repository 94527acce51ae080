namespace TensorNets

#nowarn "9"

open System
open System.Collections.Generic
open Microsoft.FSharp.NativeInterop
open TorchSharp

/// Products of two matrices without gradients, by `Gemm` where that pays.
[<RequireQualifiedAccess>]
module private PlainMatMul =
    /// A matrix as it lies in memory, by rows or (true) by columns; copied where it does neither.
    let private layout (tensor: Tensor) : struct (Tensor * bool) =
        if tensor.is_contiguous () then
            struct (tensor.alias (), false)
        else
            let transposed = tensor.t ()

            if transposed.is_contiguous () then
                struct (transposed, true)
            else
                transposed.Dispose()
                struct (tensor.contiguous (), false)

    /// A B by libtorch, of any dimensions. A small operand that does not lie by rows is copied first.
    let byLibtorch (a: Tensor) (b: Tensor) : Tensor =
        let isCopied (operand: Tensor) (other: Tensor) =
            not (operand.is_contiguous ())
            && Tuning.measured.CopiedShare * operand.numel () <= other.numel ()
            && not (torch.is_grad_enabled ())

        if isCopied a b then
            use a = a.contiguous ()
            a.matmul b
        elif isCopied b a then
            use b = b.contiguous ()
            a.matmul b
        else
            a.matmul b

    let private isOurs (tensor: Tensor) =
        (tensor.dtype = torch.float32 || tensor.dtype = torch.float64)
        && tensor.device_type = DeviceType.CPU

    /// Whether a product of matrices is made here.
    let pays (a: Tensor) (b: Tensor) =
        isOurs a
        && isOurs b
        && a.dtype = b.dtype
        && a.dim () = 2L
        && b.dim () = 2L
        && (let first, second = a.shape, b.shape
            let m, k, n = first[0], first[1], second[1]

            KernelSwitch.multiplies ()
            && Gemm.pays (2.0 * float m * float k * float n)
            && min m (min k n) >= Tuning.measured.LeastGemmSize
            && second[0] = k
            && max (m * k) (max (k * n) (m * n)) < int64 Int32.MaxValue)

    let private make<'T when 'T: unmanaged> (a: Tensor) (b: Tensor) : Tensor =
        let m, k, n = int a.shape[0], int a.shape[1], int b.shape[1]
        let struct (a, aByColumns) = layout a
        let struct (b, bByColumns) = layout b
        use a = a
        use b = b

        let rows (tensor: Tensor) columns : Strided<'T> = Gemm.byRows (Gemm.entries tensor) columns

        let multiply m n k a b c = Gemm.single { M = m; K = k; N = n; A = a; B = b; C = c; RowValues = Gemm.none }

        let empty (rows: int) (columns: int) = Fresh.empty a.dtype [| int64 rows; int64 columns |]

        let result =
            if not bByColumns then
                let c = empty m n

                let left = if aByColumns then (rows a m).Transposed else rows a k
                multiply m n k left (rows b n) (rows c n)
                c
            elif aByColumns then
                use c = empty n m
                multiply n m k (rows b k) (rows a m) (rows c m)
                c.t ()
            elif m <= n then
                // Both lie along what is summed: the smaller is transposed.
                use columns = Transpose.Of(1, m, k, a)
                use c = empty n m
                multiply n m k (rows b k) (rows columns m) (rows c m)
                c.t ()
            else
                use columns = Transpose.Of(1, n, k, b)
                let c = empty m n
                multiply m n k (rows a k) (rows columns n) (rows c n)
                c

        GC.KeepAlive a
        GC.KeepAlive b
        result

    /// A B without gradients, for matrices for which that pays. It lies by rows or by columns, whichever needs no copy.
    let product (a: Tensor) (b: Tensor) : Tensor = if a.dtype = torch.float32 then make<float32> a b else make<float> a b

/// A product of matrices with its gradients.
[<Sealed>]
type internal MatMul() =
    inherit torch.autograd.SingleTensorFunction<MatMul>()

    override _.Name = "TensorNets.MatMul"

    override _.forward(context: torch.autograd.AutogradContext, [<ParamArray>] operands: obj[]) : Tensor =
        let a, b = operands[0] :?> Tensor, operands[1] :?> Tensor
        context.save_for_backward (List [ a; b ])
        PlainMatMul.product a b

    override _.backward(context: torch.autograd.AutogradContext, gradient: Tensor) : List<Tensor> =
        let saved = context.get_saved_variables ()
        let a, b = saved[0], saved[1]
        use aTransposed = a.t ()
        use bTransposed = b.t ()

        // Where gradients of gradients are recorded, libtorch's own product is.
        let product (x: Tensor) (y: Tensor) =
            if not (torch.is_grad_enabled ()) && PlainMatMul.pays x y then
                PlainMatMul.product x y
            else
                x.matmul y

        List
            [
                if a.requires_grad then product gradient bTransposed else Unchecked.defaultof<Tensor>
                if b.requires_grad then product aTransposed gradient else Unchecked.defaultof<Tensor>
            ]

    /// A B: of matrices, of stacks of them, of vectors. Differentiable.
    static member Of(a: Tensor, b: Tensor) : Tensor =
        let isStackOfOne (tensor: Tensor) = tensor.dim () = 3L && tensor.shape[0] = 1L

        if isStackOfOne a && isStackOfOne b then
            use first = a.squeeze 0L
            use second = b.squeeze 0L
            use product = MatMul.Of(first, second)
            product.unsqueeze 0L
        elif not (PlainMatMul.pays a b) then
            PlainMatMul.byLibtorch a b
        elif torch.is_grad_enabled () && (a.requires_grad || b.requires_grad) then
            MatMul.apply (a, b)
        else
            PlainMatMul.product a b
