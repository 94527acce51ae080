namespace TensorNets

open System

/// <summary>Where a gauge goes and what it is called: bond l between cores j and k (in the order of the network) becomes l between j and
/// the new core and <c>Fresh</c> between the new core and k.</summary>
type GaugeInsertion =
    {
        /// The bond, in two cores and not open.
        Bond: Axis
        /// The name of the new core, a matrix with the axes Bond and Fresh.
        Core: string
        /// The name of the new bond.
        Fresh: Axis
    }

/// <summary>Rewrites of a network into another that says the same in other axes or cores; <c>NetworkRewrite</c> does the same to
/// numbers.</summary>
[<RequireQualifiedAccess>]
module SpecRewrite =
    let private axesOf (spec: Spec) = spec.Dims |> Map.toList |> List.map fst

    let private result errors make = if List.isEmpty errors then Ok(make ()) else Error errors

    /// As `result`, of a network that may have more entries than can be counted.
    let private counted errors make =
        result errors make
        |> Result.bind (fun (spec: Spec) ->
            match Core.tooLarge spec.Dims spec.Cores with
            | [] -> Ok spec
            | errors -> Error errors)

    let private unknown (axes: Axis list) (spec: Spec) =
        [
            for axis in List.distinct axes do
                if not (spec.Dims.ContainsKey axis) then
                    SpecError.UnknownAxis(axis.Name, axesOf spec |> List.map Axis.name)
        ]

    /// Errors of a new name: it must be a name and not among those used.
    let private fresh (used: string list) (name: string) =
        [
            if not (Axis.isName name) then
                SpecError.BadName name
            elif List.contains name used then
                SpecError.NameTaken name
        ]

    let private names (axes: Axis list) = List.map Axis.name axes

    let private twice (axes: Axis list) =
        axes
        |> List.countBy id
        |> List.filter (fun (_, count) -> count > 1)
        |> List.map (fun (axis, _) -> SpecError.ListedTwice axis.Name)

    let private product (dims: int list) = dims |> List.fold (fun (n: bigint) dim -> n * bigint dim) 1I

    /// The same network with the axes of every core and of the output rewritten.
    let private mapped (dims: Map<Axis, int>) (change: Axis list -> Axis list) (spec: Spec) =
        let cores = spec.Cores |> List.map (fun core -> { core with Axes = change core.Axes })
        Spec.make dims cores (change spec.Output)

    /// A list of axes in which one stands in the place of the first of several.
    let internal fusedAxes (axes: Axis list) (fused: Axis) (list: Axis list) =
        match list |> List.tryFindIndex (fun axis -> List.contains axis axes) with
        | None -> list
        | Some place -> List.take place list @ [ fused ] @ (List.skip place list |> List.except axes)

    /// <summary>The network in which axes that always occur together are one axis, whose dimension is the product, row-major in the order
    /// given. In a core it stands where the first of them stood.</summary>
    /// <remarks>Equivalent to reshaping T, if they are open: then they must be side by side in the output, in the order given. Errors:
    /// unknown or repeated axes, a core with some of them only, a name that is taken.</remarks>
    /// <example><code>SpecRewrite.split (Axis "d") [ Axis "h", 3; Axis "w", 3 ] spec
    /// |> Result.bind (SpecRewrite.fuse [ Axis "h"; Axis "w" ] (Axis "d")) |> specOrStop</code></example>
    let fuse (axes: Axis list) (fused: Axis) (spec: Spec) : Result<Spec, SpecError list> =
        Argument.notNull (nameof axes) axes
        Argument.notNull (nameof spec) spec
        let known = axes |> List.distinct |> List.filter spec.Dims.ContainsKey
        let present (list: Axis list) = known |> List.filter (fun axis -> List.contains axis list)
        let dims = axes |> List.choose (fun axis -> spec.Dims.TryFind axis)

        let errors =
            [
                if axes.IsEmpty then
                    SpecError.NothingToFuse fused.Name
                yield! unknown axes spec
                yield! twice axes
                yield! fresh (axesOf spec |> List.except axes |> names) fused.Name
                if product dims > bigint Int32.MaxValue then
                    SpecError.DimensionTooLarge(fused.Name, product dims)
                for core in spec.Cores do
                    match present core.Axes with
                    | [] -> ()
                    | some when some.Length = known.Length -> ()
                    | some -> SpecError.AxesApart(core.Name, names some, names known)
                if
                    not (present spec.Output).IsEmpty
                    && not (List.contains known (List.windowed known.Length spec.Output))
                then
                    SpecError.NotAdjacent(names spec.Output, names known)
            ]

        result errors (fun () -> mapped (spec.Dims |> Map.add fused (List.fold (*) 1 dims)) (fusedAxes axes fused) spec)

    /// <summary>The network in which several axes stand in the place of one, row-major; the product of their dimensions is its dimension.
    /// An axis of dimension 1 may be split into none.</summary>
    /// <remarks>Equivalent to reshaping T, if the axis is open. <c>fuse</c> takes it back. Errors: an unknown axis; parts that are
    /// repeated, taken, below 1 or of another product.</remarks>
    /// <example><code>SpecRewrite.split (Axis "d") [ Axis "h", 3; Axis "w", 3 ] spec |> specOrStop // sr, hwr, tr -> shwt</code></example>
    let split (axis: Axis) (parts: (Axis * int) list) (spec: Spec) : Result<Spec, SpecError list> =
        Argument.notNull (nameof parts) parts
        Argument.notNull (nameof spec) spec
        let axes, factors = List.unzip parts

        let errors =
            [
                yield! unknown [ axis ] spec
                yield! twice axes
                for name in List.distinct axes do
                    yield! fresh (axesOf spec |> List.except [ axis ] |> names) name.Name
                for name, dim in parts do
                    if dim < 1 then
                        SpecError.NonPositiveDimension(name.Name, dim)
                match spec.Dims.TryFind axis with
                | Some dim when product factors <> bigint dim -> SpecError.WrongProduct(axis.Name, factors, dim)
                | _ -> ()
            ]

        result errors (fun () ->
            let dims = parts |> List.fold (fun dims (part, dim) -> Map.add part dim dims) spec.Dims
            mapped dims (List.collect (fun other -> if other = axis then axes else [ other ])) spec)

    /// <summary>The network with its open axes in another order. Equivalent to permuting T. Error: <c>NotAPermutation</c>.</summary>
    /// <example><code>SpecRewrite.permute [ Axis "t"; Axis "d"; Axis "s" ] spec |> specOrStop // sr, dr, tr -> tds</code></example>
    let permute (output: Axis list) (spec: Spec) : Result<Spec, SpecError list> =
        Argument.notNull (nameof output) output
        Argument.notNull (nameof spec) spec

        if List.sort output = List.sort spec.Output then
            Ok(Spec.make spec.Dims spec.Cores output)
        else
            Error [ SpecError.NotAPermutation(names output, names spec.Output) ]

    /// <summary>The network in which one core stands for two, in the place of the first: it carries the axes of both except those that no
    /// other core carries and that are not open, which are summed.</summary>
    /// <remarks>T stays the same. Errors: unknown cores, twice the same core, a name that a third core has,
    /// <c>CoresTooLarge</c>.</remarks>
    /// <example><code>SpecRewrite.merge "A" "B" "G" spec |> specOrStop // srd, tr -> sdt</code></example>
    let merge (first: string) (second: string) (merged: string) (spec: Spec) : Result<Spec, SpecError list> =
        Argument.notNull (nameof spec) spec

        let find name =
            match Spec.tryCore name spec with
            | Ok core -> [ core ], []
            | Error errors -> [], errors

        let firstCore, firstErrors = find first
        let secondCore, secondErrors = find second

        let errors =
            [
                if first = second then
                    yield! firstErrors
                    SpecError.SameCore first
                else
                    yield! firstErrors @ secondErrors
                yield! fresh (spec.Cores |> List.map _.Name |> List.except [ first; second ]) merged
            ]

        counted errors (fun () ->
            let both = firstCore @ secondCore
            let others = spec.Cores |> List.except both |> List.collect _.Axes

            let axes =
                both
                |> List.collect _.Axes
                |> List.distinct
                |> List.filter (fun axis -> Spec.isOpen axis spec || List.contains axis others)

            let cores =
                spec.Cores
                |> List.filter (fun core -> core.Name <> second)
                |> List.map (fun core -> if core.Name = first then { Name = merged; Axes = axes } else core)

            Spec.make spec.Dims cores spec.Output)

    /// <summary>The network with a matrix as a further core on a bond, behind the first core of the bond.</summary>
    /// <remarks>T stays the same if the matrix is the identity. Errors: an axis that is not an ordinary bond, names that are
    /// taken.</remarks>
    /// <example><code>Spec.parse [] "sr, rt -> st | s=4 r=2 t=5"
    /// |> Result.bind (SpecRewrite.insertGauge { Bond = Axis "r"; Core = "M"; Fresh = Axis "q" })
    /// |> specOrStop // sr, rq, qt -> st</code></example>
    let insertGauge (at: GaugeInsertion) (spec: Spec) : Result<Spec, SpecError list> =
        Argument.notNull (nameof at) at
        Argument.notNull (nameof spec) spec
        let carriers = Spec.carriers at.Bond spec

        let errors =
            [
                yield! unknown [ at.Bond ] spec
                if spec.Dims.ContainsKey at.Bond then
                    if Spec.isOpen at.Bond spec then
                        SpecError.NotOrdinaryBond(at.Bond.Name, "open")
                    elif carriers.Length <> 2 then
                        SpecError.NotOrdinaryBond(at.Bond.Name, $"carried by {carriers.Length} cores")
                yield! fresh (spec.Cores |> List.map _.Name) at.Core
                yield! fresh (axesOf spec |> names) at.Fresh.Name
            ]

        counted errors (fun () ->
            let change (core: Core) =
                if core = carriers[0] then
                    [ core; { Name = at.Core; Axes = [ at.Bond; at.Fresh ] } ]
                elif core = carriers[1] then
                    [
                        { core with Axes = core.Axes |> List.map (fun axis -> if axis = at.Bond then at.Fresh else axis) }
                    ]
                else
                    [ core ]

            Spec.make (spec.Dims |> Map.add at.Fresh spec.Dims[at.Bond]) (List.collect change spec.Cores) spec.Output)

    /// <summary>The closed network whose value is ⟨T₁, T₂⟩, and what each core of the second network is called in it.</summary>
    /// <remarks>The open axes, the same in both networks in any order, with the same dimensions, become bonds of the two. Cores and bonds
    /// of the second network get <c>_2</c> behind their names, or the next number that leaves all names distinct. Errors:
    /// <c>OpenAxesDiffer</c>, <c>DimensionsDiffer</c>.</remarks>
    /// <example><code>SpecRewrite.inner spec spec |> specOrStop</code></example>
    let inner (first: Spec) (second: Spec) : Result<Spec * Map<string, string>, SpecError list> =
        Argument.notNull (nameof first) first
        Argument.notNull (nameof second) second

        let errors =
            [
                if List.sort first.Output <> List.sort second.Output then
                    SpecError.OpenAxesDiffer(names second.Output, names first.Output)
                for axis in first.Output do
                    match second.Dims.TryFind axis with
                    | Some dim when Spec.isOpen axis second && dim <> first.Dims[axis] ->
                        SpecError.DimensionsDiffer(axis.Name, dim, first.Dims[axis])
                    | _ -> ()
            ]

        result errors (fun () ->
            // The number goes before the primes of second copies, which tell whose tensor a core reads.
            let numbered (i: int) (name: string) =
                let stem = name.TrimEnd '\''
                $"{stem}_{i}{name[stem.Length ..]}"

            let cores (spec: Spec) = spec.Cores |> List.map _.Name
            let bonds = Spec.bonds second |> names

            let distinct i =
                let free (mine: string list) taken = mine |> List.forall (fun name -> not (List.contains (numbered i name) taken))
                free (cores second) (cores first) && free bonds (names (axesOf first @ axesOf second))

            let number = Seq.initInfinite ((+) 2) |> Seq.find distinct

            let axis (axis: Axis) = if Spec.isOpen axis second then axis else Axis(numbered number axis.Name)

            let renamed =
                second.Cores
                |> List.map (fun core -> { Name = numbered number core.Name; Axes = List.map axis core.Axes })

            let dims = second.Dims |> Map.fold (fun dims name dim -> Map.add (axis name) dim dims) first.Dims

            Spec.make dims (first.Cores @ renamed) [], cores second |> List.map (fun name -> name, numbered number name) |> Map.ofList)
