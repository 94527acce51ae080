namespace TensorNets

open TorchSharp

/// How a tensor comes into another order of its axes, by views.
[<RequireQualifiedAccess; NoEquality; NoComparison>]
type internal AxisOrder =
    /// As it lies.
    | Lying
    /// As the transpose of a matrix of so many columns, which is copied fast, and multiplied without a copy.
    | Turned of int64 * (Tensor -> Tensor)
    | Permuted of (Tensor -> Tensor)

    /// A handle of its own.
    member this.Apply(tensor: Tensor) : Tensor =
        match this with
        | Lying -> tensor.alias ()
        | Turned(_, view)
        | Permuted view -> view tensor

    /// The tensor in a shape.
    member this.Shaped(shape: int64[]) : Tensor -> Tensor =
        match this with
        | Lying -> fun tensor -> tensor.reshape shape
        | Turned(_, view)
        | Permuted view ->
            fun tensor ->
                use turned = view tensor
                turned.reshape shape

    /// Whether a matrix of so many rows is a view of it.
    member this.IsMatrix(rows: int64) =
        match this with
        | Lying -> true
        | Turned(columns, _) -> columns = rows
        | Permuted _ -> false

[<RequireQualifiedAccess>]
module internal AxisOrder =
    /// How a tensor of some axes comes into the order of others.
    let between (spec: Spec) (from: Axis list) (target: Axis list) : AxisOrder =
        let dim axis = int64 (Spec.dim axis spec)
        let long = List.filter (fun axis -> dim axis > 1L)
        let lying, wanted = long from, long target

        if lying = wanted then
            AxisOrder.Lying
        else
            let front, back = List.splitAt (List.findIndex ((=) wanted.Head) lying) lying

            if back @ front = wanted then
                let rows, columns =
                    TorchConvolution.product (Seq.map dim front), TorchConvolution.product (Seq.map dim back)

                AxisOrder.Turned(
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
                use turned = parts.permute order
                turned.reshape joined)
