namespace TensorNets

/// How an operand becomes a stack of matrices: an order of its axes (none: as stored), the shape of the stack, and whether its matrices are then read
/// transposed, which costs nothing.
type internal Operand = { Permute: int64[] option; Shape: int64[] option; Transposed: bool }

/// One step as the tensor operation that runs it.
type internal Kernel =
    /// A sum over the places of some axes.
    | Sum of places: int64[]
    /// An entrywise product of operands that are first brought to shapes that broadcast: nothing is summed.
    | Entrywise of left: Operand * right: Operand
    /// The sum of all products of two operands of the same axes: as vectors, in one order.
    | Dot of left: Operand * right: Operand
    /// Dot products side by side, along some places of the left operand, which carries every axis of the right: an entrywise product and a sum. As a stack
    /// of matrices times one column each they would be many small calls, often after a copy of the left operand.
    | Dots of right: Operand * places: int64[]
    /// A product of matrices, or of stacks of them, and the shape of what comes out (none: as it is). Turned: the second operand of the step stands left.
    | Matrices of left: Operand * right: Operand * result: int64[] option * turned: bool

/// Steps from axes to tensor operations, once per plan.
[<RequireQualifiedAccess>]
module internal PlanKernel =
    let sum (axes: Axis list) (kept: Axis list) : Kernel =
        axes
        |> List.indexed
        |> List.filter (fun (_, axis) -> not (List.contains axis kept))
        |> List.map (fst >> int64)
        |> List.toArray
        |> Sum

    let private permutation (axes: Axis list) (order: Axis list) =
        if axes = order then
            None
        else
            order |> List.map (fun axis -> int64 (List.findIndex ((=) axis) axes)) |> List.toArray |> Some

    /// From this ratio of rows to columns on a product is made as its transpose: wide results are up to twice as fast as tall ones (measured for 2304×256 by
    /// 256×64 in float64; `benchmarks -- products`).
    let private tall = 4L

    /// From so many products summed for each entry on, up to so many entries, the last step's result is made the wide way round too: it may have to be copied then, which
    /// is less than what is won while it stays in the processor's cache.
    let private deep, private near = 128L, 131_072L

    /// From this many entries on, matrices of a stack that meet one column each are faster entry by entry (two to six times in the forward and the backward pass,
    /// measured for 8 to 200 matrices of 9×64 to 256×256); much smaller ones as products.
    let private wideStack = 256L

    /// The kernel of a product of a larger and a smaller operand, and the axes of its result in the order in which it comes out: where there is a choice that of
    /// the output, if this is the last step. `met`: axes that a later product sums over, in the order of the other operand there, so that neither needs a copy.
    let product
        (dims: Map<Axis, int>)
        (a: Axis list)
        (b: Axis list)
        (kept: Set<Axis>)
        (output: Axis list option)
        (met: Axis list)
        : Kernel * Axis list =
        let inA = Set.ofList a
        let inB = Set.ofList b
        let size axes = axes |> List.fold (fun p axis -> p * int64 dims[axis]) 1L
        let shape axes = axes |> List.map (fun axis -> int64 dims[axis]) |> List.toArray
        let right = b |> List.filter (fun axis -> not (inA.Contains axis))

        /// An operand brought to the shape that broadcasts against the axes of a result.
        let broadcast axes result =
            let order = result |> List.filter (fun axis -> List.contains axis axes)

            // A one is put where the operand lacks an axis, but for the leading ones, which broadcasting understands.
            let spread =
                result
                |> List.skipWhile (fun axis -> not (List.contains axis axes))
                |> List.map (fun axis -> if List.contains axis axes then int64 dims[axis] else 1L)
                |> List.toArray

            {
                Permute = permutation axes order
                Shape = if spread = shape order then None else Some spread
                Transposed = false
            }

        if a |> List.forall kept.Contains && b |> List.forall kept.Contains then
            let all = a @ right
            // An entrywise product of the same axes is the same step for everyone.
            let first = if right.IsEmpty then [] else met |> List.filter (fun axis -> List.contains axis all)
            let result = first @ List.except first all

            Entrywise(broadcast a result, broadcast b result), result
        else
            // Shared axes in the order of the larger operand, so that it is the smaller one that is copied if one must be.
            let shared = if size a >= size b then a |> List.filter inB.Contains else b |> List.filter inA.Contains

            let batch, summed = shared |> List.partition kept.Contains
            let left = a |> List.filter (fun axis -> not (inB.Contains axis))

            let vector axes = { Permute = permutation axes summed; Shape = Some [| -1L |]; Transposed = false }

            let operand axes rows columns =
                let straight = batch @ rows @ columns
                let stack m n = if batch.IsEmpty then [| size m; size n |] else [| size batch; size m; size n |]
                let transposed = axes <> straight && axes = batch @ columns @ rows
                let found = if transposed then stack columns rows else stack rows columns

                {
                    Permute = if transposed then None else permutation axes straight
                    Shape = if found = shape axes && (transposed || axes = straight) then None else Some found
                    Transposed = transposed
                }

            let turned =
                match output with
                | Some output when size summed < deep || size left * size right > near ->
                    batch @ right @ left = output && batch @ left @ right <> output
                | _ -> size left >= tall * size right && not right.IsEmpty

            let result = if turned then batch @ right @ left else batch @ left @ right

            if result.IsEmpty then
                Dot(vector a, vector b), []
            elif
                not batch.IsEmpty
                && right.IsEmpty
                && (left.IsEmpty
                    || (operand a left summed).Permute.IsSome
                    || size batch > 1L && size left * size summed >= wideStack)
            then
                let places = a |> List.indexed |> List.filter (fun (_, axis) -> not (kept.Contains axis))
                Dots(broadcast b a, places |> List.map (fst >> int64) |> List.toArray), a |> List.filter kept.Contains
            else
                let rows, columns = if turned then right, left else left, right

                let stacked =
                    (if batch.IsEmpty then [] else [ size batch ]) @ [ size rows; size columns ] |> List.toArray

                let shaped = if stacked = shape result then None else Some(shape result)
                let first, second = if turned then b, a else a, b
                Matrices(operand first rows summed, operand second summed columns, shaped, turned), result
