namespace TensorNets

open TorchSharp

/// One step of a contraction on tensors.
[<RequireQualifiedAccess>]
module internal StepExecution =
    /// Gives back a handle unless it is the given one.
    let private release (given: Tensor) (handle: Tensor) =
        if not (obj.ReferenceEquals(given, handle)) then
            handle.Dispose()

    /// The operand as it is multiplied: the tensor itself, or a handle of its own.
    let private arranged (operand: Operand) (tensor: Tensor) : Tensor =
        let next (before: Tensor) (after: Tensor) =
            release tensor before
            after

        let ordered =
            match operand.Permute with
            | Some order -> tensor.permute order
            | None -> tensor

        let shaped =
            match operand.Shape with
            | Some shape -> next ordered (ordered.reshape shape)
            | None -> ordered

        if operand.Transposed then next shaped shaped.mT else shaped

    /// About how many entries of the left operand dot products are made of at a time, so that no second tensor of the size of a large
    /// operand is made. Smaller pieces take longer.
    let private piece = 131_072L

    /// Σ a b over the places of a given, b of a's number of axes or fewer.
    let private dots (places: int64[]) (a: Tensor) (b: Tensor) : Tensor =
        let length = a.shape[0]
        let pieces = min length (a.numel () / piece)

        if pieces < 2L then
            use product = a.mul b
            product.sum places
        else
            let spread = b.dim () = a.dim () && b.shape[0] = length
            let step = (length + pieces - 1L) / pieces

            let part from =
                let count = min step (length - from)
                let b = if spread then b.narrow (0L, from, count) else b
                use product = a.narrow(0L, from, count).mul b
                product.sum places

            let starts = [ 0L .. step .. length - 1L ]

            if Array.contains 0L places then
                let sum = part 0L

                for from in starts.Tail do
                    use next = part from
                    sum.add_ (next, Num.one) |> ignore

                sum
            else
                torch.cat (starts |> List.map part |> List.toArray, 0L)

    /// One step. Only the result is left of what it makes; on the way there is at most one tensor of the size of each operand.
    let run (operation: StepOperation) (operands: Tensor list) : Tensor =
        let both left right (a: Tensor) (b: Tensor) (act: Tensor -> Tensor -> Tensor) =
            let x, y = arranged left a, arranged right b
            let result = act x y
            release a x
            release b y
            result

        match operation, operands with
        | StepOperation.Sum places, [ a ] -> a.sum places
        | StepOperation.Entrywise(left, right), [ a; b ] -> both left right a b _.mul
        | StepOperation.Dot(left, right), [ a; b ] -> both left right a b _.dot
        | StepOperation.Dots(right, places), [ a; b ] ->
            let y = arranged right b
            let result = dots places a y
            release b y
            result
        | StepOperation.Matrices(left, right, shape, swapped), [ a; b ] ->
            let a, b = if swapped then b, a else a, b
            let product = both left right a b (fun x y -> Kernels.matmul (x, y))

            match shape with
            | Some shape ->
                use product = product
                product.reshape shape
            | None -> product
        | _ -> invalidArg (nameof operands) $"{operands.Length} operands do not fit %A{operation}."
