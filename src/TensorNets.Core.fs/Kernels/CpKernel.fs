namespace TensorNets

#nowarn "9"

open System
open System.Collections.Generic
open System.Runtime.Intrinsics
open Microsoft.FSharp.NativeInterop
open TorchSharp

/// K[t, s, d] = Σ_r C[t, r] A[s, r] B[d, r] and its gradients, a panel of 32 values of r at a time: the matrix of all A[s, r] B[d, r], many times the size of
/// the factors, is made again for the gradients where it would be read from far away.
[<RequireQualifiedAccess>]
module private RankOnes =
    let panel = 32

    /// So many entries stay in the second cache of a core.
    let near = 28_000

    let inline private load (p: Floats) (i: int) = Vector512.Load(NativePtr.add p i)

    /// A[s, r] B[d, r] as r × (s d), with room for one vector behind it. Each store may reach over what the next ones write.
    let private spread (s: int) (d: int) (r: int) (a: Floats) (b: Floats) (into: Floats) : unit =
        let padded = (d + 15) / 16 * 16
        use zeros = Scratch<float32>.Zeros padded
        let row = zeros.Start

        for k in 0 .. r - 1 do
            for j in 0 .. d - 1 do
                NativePtr.set row j (NativePtr.get b (j * r + k))

            for i in 0 .. s - 1 do
                let x = Vector512.Create(NativePtr.get a (i * r + k))
                let out = NativePtr.add into ((k * s + i) * d)
                let mutable j = 0

                while j < d do
                    Vector512.Store(x * load row j, NativePtr.add out j)
                    j <- j + 16

    /// So many entries of A, from one on, times all of B and C.
    let terms (t: int) (whole: int) (d: int) (r: int) (first: int) (s: int) (c: Floats) (a: Floats) (b: Floats) (k: Floats) : unit =
        use room = new Scratch<float32>(s * d * r + 16)
        let scratch = room.Start
        spread s d r (NativePtr.add a (first * r)) b scratch
        let matrix start columns = { Start = start; Matrix = 0; Row = columns; Column = 1 }
        Product.alone t (s * d) r (matrix c r) (matrix scratch (s * d)) (matrix (NativePtr.add k (first * d)) (whole * d))

    /// The gradients of the factors for the values of r from `left` on.
    let gradients
        (t: int)
        (s: int)
        (d: int)
        (r: int)
        (left: int)
        (k: Floats)
        (c: Floats)
        (a: Floats)
        (b: Floats)
        (dc: Floats)
        (da: Floats)
        (db: Floats)
        =
        let rows = s * d
        use room = new Scratch<float32>(panel * rows)
        use zeros = Scratch<float32>.Zeros(panel * d)
        let scratch, sums = room.Start, zeros.Start
        let at (p: Floats) i = NativePtr.add p (i * r + left)

        for i in 0 .. s - 1 do
            let x, x' = load (at a i) 0, load (at a i) 16

            for j in 0 .. d - 1 do
                let out = NativePtr.add scratch (panel * (i * d + j))
                Vector512.Store(x * load (at b j) 0, out)
                Vector512.Store(x' * load (at b j) 16, NativePtr.add out 16)

        let matrix start row column = { Start = start; Matrix = 0; Row = row; Column = column }
        Product.alone t panel rows (matrix k rows 1) (matrix scratch panel 1) (matrix (at dc 0) r 1)
        Product.alone rows panel t (matrix k 1 rows) (matrix (at c 0) r 1) (matrix scratch panel 1)

        for i in 0 .. s - 1 do
            let x, x' = load (at a i) 0, load (at a i) 16
            let mutable y, y' = Vector512<float32>.Zero, Vector512<float32>.Zero

            for j in 0 .. d - 1 do
                let g = NativePtr.add scratch (panel * (i * d + j))
                let sum = NativePtr.add sums (panel * j)
                y <- Vector512.FusedMultiplyAdd(load g 0, load (at b j) 0, y)
                y' <- Vector512.FusedMultiplyAdd(load g 16, load (at b j) 16, y')
                Vector512.Store(Vector512.FusedMultiplyAdd(load g 0, x, load sum 0), sum)
                Vector512.Store(Vector512.FusedMultiplyAdd(load g 16, x', load sum 16), NativePtr.add sum 16)

            Vector512.Store(y, at da i)
            Vector512.Store(y', NativePtr.add (at da i) 16)

        for j in 0 .. d - 1 do
            Vector512.Store(load sums (panel * j), at db j)
            Vector512.Store(load sums (panel * j + 16), NativePtr.add (at db j) 16)

/// A sum of terms of rank one as a kernel, with its gradients.
[<Sealed>]
type internal KhatriRao() =
    inherit torch.autograd.SingleTensorFunction<KhatriRao>()

    static let plain (c: Tensor) (a: Tensor) (b: Tensor) : Tensor =
        let t, s, d, r = int c.shape[0], int a.shape[0], int b.shape[0], int c.shape[1]
        let k = Fresh.floats [| int64 t; int64 s; int64 d |]
        let start = Product.start
        let c', a', b', k' = start c, start a, start b, start k
        // Pieces whose terms stay near, and enough for all threads, but of 16 columns at least.
        let operations = 2.0 * float t * float s * float d * float r

        let pieces =
            max 1 (min (max (s * d * r / RankOnes.near) (Team.partsFor operations)) (s / ((15 + d) / d)))

        Team.ranges operations pieces (fun low high ->
            for i in low .. high - 1 do
                let first = i * s / pieces
                RankOnes.terms t s d r first ((i + 1) * s / pieces - first) c' a' b' k')

        GC.KeepAlive c
        GC.KeepAlive a
        GC.KeepAlive b
        k

    override _.Name = "TensorNets.KhatriRao"

    override _.forward(context: torch.autograd.AutogradContext, [<ParamArray>] operands: obj[]) : Tensor =
        let c, a, b = operands[0] :?> Tensor, operands[1] :?> Tensor, operands[2] :?> Tensor
        context.save_for_backward (List [ c; a; b ])
        plain c a b

    override _.backward(context: torch.autograd.AutogradContext, gradient: Tensor) : List<Tensor> =
        let saved = context.get_saved_variables ()
        let c, a, b = saved[0], saved[1], saved[2]
        let t, s, d, r = int c.shape[0], int a.shape[0], int b.shape[0], int c.shape[1]

        if torch.is_grad_enabled () then
            // Gradients of gradients: by libtorch's own operations.
            let wide = a.unsqueeze 1L
            let flat = gradient.reshape (int64 t, int64 (s * d))
            let all = flat.t().matmul(c).view(int64 s, int64 d, int64 r)
            List [ flat.matmul (wide.mul(b).view(int64 (s * d), int64 r)); all.mul(b).sum 1L; all.mul(wide).sum 0L ]
        else
            use k = gradient.contiguous ()
            let dc, da, db = torch.empty_like c, torch.empty_like a, torch.empty_like b
            let start = Product.start
            let k', c', a', b', dc', da', db' = start k, start c, start a, start b, start dc, start da, start db

            let panel left = RankOnes.gradients t s d r left k' c' a' b' dc' da' db'
            let operations = 4.0 * float t * float s * float d * float r

            Team.ranges operations (r / RankOnes.panel) (fun low high ->
                for i in low .. high - 1 do
                    panel (i * RankOnes.panel))

            // The last panel overlaps the one before: what is computed twice is the same, but not at the same time.
            if r % RankOnes.panel <> 0 then
                panel (r - RankOnes.panel)

            for tensor in [ k; c; a; b; dc; da; db ] do
                GC.KeepAlive tensor

            List [ dc; da; db ]

    /// Whether factors of such sizes are multiplied here.
    static member Fits(c: Tensor, a: Tensor, b: Tensor) =
        Product.takes c
        && Product.takes a
        && Product.takes b
        && Product.isWorth (2.0 * float (c.numel ()) * float (a.shape[0] * b.shape[0]))
        && c.shape[1] >= int64 RankOnes.panel
        && c.shape[0] >= 16L
        && a.shape[0] * b.shape[0] >= 16L
        && c.shape[1] * a.shape[0] * b.shape[0] < int64 Int32.MaxValue / 2L
        && c.shape[0] * a.shape[0] * b.shape[0] < int64 Int32.MaxValue

    /// K[t, s, d] = Σ_r C[t, r] A[s, r] B[d, r], of factors that fit. Differentiable.
    static member Of(c: Tensor, a: Tensor, b: Tensor) : Tensor =
        let c, a, b = c.contiguous (), a.contiguous (), b.contiguous ()

        if torch.is_grad_enabled () && (c.requires_grad || a.requires_grad || b.requires_grad) then
            KhatriRao.apply (c, a, b)
        else
            plain c a b
