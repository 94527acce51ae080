namespace TensorNets

open System.Collections.Generic

/// How an operand becomes a stack of matrices: an order of its axes (none: as stored), the shape of the stack, and whether its matrices are
/// then read transposed, which costs nothing.
type internal Operand = { Permute: int64[] option; Shape: int64[] option; Transposed: bool }

/// One step as the tensor operation that runs it.
[<RequireQualifiedAccess>]
type internal StepOperation =
    /// A sum over the places of some axes.
    | Sum of places: int64[]
    /// An entrywise product of operands that are first brought to shapes that broadcast: nothing is summed.
    | Entrywise of left: Operand * right: Operand
    /// The sum of all products of two operands of the same axes: as vectors, in one order.
    | Dot of left: Operand * right: Operand
    /// Dot products side by side, along some places of the left operand, which carries every axis of the right: an entrywise product and a
    /// sum. As a stack of matrices times one column each they would be many small calls, often after a copy of the left operand.
    | Dots of right: Operand * places: int64[]
    /// A product of matrices, or of stacks of them, and the shape of what comes out (none: as it is). Swapped: the second operand of the
    /// step stands left.
    | Matrices of left: Operand * right: Operand * result: int64[] option * swapped: bool

/// Two operands whose product is a step, the larger first.
[<NoEquality; NoComparison>]
type internal StepProduct =
    {
        Dims: IReadOnlyDictionary<Axis, int>
        Left: Axis list
        Right: Axis list
        /// The axes that stay: the output names them, or a later step needs them.
        Kept: Set<Axis>
        /// The output of the network, if this is the last step.
        Output: Axis list option
        /// Axes that a later product sums over, in the order of the other operand there, so that neither needs a copy.
        Met: Axis list
    }

    member this.Size(axes: Axis list) : int64 = axes |> List.fold (fun p axis -> p * int64 this.Dims[axis]) 1L

    member this.Shape(axes: Axis list) : int64[] = [| for axis in axes -> int64 this.Dims[axis] |]

/// Steps from axes to tensor operations, once per plan.
[<RequireQualifiedAccess>]
module internal StepOperation =
    /// The places in a list of axes of those that a test picks.
    let private placesWhere (test: Axis -> bool) (axes: Axis list) : int64[] =
        [|
            for place, axis in List.indexed axes do
                if test axis then
                    int64 place
        |]

    /// The sum over the axes that do not stay.
    let sum (axes: Axis list) (kept: Axis list) : StepOperation =
        StepOperation.Sum(axes |> placesWhere (fun axis -> not (List.contains axis kept)))

    let private permutation (axes: Axis list) (order: Axis list) : int64[] option =
        if axes = order then None else order |> List.map (Axis.place axes) |> List.toArray |> Some

    /// From this ratio of rows to columns on a product is made as its transpose: wide results are up to twice as fast as tall ones
    /// (measured for 2304×256 by 256×64 in float64; `benchmarks -- products`).
    let private tall = 4L

    /// The last step's result is made the wide way round too where at least `deep` products are summed for each entry and it has at most
    /// `near` entries: it may have to be copied then, which costs less than what is won while it stays in the processor's cache.
    let private deep, private near = 128L, 131_072L

    /// From this many entries on, matrices of a stack that meet one column each are faster entry by entry (two to six times in the forward
    /// and the backward pass, measured for 8 to 200 matrices of 9×64 to 256×256); much smaller ones as products.
    let private wideStack = 256L

    /// An operand brought to the shape that broadcasts against the axes of a result.
    let private broadcast (step: StepProduct) (axes: Axis list) (result: Axis list) : Operand =
        let order = result |> List.filter (fun axis -> List.contains axis axes)

        // A one is put where the operand lacks an axis, but for the leading ones, which broadcasting understands.
        let spread =
            result
            |> List.skipWhile (fun axis -> not (List.contains axis axes))
            |> List.map (fun axis -> if List.contains axis axes then int64 step.Dims[axis] else 1L)
            |> List.toArray

        {
            Permute = permutation axes order
            Shape = if spread = step.Shape order then None else Some spread
            Transposed = false
        }

    /// Nothing is summed.
    let private entrywise (step: StepProduct) : StepOperation * Axis list =
        let right = step.Right |> List.except step.Left
        let all = step.Left @ right
        // An entrywise product of the same axes is the same step for everyone.
        let first = if right.IsEmpty then [] else step.Met |> List.filter (fun axis -> List.contains axis all)
        let result = first @ List.except first all
        StepOperation.Entrywise(broadcast step step.Left result, broadcast step step.Right result), result

    /// An operand as a stack of matrices: `batch`, then rows, then columns.
    let private stacked (step: StepProduct) (batch: Axis list) (axes: Axis list) (rows: Axis list) (columns: Axis list) : Operand =
        let straight = batch @ rows @ columns
        let transposed = axes <> straight && axes = batch @ columns @ rows

        let stack m n =
            [|
                if not batch.IsEmpty then
                    step.Size batch
                step.Size m
                step.Size n
            |]

        let found = if transposed then stack columns rows else stack rows columns

        {
            Permute = if transposed then None else permutation axes straight
            Shape = if found = step.Shape axes && (transposed || axes = straight) then None else Some found
            Transposed = transposed
        }

    /// The operation of a product, and the axes of its result in the order in which it comes out: where there is a choice that of the
    /// output, if this is the last step.
    let product (step: StepProduct) : StepOperation * Axis list =
        let a, b = step.Left, step.Right
        let size, kept = step.Size, step.Kept

        if a |> List.forall kept.Contains && b |> List.forall kept.Contains then
            entrywise step
        else
            // Shared axes in the order of the larger operand, so that it is the smaller one that is copied if one must be.
            let inBoth (axes: Axis list) (others: Axis list) = axes |> List.filter (fun axis -> List.contains axis others)
            let shared = if size a >= size b then inBoth a b else inBoth b a
            let batch, summed = shared |> List.partition kept.Contains
            let left, right = List.except b a, List.except a b

            let swapped =
                match step.Output with
                | Some output when size summed < deep || size left * size right > near ->
                    batch @ right @ left = output && batch @ left @ right <> output
                | _ -> size left >= tall * size right && not right.IsEmpty

            let result = if swapped then batch @ right @ left else batch @ left @ right
            let operand = stacked step batch

            if result.IsEmpty then
                let vector axes = { Permute = permutation axes summed; Shape = Some [| -1L |]; Transposed = false }
                StepOperation.Dot(vector a, vector b), []
            elif
                not batch.IsEmpty
                && right.IsEmpty
                && (left.IsEmpty
                    || (operand a left summed).Permute.IsSome
                    || size batch > 1L && size left * size summed >= wideStack)
            then
                let places = a |> placesWhere (kept.Contains >> not)
                StepOperation.Dots(broadcast step b a, places), a |> List.filter kept.Contains
            else
                let rows, columns = if swapped then right, left else left, right

                let made =
                    [|
                        if not batch.IsEmpty then
                            size batch
                        size rows
                        size columns
                    |]

                let shape = if made = step.Shape result then None else Some(step.Shape result)
                let first, second = if swapped then b, a else a, b
                StepOperation.Matrices(operand first rows summed, operand second summed columns, shape, swapped), result
