namespace TensorNets

/// What the open axes of a kernel network stand for: channels of the input, kernel positions, channels of the output, and the group, if
/// there are groups.
type internal AxisRoles =
    {
        Group: Axis list
        Inputs: Axis list
        /// With the spatial dimensions whose positions each runs over: one axis for all of them, or one for each.
        Kernel: (Axis * int list) list
        Outputs: Axis list
    }

[<RequireQualifiedAccess>]
module internal AxisRoles =
    /// The ways to say which spatial dimensions kernel axes run over; none if they split the positions otherwise.
    let private spatial (g: ConvGeometry) (spec: Spec) (axes: Axis list) : (Axis * int list) list option =
        let dims = axes |> List.map (fun axis -> int64 (Spec.dim axis spec))
        let large = [ for i in 0 .. g.Kernel.Length - 1 -> i ] |> List.filter (fun i -> g.Kernel[i] > 1L)

        match axes with
        | [] -> Some []
        | [ axis ] -> Some [ axis, [ 0 .. g.Kernel.Length - 1 ] ]
        | _ when dims = g.Kernel -> Some(axes |> List.mapi (fun i axis -> axis, [ i ]))
        | _ when dims = (large |> List.map (fun i -> g.Kernel[i])) -> Some(List.map2 (fun axis i -> axis, [ i ]) axes large)
        | _ -> None

    /// Those of an embedding, whose rows may be more than its tokens, but not twice as many.
    let private ofEmbedding (g: ConvGeometry) (spec: Spec) : AxisRoles option =
        let size axes = axes |> List.fold (fun n axis -> n * bigint (Spec.dim axis spec)) 1I

        [
            for i in spec.Output.Length .. -1 .. 0 do
                let rows, columns = List.splitAt i spec.Output
                let count = size rows

                if
                    size columns = bigint g.OutChannels
                    && count >= bigint g.InChannels
                    && count < 2I * bigint g.InChannels
                then
                    { Group = []; Inputs = rows; Kernel = []; Outputs = columns }
        ]
        // Where axes of dimension 1 leave a choice, no side is empty.
        |> List.sortBy (fun roles -> roles.Inputs.IsEmpty || roles.Outputs.IsEmpty)
        |> List.tryHead

    let private ofConvolution (g: ConvGeometry) (spec: Spec) : AxisRoles option =
        let group, rest =
            match spec.Output with
            | first :: rest when g.Groups > 1L && int64 (Spec.dim first spec) = g.Groups -> [ first ], rest
            | output -> [], output

        let s, k, t = g.InChannels / g.Groups, GeometryChecks.positions g, g.OutChannels / g.Groups
        let wanted = g.Kernel.Length
        let dims = rest |> List.map (fun axis -> bigint (Spec.dim axis spec)) |> List.toArray
        let total = bigint s * bigint k * bigint t

        // Of the first axes, without wrapping round and no further than the whole kernel.
        let products = (1I, dims) ||> Array.scan (fun n dim -> if n > total then n else n * dim)

        let ends (product: bigint) = [ for i in 0 .. dims.Length -> i ] |> List.filter (fun i -> products[i] = product)

        if g.Groups > 1L && group.IsEmpty || products[dims.Length] <> total then
            None
        else
            [
                for i in ends (bigint s) do
                    for j in ends (bigint s * bigint k) do
                        // More axes than spatial dimensions can be no kernel.
                        if i <= j && j - i <= max 1 wanted && (wanted > 0 || i = j) then
                            let kernel = rest |> List.skip i |> List.truncate (j - i)

                            match spatial g spec kernel with
                            | Some kernel -> { Group = group; Inputs = List.truncate i rest; Kernel = kernel; Outputs = List.skip j rest }
                            | None -> ()
            ]
            // Where axes of dimension 1 leave a choice: no side empty, and kernel axes as they were most likely meant.
            |> List.sortBy (fun r ->
                (if r.Inputs.IsEmpty then 1 else 0) + (if r.Outputs.IsEmpty then 1 else 0),
                match r.Kernel.Length with
                | 1 -> 0
                | n when n = wanted -> 1
                | _ -> 2)
            |> List.tryHead

    /// <summary>The roles of a network's open axes, which in order multiply to (groups,) input channels, kernel positions, output channels;
    /// a kernel axis runs over all positions or over those of one dimension. None: the network does not fit.</summary>
    let tryOf (g: ConvGeometry) (spec: Spec) : AxisRoles option = if g.IsEmbedding then ofEmbedding g spec else ofConvolution g spec

    /// The open axes in the order of a dense weight.
    let weight (g: ConvGeometry) (roles: AxisRoles) : Axis list =
        let kernel = roles.Kernel |> List.map fst

        if g.IsInputFirst then
            roles.Group @ roles.Inputs @ roles.Outputs @ kernel
        else
            roles.Group @ roles.Outputs @ roles.Inputs @ kernel

    /// The roles, or the shape that was expected.
    let ofSpec (g: ConvGeometry) (spec: Spec) : Result<AxisRoles, TensorNetError list> =
        match tryOf g spec with
        | Some roles -> Ok roles
        | None ->
            let what =
                match g.Groups > 1L, g.Kernel.IsEmpty with
                | _ when g.IsEmbedding -> $"tokens, up to {2L * g.InChannels - 1L} with rows that none asks for; features"
                | _, true -> "in, out"
                | true, _ -> "groups, in of a group, kernel positions, out of a group"
                | _ -> "in, kernel positions, out"

            let shape = TensorNetError.shapeText (ConvGeometry.kernelShape g |> List.map int64)

            Error
                [
                    TensorNetError.Shape(
                        "The kernel network",
                        Spec.shape spec,
                        $"{shape} ({what}), where several axes side by side may stand for one, the kernel's one for each dimension"
                    )
                ]
