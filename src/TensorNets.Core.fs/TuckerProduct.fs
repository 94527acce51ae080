namespace TensorNets

#nowarn "9"

open System
open System.Collections.Generic
open Microsoft.FSharp.NativeInterop
open TorchSharp

/// K[t, s, d] = Σ_ab B[t, b] A[s, a] G[a, b, d], with its gradients, as two products of matrices for each d. In any other order the largest tensors would have to be
/// copied by rows of d, which takes longer than the products.
[<Sealed>]
type internal TuckerProduct() =
    inherit torch.autograd.SingleTensorFunction<TuckerProduct>()

    static let nothing: Floats = NativePtr.ofNativeInt 0n

    /// So many matrices of a tensor, one after the other, or (`shared`) the same for all.
    static let matrices shared (rows: int) (columns: int) (tensor: Tensor) =
        {
            Start = Product.start tensor
            Matrix = (if shared then 0 else rows * columns)
            Row = columns
            Column = 1
        }

    static let sizes (b: Tensor) (a: Tensor) (g: Tensor) =
        struct (int b.shape[0], int a.shape[0], int g.shape[0], int g.shape[1], int g.shape[2])

    /// K, and of each d Gᵀ and GᵀAᵀ, which the gradients need.
    static let make (b: Tensor) (a: Tensor) (g: Tensor) : struct (Tensor * Tensor * Tensor) =
        let struct (t, s, p, q, d) = sizes b a g
        use slices = Turn.Of(1, p * q, d, g)
        let turned = Turn.Of(d, p, q, slices)
        use columns = Turn.Of(1, s, p, a)
        let w = torch.empty (int64 d, int64 q, int64 s)
        Product.multiply d q s p (matrices false q p turned) (matrices true p s columns) (matrices false q s w) nothing
        use k = torch.empty (int64 d, int64 t, int64 s)
        Product.multiply d t s q (matrices true t q b) (matrices false q s w) (matrices false t s k) nothing
        use last = Turn.Of(1, d, t * s, k)

        for tensor in [ b; a; g ] do
            GC.KeepAlive tensor

        struct (last.view (int64 t, int64 s, int64 d), turned, w)

    override _.Name = "TensorNets.TuckerProduct"

    override _.forward(context: torch.autograd.AutogradContext, [<ParamArray>] operands: obj[]) : Tensor =
        let b, a, g = operands[0] :?> Tensor, operands[1] :?> Tensor, operands[2] :?> Tensor
        let struct (k, turned, w) = make b a g
        context.save_for_backward (List [ b; a; g; turned; w ])
        k

    override _.backward(context: torch.autograd.AutogradContext, gradient: Tensor) : List<Tensor> =
        let saved = context.get_saved_variables ()
        let b, a, g, turned, w = saved[0], saved[1], saved[2], saved[3], saved[4]
        let struct (t, s, p, q, d) = sizes b a g

        if torch.is_grad_enabled () then
            // Gradients of gradients: by libtorch's own operations.
            let einsum (form: string) (tensors: Tensor list) = torch.einsum (form, List.toArray tensors)

            List
                [
                    einsum "tsd,sa,abd->tb" [ gradient; a; g ]
                    einsum "tsd,tb,abd->sa" [ gradient; b; g ]
                    einsum "tsd,tb,sa->abd" [ gradient; b; a ]
                ]
        else
            use lying = gradient.contiguous ()
            use dk = Turn.Of(1, t * s, d, lying)
            let db, da = torch.empty_like b, torch.empty_like a
            use wTurned = Turn.Of(d, q, s, w)
            Product.sum d t q s (matrices false t s dk) (matrices false s q wTurned) (matrices true t q db)
            use dw = torch.empty (int64 d, int64 q, int64 s)
            Product.multiply d q s t (Product.across (matrices true t q b)) (matrices false t s dk) (matrices false q s dw) nothing
            Product.sum d s p q (Product.across (matrices false q s dw)) (matrices false q p turned) (matrices true s p da)
            use dg = torch.empty (int64 d, int64 q, int64 p)
            Product.multiply d q p s (matrices false q s dw) (matrices true s p a) (matrices false q p dg) nothing
            use slices = Turn.Of(d, q, p, dg)
            use last = Turn.Of(1, d, p * q, slices)

            for tensor in saved do
                GC.KeepAlive tensor

            List [ db; da; last.view (int64 p, int64 q, int64 d) ]

    /// Whether cores of such sizes are multiplied here: two matrices of 16 rows and columns at least, and a core between them.
    static member Fits(b: Tensor, a: Tensor, g: Tensor) =
        Product.takes b
        && Product.takes a
        && Product.takes g
        && (let struct (t, s, p, q, d) = sizes b a g

            Product.isWorth (2.0 * float d * float s * float q * float (p + t))
            && min (min t s) (min p q) >= 16
            // Below, matrices are not transposed by blocks.
            && d >= 8
            && int64 d * int64 (max t q) * int64 (max s p) < int64 Int32.MaxValue)

    /// K of cores that fit. Differentiable.
    static member Of(b: Tensor, a: Tensor, g: Tensor) : Tensor =
        let b, a, g = b.contiguous (), a.contiguous (), g.contiguous ()

        if torch.is_grad_enabled () && (b.requires_grad || a.requires_grad || g.requires_grad) then
            TuckerProduct.apply (b, a, g)
        else
            let struct (k, turned, w) = make b a g
            turned.Dispose()
            w.Dispose()
            k
