namespace TensorNets

open System
open System.Numerics
open TorchSharp

/// The rounding of one core, all others fixed, whose error ‖(X − Q) G (X − Q)ᵀ‖ later columns make up for: columns are rounded one after
/// the other, and what each loses is taken out of those behind it, along the rows of U, UᵀU = G⁻¹. G is a product over branches, and so is
/// U, whose product is never formed. Source: Frantar et al., "GPTQ", ICLR 2023 (arXiv 2210.17323).
[<RequireQualifiedAccess>]
module internal CompensatedRounding =
    /// The share of its mean diagonal that is added to a Gram: directions that nearly vanish would blow up what is made up for.
    let private damping = 1e-2

    /// y += a x.
    let private add (a: float) (x: float[]) (y: float[]) (offset: int) =
        let width = Vector<float>.Count
        let factor = Vector<float>(a)
        let mutable i = 0

        while i <= x.Length - width do
            (Vector<float>(y, offset + i) + factor * Vector<float>(x, i)).CopyTo(y, offset + i)
            i <- i + width

        while i < x.Length do
            y[offset + i] <- y[offset + i] + a * x[i]
            i <- i + 1

    /// What columns lose is handed on along one branch after the other.
    /// <param name="u">U of each branch, row by row.</param>
    /// <param name="columns">The columns of each branch.</param>
    /// <param name="x">X, branch by branch, rows last; what is left of it is of no use.</param>
    /// <param name="scales">A scale for every entry of X.</param>
    let private integers (most: float) (u: float[][]) (columns: int[]) (x: float[]) (scales: float[]) : float[] =
        let result = Array.zeroCreate x.Length

        /// What the entries of some columns lose, over the diagonals of U, times U from this branch on.
        let rec lost (branch: int) (offset: int) (size: int) (factor: float) : float[] =
            if branch = columns.Length then
                [|
                    for i in offset .. offset + size - 1 ->
                        let q = if scales[i] > 0.0 then Math.Clamp(Math.Round(x[i] / scales[i]), -most, most) else 0.0
                        result[i] <- q
                        (x[i] - q * scales[i]) / factor
                |]
            else
                let p = columns[branch]
                let inner = size / p
                let sum = Array.zeroCreate size
                // Nothing asks for what the outermost branch has lost.
                let isAsked = branch > 0

                for i in 0 .. p - 1 do
                    let e = lost (branch + 1) (offset + i * inner) inner (factor * u[branch][i * p + i])

                    if isAsked then
                        add (u[branch][i * p + i]) e sum (i * inner)

                    for k in i + 1 .. p - 1 do
                        let share = u[branch][i * p + k]

                        if isAsked then
                            add share e sum (k * inner)

                        add (-factor * share) e x (offset + k * inner)

                sum

        lost 0 0 x.Length 1.0 |> ignore
        result

    /// U of a Gram, upper, with UᵀU = G⁻¹.
    let private factor (gram: Tensor) : Tensor =
        let n = gram.shape[0]
        let mean = gram.diagonal().mean().number()
        let eye = torch.eye (n, dtype = gram.dtype, device = gram.device)
        let struct (lower, _) = Decompose.cholesky (gram.plus (eye.mul (Num.tensor (damping * mean))))
        let inverse = Decompose.choleskySolve lower eye
        let struct (root, _) = Decompose.cholesky inverse
        root.mT.contiguous ()

    let private numbers (tensor: Tensor) : float[] = ConstrainedQuadratics.toArray (tensor.contiguous().reshape -1L)

    /// The integers for X (rows × columns of each branch) with a scale for every entry, U of every branch given.
    let ofFactors (bits: int) (u: Tensor list) (scales: Tensor) (x: Tensor) : Tensor =
        use scope = torch.NewDisposeScope()
        let rowsLast (tensor: Tensor) = tensor.movedim ([| 0L |], [| -1L |])
        let columns = [| for one in u -> int one.shape[0] |]
        let factors = u |> List.map numbers |> List.toArray

        let found =
            integers (NearestRounding.largest bits) factors columns (numbers (rowsLast x)) (numbers (rowsLast scales))

        let made = Fresh.doubles (rowsLast x).shape found
        made.movedim([| -1L |], [| 0L |]).``to`` x.device |> scope.MoveToOuter

    /// The integers for X (batch × rows × columns of each branch) with a scale for every entry; None where a Gram is not finite.
    let run (bits: int) (grams: Tensor list) (scales: Tensor) (x: Tensor) : Tensor option =
        use scope = torch.NewDisposeScope()

        let ofBatch (i: int64) =
            let u = [ for gram in grams -> factor (gram.select (0L, (if gram.shape[0] = 1L then 0L else i))) ]

            if u |> List.forall (fun one -> one.isfinite().all().truth()) then
                Some(ofFactors bits u (scales.select (0L, i)) (x.select (0L, i)))
            else
                None

        let batches = [ for i in 0L .. x.shape[0] - 1L -> ofBatch i ]

        if batches |> List.forall Option.isSome then
            Some(torch.stack (batches |> List.choose id |> List.toArray, 0L) |> scope.MoveToOuter)
        else
            None
