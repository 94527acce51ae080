namespace TensorNets

#nowarn "9"

open System
open System.Collections.Generic
open System.Runtime.Intrinsics
open Microsoft.FSharp.NativeInterop
open TorchSharp

/// The factors C (t × r), A (s × r), B (d × r) in memory, or their gradients.
[<NoEquality; NoComparison>]
type private CpFactors =
    {
        T: int
        S: int
        D: int
        R: int
        C: Floats
        A: Floats
        B: Floats
    }

    static member Of(c: Tensor, a: Tensor, b: Tensor) : CpFactors =
        {
            T = int c.shape[0]
            S = int a.shape[0]
            D = int b.shape[0]
            R = int c.shape[1]
            C = Gemm.floats c
            A = Gemm.floats a
            B = Gemm.floats b
        }

    /// Of the kernel, and of each half of its gradients.
    member f.Operations = 2.0 * float f.T * float f.S * float f.D * float f.R

/// K[t, s, d] = Σ_r C[t, r] A[s, r] B[d, r] and its gradients, those a panel of 32 values of r at a time: the matrix of all A[s, r] B[d,
/// r], many times the size of the factors, is made again for the gradients where it would be read from far away.
[<RequireQualifiedAccess>]
module private CpLoops =
    let panel = 32

    /// Entries that stay in the second cache of a core.
    let near = 28_000

    let inline private load (p: Floats) (i: int) = Vector512.Load(NativePtr.add p i)

    /// A[s, r] B[d, r] of `count` values of s from `first` on, as r × (s d). Each store may reach over what the next ones write, the last
    /// one vector behind the end.
    let private spread (f: CpFactors) (first: int) (count: int) (into: Floats) : unit =
        let padded = (f.D + 15) / 16 * 16
        use zeros = Scratch<float32>.Zeros padded
        let row = zeros.Start

        for k in 0 .. f.R - 1 do
            for j in 0 .. f.D - 1 do
                NativePtr.set row j (NativePtr.get f.B (j * f.R + k))

            for i in 0 .. count - 1 do
                let x = Vector512.Create(NativePtr.get f.A ((first + i) * f.R + k))
                let out = NativePtr.add into ((k * count + i) * f.D)
                let mutable j = 0

                while j < f.D do
                    Vector512.Store(x * load row j, NativePtr.add out j)
                    j <- j + 16

    /// The kernel for `count` values of s from `first` on.
    let kernel (f: CpFactors) (first: int) (count: int) (k: Floats) : unit =
        let columns = count * f.D
        use products = new Scratch<float32>(columns * f.R + 16)
        spread f first count products.Start

        Gemm.single
            {
                M = f.T
                K = f.R
                N = columns
                A = Gemm.byRows f.C f.R
                B = Gemm.byRows products.Start columns
                C = Gemm.byRows (NativePtr.add k (first * f.D)) (f.S * f.D)
                RowValues = Gemm.none
            }

    /// The gradients of the factors for a panel of values of r, from that of the kernel.
    let gradients (f: CpFactors) (result: CpFactors) (left: int) (k: Floats) : unit =
        let rows = f.S * f.D
        use productsBuffer = new Scratch<float32>(panel * rows)
        use sumsBuffer = Scratch<float32>.Zeros(panel * f.D)
        let products, sums = productsBuffer.Start, sumsBuffer.Start
        let at (p: Floats) i = NativePtr.add p (i * f.R + left)

        for i in 0 .. f.S - 1 do
            let x, x' = load (at f.A i) 0, load (at f.A i) 16

            for j in 0 .. f.D - 1 do
                let out = NativePtr.add products (panel * (i * f.D + j))
                Vector512.Store(x * load (at f.B j) 0, out)
                Vector512.Store(x' * load (at f.B j) 16, NativePtr.add out 16)

        let multiply m k n a b c = Gemm.single { M = m; K = k; N = n; A = a; B = b; C = c; RowValues = Gemm.none }
        let kernel = Gemm.byRows k rows
        multiply f.T rows panel kernel (Gemm.byRows products panel) (Gemm.byRows (at result.C 0) f.R)
        multiply rows f.T panel kernel.Transposed (Gemm.byRows (at f.C 0) f.R) (Gemm.byRows products panel)

        for i in 0 .. f.S - 1 do
            let x, x' = load (at f.A i) 0, load (at f.A i) 16
            let mutable y, y' = Vector512<float32>.Zero, Vector512<float32>.Zero

            for j in 0 .. f.D - 1 do
                let g = NativePtr.add products (panel * (i * f.D + j))
                let sum = NativePtr.add sums (panel * j)
                y <- Vector512.FusedMultiplyAdd(load g 0, load (at f.B j) 0, y)
                y' <- Vector512.FusedMultiplyAdd(load g 16, load (at f.B j) 16, y')
                Vector512.Store(Vector512.FusedMultiplyAdd(load g 0, x, load sum 0), sum)
                Vector512.Store(Vector512.FusedMultiplyAdd(load g 16, x', load sum 16), NativePtr.add sum 16)

            Vector512.Store(y, at result.A i)
            Vector512.Store(y', NativePtr.add (at result.A i) 16)

        for j in 0 .. f.D - 1 do
            Vector512.Store(load sums (panel * j), at result.B j)
            Vector512.Store(load sums (panel * j + 16), NativePtr.add (at result.B j) 16)

/// A sum of terms of rank one as a kernel, with its gradients.
[<Sealed>]
type internal CpKernel() =
    inherit torch.autograd.SingleTensorFunction<CpKernel>()

    static let plain (c: Tensor) (a: Tensor) (b: Tensor) : Tensor =
        let f = CpFactors.Of(c, a, b)
        let k = Fresh.floats [| int64 f.T; int64 f.S; int64 f.D |]
        let k' = Gemm.floats k

        // Pieces whose terms stay near, and enough for all threads, but of 16 columns at least.
        let pieces =
            max 1 (min (max (f.S * f.D * f.R / CpLoops.near) (ParallelFor.partsFor f.Operations)) (f.S / ((15 + f.D) / f.D)))

        ParallelFor.ranges f.Operations pieces (fun low high ->
            for i in low .. high - 1 do
                let first = i * f.S / pieces
                CpLoops.kernel f first ((i + 1) * f.S / pieces - first) k')

        for tensor in [ c; a; b ] do
            GC.KeepAlive tensor

        k

    override _.Name = "TensorNets.CpKernel"

    override _.forward(context: torch.autograd.AutogradContext, [<ParamArray>] operands: obj[]) : Tensor =
        let c, a, b = operands[0] :?> Tensor, operands[1] :?> Tensor, operands[2] :?> Tensor
        context.save_for_backward (List [ c; a; b ])
        plain c a b

    override _.backward(context: torch.autograd.AutogradContext, gradient: Tensor) : List<Tensor> =
        let saved = context.get_saved_variables ()
        let c, a, b = saved[0], saved[1], saved[2]

        if torch.is_grad_enabled () then
            // Gradients of gradients: by libtorch's own operations.
            let s, d, r = a.shape[0], b.shape[0], c.shape[1]
            let wide = a.unsqueeze 1L
            let flat = gradient.reshape (c.shape[0], s * d)
            let all = flat.t().matmul(c).view(s, d, r)
            List [ flat.matmul (wide.mul(b).view(s * d, r)); all.mul(b).sum 1L; all.mul(wide).sum 0L ]
        else
            use k = gradient.contiguous ()
            let dc, da, db = torch.empty_like c, torch.empty_like a, torch.empty_like b
            let f, result, k' = CpFactors.Of(c, a, b), CpFactors.Of(dc, da, db), Gemm.floats k
            let panel left = CpLoops.gradients f result left k'

            ParallelFor.ranges (2.0 * f.Operations) (f.R / CpLoops.panel) (fun low high ->
                for i in low .. high - 1 do
                    panel (i * CpLoops.panel))

            // The last panel overlaps the one before: what is computed twice is the same, but not at the same time.
            if f.R % CpLoops.panel <> 0 then
                panel (f.R - CpLoops.panel)

            for tensor in [ k; c; a; b; dc; da; db ] do
                GC.KeepAlive tensor

            List [ dc; da; db ]

    /// Whether float32 factors of such sizes are multiplied here.
    static member Pays(c: Tensor, a: Tensor, b: Tensor) =
        let columns = a.shape[0] * b.shape[0]

        Gemm.pays (2.0 * float (c.numel ()) * float columns)
        && c.shape[1] >= int64 CpLoops.panel
        && c.shape[0] >= Tuning.measured.LeastGemmSize
        && columns >= Tuning.measured.LeastGemmSize
        && c.shape[1] * columns < int64 Int32.MaxValue / 2L
        && c.shape[0] * columns < int64 Int32.MaxValue

    /// K[t, s, d] = Σ_r C[t, r] A[s, r] B[d, r], of factors for which that pays. Differentiable.
    static member Of(c: Tensor, a: Tensor, b: Tensor) : Tensor =
        let c, a, b = c.contiguous (), a.contiguous (), b.contiguous ()

        if torch.is_grad_enabled () && (c.requires_grad || a.requires_grad || b.requires_grad) then
            CpKernel.apply (c, a, b)
        else
            plain c a b
