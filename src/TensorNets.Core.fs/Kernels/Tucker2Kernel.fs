namespace TensorNets

#nowarn "9"

open System
open System.Collections.Generic
open System.Runtime.Intrinsics
open Microsoft.FSharp.NativeInterop
open TorchSharp

/// The steps of K[t, s, d] = Σ_pq B[t, q] A[s, p] G[p, q, d] and of its gradients, each of which threads can share. W[q, d, s] = Σ_p A[s, p] G[p, q, d] lies between
/// both products. What is summed over by strides is read as it lies; what fills vectors has s, p or q last. Each thread writes memory of its own that lies together: two
/// that wrote alternate rows of a kilobyte took four times as long as one alone, since processors fetch ahead what the other is writing.
[<NoEquality; NoComparison>]
type private TuckerSteps =
    {
        T: int
        S: int
        P: int
        Q: int
        D: int
    }

    /// The operations of two products.
    member z.Operations = 2.0 * float z.D * float z.S * float z.Q * float (z.P + z.T)

    static member private Matrix(start: Floats, row: int, column: int) : Strided<float32> =
        { Start = start; Matrix = 0; Row = row; Column = column }

    /// Groups of one size of an axis, as many whatever the threads, so that sums over groups do not depend on them.
    static member private GroupsOf(size: int) =
        let fits groups = size % (16 * groups) = 0 && size / groups >= 32

        if fits 4 then 4
        elif fits 3 then 3
        elif fits 2 then 2
        else 1

    /// Groups of s.
    member z.Groups = TuckerSteps.GroupsOf z.S

    /// How many s a group has.
    member z.Count = z.S / z.Groups

    /// Groups of p.
    member z.CoreGroups = TuckerSteps.GroupsOf z.P

    /// A group's part of an array of so many rows of s.
    member private z.Own(start: Floats, rows: int, i: int) : Floats = NativePtr.add start (i * rows * z.Count)

    /// A group's part as matrices for each d.
    member private z.OfEach(start: Floats) : Strided<float32> = { Start = start; Matrix = z.Count; Row = z.D * z.Count; Column = 1 }

    /// A group of W.
    member z.Between(i: int, a: Floats, g: Floats, aTurned: Floats, w: Floats) : unit =
        let count = z.Count
        let aTurned = z.Own(aTurned, z.P, i)
        Turn.One(count, z.P, NativePtr.add a (i * count * z.P), z.P, aTurned, count)
        let columns start = TuckerSteps.Matrix(start, count, 1)
        Product.alone (z.Q * z.D) count z.P (TuckerSteps.Matrix(g, 1, z.Q * z.D)) (columns aTurned) (columns (z.Own(w, z.Q * z.D, i)))

    /// K of some t.
    member z.Kernel(low: int, high: int, b: Floats, w: Floats, kTurned: Floats, k: Floats) : unit =
        let wide = z.D * z.S
        let rows = TuckerSteps.Matrix(NativePtr.add b (low * z.Q), z.Q, 1)

        for i in 0 .. z.Groups - 1 do
            let into =
                { Start = NativePtr.add kTurned (low * wide + i * z.Count); Matrix = z.S; Row = wide; Column = 1 }

            Product.multiply z.D (high - low) z.Count z.Q rows (z.OfEach(z.Own(w, z.Q * z.D, i))) into (NativePtr.ofNativeInt 0n)

        for j in low .. high - 1 do
            Turn.One(z.D, z.S, NativePtr.add kTurned (j * wide), z.S, NativePtr.add k (j * wide), z.D)

    /// The gradients of W and A, and what a group adds to that of B.
    member z.Backward
        (
            i: int,
            dk: Floats,
            b: Floats,
            g: Floats,
            w: Floats,
            dkTurned: Floats,
            wTurned: Floats,
            dw: Floats,
            daTurned: Floats,
            da: Floats,
            db: Floats
        ) : unit =
        let count, none = z.Count, NativePtr.ofNativeInt 0n
        let w, wTurned, dw = z.Own(w, z.Q * z.D, i), z.Own(wTurned, z.Q * z.D, i), z.Own(dw, z.Q * z.D, i)
        let dkTurned, daTurned = z.Own(dkTurned, z.T * z.D, i), z.Own(daTurned, z.P, i)

        for j in 0 .. z.T - 1 do
            Turn.One(count, z.D, NativePtr.add dk ((j * z.S + i * count) * z.D), z.D, NativePtr.add dkTurned (j * z.D * count), count)

        Turn.One(z.Q, z.D * count, w, z.D * count, wTurned, z.Q)
        let own = TuckerSteps.Matrix(NativePtr.add db (i * z.T * z.Q), z.Q, 1)
        Product.alone z.T z.Q (z.D * count) (TuckerSteps.Matrix(dkTurned, z.D * count, 1)) (TuckerSteps.Matrix(wTurned, z.Q, 1)) own
        Product.multiply z.D z.Q count z.T (TuckerSteps.Matrix(b, 1, z.Q)) (z.OfEach dkTurned) (z.OfEach dw) none
        let columns start = TuckerSteps.Matrix(start, count, 1)
        Product.alone z.P count (z.Q * z.D) (TuckerSteps.Matrix(g, z.Q * z.D, 1)) (columns dw) (columns daTurned)
        Turn.One(z.P, count, daTurned, count, NativePtr.add da (i * count * z.P), z.P)

    /// The gradient of G, of a group of p: over all groups of s.
    member z.Core(i: int, a: Floats, dw: Floats, dgTurned: Floats, dg: Floats) : unit =
        let count, wide, columns = z.Count, z.Q * z.D, z.P / z.CoreGroups
        let into = NativePtr.add dgTurned (i * columns * wide)
        let rows = { TuckerSteps.Matrix(dw, count, 1) with Matrix = wide * count }
        let from = { TuckerSteps.Matrix(NativePtr.add a (i * columns), z.P, 1) with Matrix = count * z.P }
        Product.sum z.Groups wide columns count rows from (TuckerSteps.Matrix(into, columns, 1))
        Turn.One(wide, columns, into, columns, NativePtr.add dg (i * columns * wide), wide)

    /// The gradient of B: the sum over the groups, in their order.
    member z.Last(parts: Floats, db: Floats) : unit =
        let count, lanes, groups = z.T * z.Q, Vector512<float32>.Count, z.Groups
        let mutable j = 0

        while j < count do
            // The last vector overlaps the one before.
            let at = min j (count - lanes)
            let mutable sum = Vector512.Load(NativePtr.add parts at)

            for i in 1 .. groups - 1 do
                sum <- sum + Vector512.Load(NativePtr.add parts (i * count + at))

            Vector512.Store(sum, NativePtr.add db at)
            j <- j + lanes

/// K[t, s, d] = Σ_pq B[t, q] A[s, p] G[p, q, d] with its gradients, as products of matrices.
[<Sealed>]
type internal TuckerProduct() =
    inherit torch.autograd.SingleTensorFunction<TuckerProduct>()

    static let steps (b: Tensor) (a: Tensor) (g: Tensor) : TuckerSteps =
        let core = g.shape
        { T = int b.shape[0]; S = int a.shape[0]; P = int core[0]; Q = int core[1]; D = int core[2] }

    /// Arrays of such sizes, each in lines of its own, for the time of an act.
    static let scratch (sizes: int list) (act: Floats[] -> unit) : unit =
        // Whole lines each.
        let padded = sizes |> List.map (fun size -> (size + 15) / 16 * 16)
        use memory = new Scratch<float32>(List.sum padded)
        act [| for offset in List.scan (+) 0 padded -> NativePtr.add memory.Start offset |]

    static let each operations (total: int) (act: int -> unit) =
        Team.ranges operations total (fun low high ->
            for i in low .. high - 1 do
                act i)

    /// K and W.
    static let make (b: Tensor) (a: Tensor) (g: Tensor) : struct (Tensor * Tensor) =
        let z = steps b a g

        let w, k =
            Fresh.floats [| int64 z.Q; int64 z.D; int64 z.S |], Fresh.floats [| int64 z.T; int64 z.S; int64 z.D |]

        let start = Product.start
        let b', a', g', w', k' = start b, start a, start g, start w, start k

        scratch [ z.P * z.S; z.T * z.D * z.S ] (fun s ->
            each z.Operations z.Groups (fun i -> z.Between(i, a', g', s[0], w'))
            // Strips of the products' rows; the last has what is over.
            let strips = z.T / Tile.Rows
            let from i = if i = strips then z.T else i * Tile.Rows
            Team.ranges z.Operations strips (fun low high -> z.Kernel(from low, from high, b', w', s[1], k')))

        for tensor in [ b; a; g ] do
            GC.KeepAlive tensor

        struct (k, w)

    override _.Name = "TensorNets.TuckerProduct"

    override _.forward(context: torch.autograd.AutogradContext, [<ParamArray>] operands: obj[]) : Tensor =
        let b, a, g = operands[0] :?> Tensor, operands[1] :?> Tensor, operands[2] :?> Tensor
        let struct (k, w) = make b a g
        context.save_for_backward (List [ b; a; g; w ])
        k

    override _.backward(context: torch.autograd.AutogradContext, gradient: Tensor) : List<Tensor> =
        let saved = context.get_saved_variables ()
        let b, a, g, w = saved[0], saved[1], saved[2], saved[3]

        if torch.is_grad_enabled () then
            // Gradients of gradients: by libtorch's own operations.
            let einsum (form: string) (tensors: Tensor list) = torch.einsum (form, List.toArray tensors)

            List
                [
                    einsum "tsd,sp,pqd->tq" [ gradient; a; g ]
                    einsum "tsd,tq,pqd->sp" [ gradient; b; g ]
                    einsum "tsd,tq,sp->pqd" [ gradient; b; a ]
                ]
        else
            let z = steps b a g
            use lying = gradient.contiguous ()
            let db, da, dg = torch.empty_like b, torch.empty_like a, torch.empty_like g
            let start = Product.start
            let b', a', g', w', dk' = start b, start a, start g, start w, start lying
            let db', da', dg' = start db, start da, start dg
            let kernel, middle, last = z.T * z.D * z.S, z.Q * z.D * z.S, z.T * z.Q

            scratch [ kernel; middle; middle; z.P * z.S; z.Q * z.D * z.P; z.Groups * last ] (fun s ->
                each z.Operations z.Groups (fun i -> z.Backward(i, dk', b', g', w', s[0], s[1], s[2], s[3], da', s[5]))

                each z.Operations z.CoreGroups (fun i -> z.Core(i, a', s[2], s[4], dg'))
                z.Last(s[5], db'))

            for tensor in lying :: List.ofSeq saved do
                GC.KeepAlive tensor

            List [ db; da; dg ]

    /// Whether cores of such sizes are multiplied here: two matrices of 16 rows and columns at least, and a core between them.
    static member Fits(b: Tensor, a: Tensor, g: Tensor) =
        Product.takes b
        && Product.takes a
        && Product.takes g
        && (let z = steps b a g

            Product.isWorth z.Operations
            && min (min z.T z.S) (min z.P z.Q) >= 16
            // Below, matrices are not transposed by blocks.
            && z.D >= 8
            && int64 z.D * int64 (max z.T z.Q) * int64 (max z.S z.P) < int64 Int32.MaxValue / 16L)

    /// K of cores that fit. Differentiable.
    static member Of(b: Tensor, a: Tensor, g: Tensor) : Tensor =
        let b, a, g = b.contiguous (), a.contiguous (), g.contiguous ()

        if torch.is_grad_enabled () && (b.requires_grad || a.requires_grad || g.requires_grad) then
            TuckerProduct.apply (b, a, g)
        else
            let struct (k, w) = make b a g
            w.Dispose()
            k
