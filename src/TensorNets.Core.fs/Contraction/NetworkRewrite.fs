namespace TensorNets

open TorchSharp

/// <summary>The rewrites of <c>SpecRewrite</c> on networks with numbers. T is the same, permuted or reshaped as the rewrite says.</summary>
/// <remarks>What comes back is a network of its own: nothing is shared with the original. Differentiable in every core of the
/// original. Errors: those of the rewrite.</remarks>
[<RequireQualifiedAccess>]
module NetworkRewrite =
    let private specErrors (result: Result<'T, SpecError list>) = result |> Result.mapError (List.map TensorNetError.Spec)

    /// A network over a rewritten spec; each of its cores is made from the original's.
    let private network (spec: Spec) (make: Core -> Tensor) : Network =
        use scope = torch.NewDisposeScope()

        // A view of the original's numbers becomes a copy.
        let tensors = [| for core in spec.Cores -> (make core).clone().contiguous() |> scope.MoveToOuter |]

        new Network(spec, tensors)

    let private permuted (axes: Axis list) (target: Axis list) (tensor: Tensor) =
        tensor.permute [| for axis in target -> Axis.place axes axis |]

    let private reshaped (spec: Spec) (core: Core) (tensor: Tensor) = tensor.reshape (Spec.coreShape core spec |> List.toArray)

    let private axesIn (original: Network) (core: string) = (original.Spec.Cores |> List.find (fun other -> other.Name = core)).Axes

    /// <summary>As <c>SpecRewrite.fuse</c>: each core is permuted, where the axes stand apart, and reshaped. T is reshaped if the axes are
    /// open.</summary>
    /// <example><code>NetworkRewrite.split (Axis "d") [ Axis "h", 3; Axis "w", 3 ] network
    /// |> Result.bind (NetworkRewrite.fuse [ Axis "h"; Axis "w" ] (Axis "d")) |> orStop</code></example>
    let fuse (axes: Axis list) (fused: Axis) (original: Network) : Result<Network, TensorNetError list> =
        Argument.notNull (nameof axes) axes
        Argument.notNull (nameof original) original

        SpecRewrite.fuse axes fused original.Spec
        |> specErrors
        |> Result.map (fun spec ->
            network spec (fun core ->
                let apart = core.Axes |> List.collect (fun axis -> if axis = fused then axes else [ axis ])
                original[core.Name] |> permuted (axesIn original core.Name) apart |> reshaped spec core))

    /// <summary>As <c>SpecRewrite.split</c>: each core is reshaped. T is reshaped if the axis is open.</summary>
    /// <example><code>NetworkRewrite.split (Axis "d") [ Axis "h", 3; Axis "w", 3 ] network |> orStop</code></example>
    let split (axis: Axis) (parts: (Axis * int) list) (original: Network) : Result<Network, TensorNetError list> =
        Argument.notNull (nameof parts) parts
        Argument.notNull (nameof original) original

        SpecRewrite.split axis parts original.Spec
        |> specErrors
        |> Result.map (fun spec -> network spec (fun core -> reshaped spec core original[core.Name]))

    /// <summary>As <c>SpecRewrite.permute</c>: the cores stay, T is permuted.</summary>
    /// <example><code>NetworkRewrite.permute [ Axis "t"; Axis "d"; Axis "s" ] network |> orStop</code></example>
    let permute (output: Axis list) (original: Network) : Result<Network, TensorNetError list> =
        Argument.notNull (nameof output) output
        Argument.notNull (nameof original) original

        SpecRewrite.permute output original.Spec
        |> specErrors
        |> Result.map (fun spec -> network spec (fun core -> original[core.Name]))

    /// <summary>As <c>SpecRewrite.merge</c>: the two cores are contracted over the axes that nothing else carries. T stays.</summary>
    /// <example><code>NetworkRewrite.merge "A" "B" "G" network |> orStop</code></example>
    let merge (first: string) (second: string) (merged: string) (original: Network) : Result<Network, TensorNetError list> =
        Argument.notNull (nameof original) original

        SpecRewrite.merge first second merged original.Spec
        |> specErrors
        |> Result.map (fun spec ->
            let cores = [ first; second ] |> List.map (fun name -> { Name = name; Axes = axesIn original name })

            let contract (core: Core) =
                let plan = Plan.make Order.Auto (Spec.make original.Spec.Dims cores core.Axes)

                Contraction.runMany [ plan ] original.DType original.Device (fun name -> original[name])
                |> List.head

            network spec (fun core -> if core.Name = merged then contract core else original[core.Name]))

    /// What is wrong with a gauge matrix for a bond of the given dimension.
    let private matrixErrors (at: GaugeInsertion) (dim: int) (matrix: Tensor) (original: Network) =
        let n = int64 dim
        let unreadable = Check.readable $"Core '{at.Core}'" matrix

        let misfits () =
            [
                if Check.shapeOf matrix <> [ n; n ] then
                    TensorNetError.CoreShape(at.Core, Check.shapeOf matrix, [ n; n ])

                if Check.isReal matrix && matrix.dtype <> original.DType then
                    TensorNetError.CoreDType(at.Core, string matrix.dtype, string original.DType)

                if string matrix.device <> string original.Device then
                    TensorNetError.CoreDevice(at.Core, string matrix.device, string original.Device)

                match Check.finite $"Core '{at.Core}'" matrix with
                | [] when Check.shapeOf matrix = [ n; n ] ->
                    use _ = torch.NewDisposeScope()
                    let rank = Decompose.rank (Check.double matrix)

                    if rank < dim then
                        TensorNetError.SingularMatrix($"Core '{at.Core}'", rank, dim)
                | errors -> yield! errors
            ]

        if unreadable.IsEmpty then misfits () else unreadable

    /// <summary>As <c>SpecRewrite.insertGauge</c>: the new core is the matrix, and the second core of the bond takes up its inverse, so
    /// that T stays.</summary>
    /// <remarks>The inverse is applied in float64 and cast back. Errors, besides those of the rewrite: a matrix that is not square of the
    /// bond's dimension, of another dtype or device, not finite, or of deficient rank in float64.</remarks>
    /// <example><code>Network.random torch.float64 1UL (specOrStop (Spec.parse [] "sr, rt -> st | s=4 r=2 t=5"))
    /// |> NetworkRewrite.insertGauge { Bond = Axis "r"; Core = "M"; Fresh = Axis "q" } (torch.eye (2L, dtype = torch.float64))
    /// |> orStop</code></example>
    let insertGauge (at: GaugeInsertion) (matrix: Tensor) (original: Network) : Result<Network, TensorNetError list> =
        Argument.notNull (nameof at) at
        Argument.notNull (nameof original) original

        let errors =
            match original.Spec.Dims.TryFind at.Bond with
            | Some dim -> matrixErrors at dim matrix original
            | None -> []

        match specErrors (SpecRewrite.insertGauge at original.Spec), errors with
        | Error specErrors, errors -> Error(specErrors @ errors)
        | Ok _, (_ :: _ as errors) -> Error errors
        | Ok spec, [] ->
            let solved (core: Core) =
                let place = Axis.place core.Axes at.Fresh
                let tensor = original[core.Name].``to``(torch.float64).movedim([| place |], [| 0L |])
                let columns = tensor.reshape (tensor.shape[0], -1L)

                (Decompose.solve (matrix.``to`` torch.float64) columns).reshape(tensor.shape).movedim([| 0L |], [| place |])
                |> fun solved -> solved.``to`` (original.DType)

            network spec (fun core ->
                if core.Name = at.Core then matrix
                elif List.contains at.Fresh core.Axes then solved core
                else original[core.Name])
            |> Ok

    /// <summary>As <c>SpecRewrite.inner</c>: the closed network of the cores of both, whose tensor is the number ⟨T₁, T₂⟩, and what each
    /// core of the second network is called in it.</summary>
    /// <remarks>Errors, besides those of the rewrite: cores of another dtype or device.</remarks>
    /// <example><code>NetworkRewrite.inner network network |> orStop</code></example>
    let inner (first: Network) (second: Network) : Result<Network * Map<string, string>, TensorNetError list> =
        Argument.notNull (nameof first) first
        Argument.notNull (nameof second) second

        let errors =
            [
                for core, tensor in Seq.zip second.Spec.Cores second.Cores do
                    if tensor.dtype <> first.DType then
                        TensorNetError.CoreDType(core.Name, string tensor.dtype, string first.DType)

                    if string tensor.device <> string first.Device then
                        TensorNetError.CoreDevice(core.Name, string tensor.device, string first.Device)
            ]

        match specErrors (SpecRewrite.inner first.Spec second.Spec), errors with
        | Error specErrors, errors -> Error(specErrors @ errors)
        | Ok _, (_ :: _ as errors) -> Error errors
        | Ok(spec, names), [] ->
            let read =
                Map.ofSeq (
                    Seq.append
                        (Seq.zip (first.Spec.Cores |> List.map _.Name) first.Cores)
                        (Seq.zip (second.Spec.Cores |> List.map (fun core -> names[core.Name])) second.Cores)
                )

            Ok(network spec (fun core -> read[core.Name]), names)
