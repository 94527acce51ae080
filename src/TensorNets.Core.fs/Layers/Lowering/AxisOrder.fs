namespace TensorNets

open TorchSharp

/// How a tensor comes into another order of its axes, by views.
[<RequireQualifiedAccess; NoEquality; NoComparison>]
type internal AxisOrder =
    | Unchanged
    /// As the transpose of a matrix with this number of columns, which is copied fast, and multiplied without a copy.
    | Transposed of columns: int64 * view: (Tensor -> Tensor)
    | Permuted of (Tensor -> Tensor)

    /// A handle of its own.
    member this.Apply(tensor: Tensor) : Tensor =
        match this with
        | Unchanged -> tensor.alias ()
        | Transposed(_, view)
        | Permuted view -> view tensor

    /// The tensor in a shape.
    member this.Shaped(shape: int64[]) : Tensor -> Tensor =
        match this with
        | Unchanged -> fun tensor -> tensor.reshape shape
        | Transposed(_, view)
        | Permuted view ->
            fun tensor ->
                use reordered = view tensor
                reordered.reshape shape

    /// Whether a matrix with this number of rows is a view of it.
    member this.IsMatrix(rows: int64) =
        match this with
        | Unchanged -> true
        | Transposed(columns, _) -> columns = rows
        | Permuted _ -> false

[<RequireQualifiedAccess>]
module internal AxisOrder =
    /// How a tensor of some axes comes into the order of others.
    let between (spec: Spec) (from: Axis list) (target: Axis list) : AxisOrder =
        let dim axis = int64 (Spec.dim axis spec)
        let long = List.filter (fun axis -> dim axis > 1L)
        let given, wanted = long from, long target

        if given = wanted then
            AxisOrder.Unchanged
        else
            let front, back = List.splitAt (List.findIndex ((=) wanted.Head) given) given

            if back @ front = wanted then
                let rows, columns =
                    TorchConvolution.product (Seq.map dim front), TorchConvolution.product (Seq.map dim back)

                AxisOrder.Transposed(
                    columns,
                    if from.Length = 2 then
                        fun tensor -> tensor.t ()
                    else
                        fun tensor ->
                            use matrix = tensor.reshape (rows, columns)
                            matrix.t ()
                )
            else
                let order = [| for axis in target -> int64 (List.findIndex ((=) axis) from) |]
                AxisOrder.Permuted(fun tensor -> tensor.permute order)

    /// The channels brought to another order of their axes, or None where they are in it.
    let channels (spec: Spec) (images: int64) (spatial: int64 list) (from: Axis list) (target: Axis list) : (Tensor -> Tensor) option =
        if from = target then
            None
        else
            let n = from.Length
            let dims = [| for axis in from -> int64 (Spec.dim axis spec) |]
            let split = [| yield images; yield! dims; yield! spatial |]
            let joined = [| yield images; yield TorchConvolution.product dims; yield! spatial |]

            let order =
                [|
                    yield 0L
                    for axis in target do
                        yield 1L + int64 (List.findIndex ((=) axis) from)
                    for i in 0 .. spatial.Length - 1 do
                        yield int64 (1 + n + i)
                |]

            Some(fun x ->
                use parts = x.reshape split
                use permuted = parts.permute order
                permuted.reshape joined)
