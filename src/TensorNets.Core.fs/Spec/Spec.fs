namespace TensorNets

open System
open System.Collections.Generic

/// <summary>A tensor network as data: cores with named axes, the dimension of each axis, and the axes that stay open, in the order of the
/// result.</summary>
/// <remarks>T[output] = Σ over every other axis of Π_k θ_k. An axis may occur in any number of cores: in two it is an ordinary bond, in
/// three or more a hyperedge (as the rank of a CP decomposition), in one, if not open, a plain sum. Made by <c>Spec.create</c>, which
/// checks it.</remarks>
/// <namespacedoc><summary>Tensor networks as data (<c>Spec</c>, <c>Network</c>), their contraction, sensitivity, gauge, factorization and
/// correction; layers, plans and files of whole models. For F#.</summary></namespacedoc>
[<NoComparison>]
type Spec =
    private
        {
            dims: Map<Axis, int>
            cores: Core list
            output: Axis list
        }

    /// The dimension of every axis, each at least 1.
    member this.Dims = this.dims
    /// The cores in order.
    member this.Cores = this.cores
    /// The open axes in the order of the result.
    member this.Output = this.output

    /// The network without dimensions and names of cores: `sr, dr, tr -> sdt`; longer names stand apart. `Spec.print` tells all.
    override this.ToString() = SpecText.print (this.cores |> List.map (fun core -> None, core.Axes)) this.output

/// <summary>Making, reading and rewriting networks. Everything here is algebra on names: no tensor is needed.</summary>
[<RequireQualifiedAccess>]
module Spec =
    let private repeated list = list |> List.countBy id |> List.filter (fun (_, n) -> n > 1) |> List.map fst

    /// <summary>A checked network. Returns every error at once.</summary>
    /// <param name="dims">The dimension of each axis, at least 1.</param>
    /// <param name="cores">The cores; names differ, no axis repeats within a core.</param>
    /// <param name="output">The open axes, in the order of the result.</param>
    /// <example><code>Spec.create [ Axis "s", 4 ] [ { Name = "A"; Axes = [ Axis "s" ] } ] [ Axis "s" ] |> specOrStop</code></example>
    let create (dims: (Axis * int) list) (cores: Core list) (output: Axis list) : Result<Spec, SpecError list> =
        Argument.notNull (nameof output) output
        let used = Argument.given (nameof cores) cores |> List.collect _.Axes |> List.distinct
        let given = Argument.given (nameof dims) dims |> List.map fst
        let isUsed, isGiven = HashSet used, HashSet given

        let errors =
            [
                if cores.IsEmpty then
                    SpecError.NoCores
                for name in (cores |> List.map _.Name) @ (given @ used |> List.map Axis.name) |> List.distinct do
                    if not (Axis.isName name) then
                        SpecError.BadName name
                for name in repeated (cores |> List.map _.Name) do
                    SpecError.DuplicateCore name
                for core in cores do
                    for axis in repeated core.Axes do
                        SpecError.RepeatedAxis(core.Name, axis.Name)
                for axis in repeated output do
                    SpecError.RepeatedOutputAxis axis.Name
                for axis in repeated given do
                    SpecError.DuplicateDimension axis.Name
                for core in cores do
                    for axis in List.distinct core.Axes do
                        if not (isGiven.Contains axis) then
                            SpecError.MissingDimension(axis.Name, $"core '{core.Name}'")
                for axis, dim in dims do
                    if dim < 1 then
                        SpecError.NonPositiveDimension(axis.Name, dim)

                    if not (isUsed.Contains axis) then
                        SpecError.UnusedDimension axis.Name
                for axis in List.distinct output do
                    if not (isUsed.Contains axis) then
                        SpecError.OutputAxisWithoutCore axis.Name
            ]

        let sizes = Map.ofList dims

        match (if errors.IsEmpty then Core.tooLarge sizes cores else errors) with
        | [] -> Ok { dims = sizes; cores = cores; output = output }
        | errors -> Error errors

    /// The name that position i takes where the user gives none: A, B, …, Z, A26, A27, …
    let internal positionName i = if i < 26 then string (char (int 'A' + i)) else $"A{i}"

    /// <summary>The network that a text describes, as <c>"sr, dr, tr -> sdt | s=64 d=9 t=64 r=48"</c>. Returns every error at
    /// once.</summary>
    /// <remarks>
    /// <para>A text is the cores, separated by commas, then <c>-></c> and the output; then, if wanted, a bar and dimensions
    /// <c>name=number</c>, separated by spaces or commas. A core is its axes; a name and a colon may stand in front, as in <c>G: abc</c>. A
    /// core without a name gets that of its position: A, B, …</para>
    /// <para>Axes are either one word, in which every letter begins an axis, digits and underscores behind it included (<c>a1bc</c> is a1,
    /// b, c), or several names separated by spaces (<c>in rank</c>), or names in parentheses, for one long name by itself (<c>(rank)</c>),
    /// or nothing (a core or an output without axes).</para>
    /// <para>Positions in errors count from 1. Where there are syntax errors, what may follow from them (an axis without dimension, say) is
    /// not reported.</para>
    /// <para>Equivalent to: <c>Spec.parse [] (Spec.print spec)</c> is <c>Ok spec</c>, for every network made by <c>Spec.create</c>.</para>
    /// </remarks>
    /// <param name="dims">Dimensions of axes that the text gives none for.</param>
    /// <param name="text">The network.</param>
    /// <example><code>Spec.parse [] "sr, dr, tr -> sdt | s=4 d=9 t=5 r=3" |> specOrStop</code></example>
    let parse (dims: (string * int) list) (text: string) : Result<Spec, SpecError list> =
        let parsed = SpecText.parse text

        let cores =
            parsed.Cores
            |> List.mapi (fun i (name, axes) -> { Name = defaultArg name (positionName i); Axes = axes })

        let given =
            (Argument.given (nameof dims) dims |> List.map (fun (name, dim) -> Axis name, dim)) @ parsed.Dims

        let follows error =
            match error with
            | SpecError.MissingDimension _
            | SpecError.UnusedDimension _
            | SpecError.OutputAxisWithoutCore _ -> true
            | _ -> false

        match parsed.Errors, create given cores parsed.Output with
        | [], result -> result
        | syntax, Ok _ -> Error syntax
        | syntax, Error errors -> Error(syntax @ List.filter (follows >> not) errors)

    /// <summary>The network as text with dimensions; cores whose name is not that of their position are named. <c>Spec.parse</c> reads
    /// it.</summary>
    /// <example><code>Spec.print spec // "sr, dr, tr -> sdt | d=9 r=3 s=4 t=5"</code></example>
    let print (spec: Spec) : string =
        let cores =
            (Argument.given (nameof spec) spec).cores
            |> List.mapi (fun i core -> (if core.Name = positionName i then None else Some core.Name), core.Axes)

        SpecText.print cores spec.output + SpecText.printDims (Map.toList spec.dims)

    /// <summary>The dimension of an axis.</summary>
    /// <exception cref="T:System.ArgumentException">The network has no such axis.</exception>
    /// <example><code>Spec.dim (Axis "d") spec // 9</code></example>
    let dim (axis: Axis) (spec: Spec) =
        match Map.tryFind axis (Argument.given (nameof spec) spec).dims with
        | Some dimension -> dimension
        | None ->
            let known = [ for pair in spec.dims -> pair.Key.Name ]
            invalidArg (nameof axis) (SpecError.UnknownAxis(axis.Name, known)).Message

    /// <summary>The shape of the network's tensor T: the dimensions of the output axes, in their order.</summary>
    /// <example><code>Spec.shape spec // [ 4L; 9L; 5L ]</code></example>
    let shape (spec: Spec) = (Argument.given (nameof spec) spec).output |> List.map (fun axis -> int64 spec.dims[axis])

    /// <summary>The shape of one core's tensor, in storage order; throws as Spec.dim does.</summary>
    /// <example><code>Spec.coreShape spec.Cores.Head spec // [ 4L; 3L ]</code></example>
    let coreShape (core: Core) (spec: Spec) = (Argument.given (nameof core) core).Axes |> List.map (fun axis -> int64 (dim axis spec))

    /// <summary>The number of entries of all cores together.</summary>
    /// <example><code>Spec.parameters spec // 54L</code></example>
    let parameters (spec: Spec) =
        List.sum [ for core in (Argument.given (nameof spec) spec).cores -> coreShape core spec |> List.fold (*) 1L ]

    /// <summary>The core of that name; <c>UnknownCore</c> lists the names there are.</summary>
    /// <example><code>Spec.tryCore "A" spec |> specOrStop</code></example>
    let tryCore (name: string) (spec: Spec) : Result<Core, SpecError list> =
        match (Argument.given (nameof spec) spec).cores |> List.tryFind (fun core -> core.Name = name) with
        | Some core -> Ok core
        | None -> Error [ SpecError.UnknownCore(name, spec.cores |> List.map _.Name) ]

    /// <summary>The cores that carry an axis, in the order of the network; none where it has no such axis.</summary>
    /// <example><code>Spec.carriers (Axis "r") spec // all three</code></example>
    let carriers (axis: Axis) (spec: Spec) =
        List.filter (fun (core: Core) -> List.contains axis core.Axes) (Argument.given (nameof spec) spec).cores

    /// <summary>Whether the output names an axis.</summary>
    /// <example><code>Spec.isOpen (Axis "r") spec // false</code></example>
    let isOpen (axis: Axis) (spec: Spec) = List.contains axis (Argument.given (nameof spec) spec).output

    /// <summary>The axes of a core that occur in no other core.</summary>
    /// <example><code>Spec.ownAxes spec.Cores.Head spec // [ Axis "s" ]</code></example>
    let ownAxes (core: Core) (spec: Spec) =
        List.filter (fun axis -> (carriers axis spec).Length = 1) (Argument.given (nameof core) core).Axes

    /// <summary>m_k: the product of the dimensions of the axes that occur in this core and in no other.</summary>
    /// <example><code>Spec.ownSize spec.Cores.Head spec // 4L</code></example>
    let ownSize (core: Core) (spec: Spec) = ownAxes core spec |> List.fold (fun size axis -> size * int64 spec.dims[axis]) 1L

    /// <summary>The axes that are summed: those that the output does not name, in order of appearance.</summary>
    /// <example><code>Spec.bonds spec // [ Axis "r" ]</code></example>
    let bonds (spec: Spec) =
        (Argument.given (nameof spec) spec).cores
        |> List.collect _.Axes
        |> List.distinct
        |> List.filter (fun axis -> not (isOpen axis spec))

    // Rewrites keep the meaning of what they are given, so what they make needs no second check; it may have no cores (the environment in a
    // network of one core), which contracts to 1, and second copies named with a prime, which `create` refuses.
    let internal make (dims: Map<Axis, int>) cores output =
        let used = HashSet(Seq.append (cores |> Seq.collect (fun (core: Core) -> core.Axes)) output)

        { dims = dims |> Map.filter (fun axis _ -> used.Contains axis); cores = cores; output = output }

    let private withDims (dims: (Axis * int) list) (spec: Spec) =
        (spec.dims, dims) ||> List.fold (fun all (axis, dim) -> Map.add axis dim all)

    /// The network with other dimensions of some of its axes.
    let internal resized (dims: (Axis * int) list) (spec: Spec) : Spec = { spec with dims = withDims dims spec }

    /// The cores that are not fixed.
    let internal freeCores (spec: Spec) = spec.cores |> List.filter (PlanInput.isFixed >> not)

    /// m_k.
    let internal multiplicity (core: Core) (spec: Spec) : float = float (ownSize core spec)

    /// The product of the dimensions of some axes.
    let internal size (axes: Axis list) (spec: Spec) : int64 = axes |> List.fold (fun n axis -> n * int64 (dim axis spec)) 1L

    /// The name of the tensor that a core reads: a second copy, `A'`, reads the tensor of `A`.
    let internal original (name: string) =
        ArgumentNullException.ThrowIfNull(name, nameof name)
        name.TrimEnd '\''

    /// Two copies of a part of a network: the axes in `shared` carry one label in both copies, every other axis is renamed in the second.
    let internal doubled (cores: Core list) (shared: Set<Axis>) (output: Axis list) (spec: Spec) =
        let second axis = if shared.Contains axis then axis else Axis.primed axis

        let copies =
            cores
            |> List.collect (fun core -> [ core; { Name = core.Name + "'"; Axes = core.Axes |> List.map second } ])

        let carried = copies |> Seq.collect _.Axes |> Seq.distinct |> List.ofSeq

        let second =
            cores |> Seq.collect _.Axes |> Seq.map (fun axis -> Axis.primed axis, axis) |> Seq.distinct |> dict

        let dim axis =
            match second.TryGetValue axis with
            | true, first -> spec.dims[first]
            | _ -> spec.dims[axis]

        make (Map.ofList [ for axis in carried -> axis, dim axis ]) copies output

    /// A network with further cores and dimensions, and another output.
    let internal extended (dims: (Axis * int) list) (cores: Core list) (output: Axis list) (spec: Spec) =
        make (withDims dims spec) cores output

    let internal without (name: string) (spec: Spec) = spec.cores |> List.filter (fun core -> core.Name <> name)

    /// The axes of core k that its environment carries as well: those that occur elsewhere.
    let internal sharedAxes (core: Core) (spec: Spec) = core.Axes |> List.filter (fun axis -> (carriers axis spec).Length > 1)

    let private withCore name spec rewrite = tryCore name spec |> Result.map rewrite

    /// <summary>E_k, the network without core k. Its output: the axes that core k shares with other cores, in the core's order, then the
    /// open axes that core k does not carry.</summary>
    /// <remarks>Equivalent to: the environment paired with its core is T. Error: <c>UnknownCore</c>.</remarks>
    /// <example><code>Spec.environment "A" spec |> specOrStop // dr, tr -> rdt</code></example>
    let environment (core: string) (spec: Spec) : Result<Spec, SpecError list> =
        withCore core (Argument.given (nameof spec) spec) (fun core ->
            let rest = spec.output |> List.filter (fun axis -> not (List.contains axis core.Axes))

            make spec.dims (without core.Name spec) (sharedAxes core spec @ rest))

    /// <summary>The closed network whose value is ‖T‖².</summary>
    /// <example><code>Spec.normSq spec // of six cores</code></example>
    let normSq (spec: Spec) : Spec = doubled (Argument.given (nameof spec) spec).cores (Set.ofList spec.output) [] spec

    /// <summary>The Gram of E_k over the axes that core k shares: an open axis once (the Gram is diagonal along it), a bond twice, c and
    /// c'. Error: <c>UnknownCore</c>.</summary>
    /// <example><code>Spec.gram "A" spec |> specOrStop</code></example>
    let gram (core: string) (spec: Spec) : Result<Spec, SpecError list> =
        withCore core (Argument.given (nameof spec) spec) (fun core ->
            let shared = sharedAxes core spec

            let output =
                shared @ (shared |> List.filter (fun axis -> not (isOpen axis spec)) |> List.map Axis.primed)

            doubled (without core.Name spec) (Set.ofList spec.output) output spec)

    let private environmentNormSq (core: Core) (spec: Spec) : Spec =
        doubled (without core.Name spec) (Set.ofList (spec.output @ core.Axes)) [] spec

    /// <summary>The terms of the sensitivity S = Σ_k m_k ‖E_k‖²: for each core, m_k and the closed network whose value is ‖E_k‖².</summary>
    /// <remarks>Two copies of E_k in which the open axes and the axes of core k carry the same label in both.</remarks>
    /// <example><code>Spec.sensitivityTerms spec |> List.map fst // [ 4L; 9L; 5L ]</code></example>
    let sensitivityTerms (spec: Spec) : (int64 * Spec) list =
        List.map (fun core -> ownSize core spec, environmentNormSq core spec) (Argument.given (nameof spec) spec).cores

    /// The terms of S of the cores that are not fixed.
    let internal freeTerms (spec: Spec) : (float * Spec) list =
        freeCores spec |> List.map (fun core -> multiplicity core spec, environmentNormSq core spec)
