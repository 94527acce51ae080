namespace TensorNets

open TorchSharp

/// Cores that least squares need not solve for, since another one carries all of their axes of dimension above one and can take their
/// entries over: those of modes of size 1 in CP. The networks over the other cores are the same.
[<NoEquality; NoComparison>]
type internal AbsorbedCores =
    {
        /// Each with the core that takes its entries over, in the order in which that is done.
        Pairs: (int * int) list
        /// The places of the cores that are left.
        Left: int list
        /// The network of those that are left: its output has lost axes of dimension 1.
        Spec: Spec
    }

[<RequireQualifiedAccess>]
module internal AbsorbedCores =
    let private wide (spec: Spec) (core: Core) = core.Axes |> List.filter (fun axis -> Spec.dim axis spec > 1)

    let find (spec: Spec) : AbsorbedCores =
        let free = spec.Cores |> List.indexed |> List.filter (fun (_, core) -> not (PlanInput.isFixed core))
        let wideOf = dict [ for i, core in free -> i, Set.ofList (wide spec core) ]

        let absorb (pairs, left: Set<int>) i =
            match left |> Seq.tryFind (fun j -> j <> i && wideOf[i].IsSubsetOf wideOf[j]) with
            | Some j -> (i, j) :: pairs, left.Remove i
            | None -> pairs, left

        let pairs, _ = (([], Set.ofSeq wideOf.Keys), List.map fst free) ||> List.fold absorb
        let gone = pairs |> List.map fst |> Set.ofList
        let left = [ 0 .. spec.Cores.Length - 1 ] |> List.filter (gone.Contains >> not)
        let cores = left |> List.map (fun i -> spec.Cores[i])
        let carried = cores |> List.collect _.Axes |> Set.ofList

        {
            Pairs = List.rev pairs
            Left = left
            Spec = Spec.make spec.Dims cores (spec.Output |> List.filter carried.Contains)
        }

    /// The places of cores of modes of size 1 that hang on one bond: another core can take over what they hold, and the gauge of that bond
    /// finds what S is least by, so that the correction need not move them otherwise.
    let onOneBond (spec: Spec) : Set<int> =
        (find spec).Pairs
        |> List.map fst
        |> List.filter (fun i ->
            match wide spec spec.Cores[i] with
            | [ axis ] -> not (Spec.isOpen axis spec)
            | _ -> false)
        |> Set.ofList

    /// A core's tensor in a shape that broadcasts against the axes of another core.
    let private broadcast (spec: Spec) (core: Core) (axes: Axis list) (tensor: Tensor) : Tensor =
        let own = wide spec core
        let order = axes |> List.filter (fun axis -> List.contains axis own)
        let places = order |> List.map (Axis.place own) |> List.toArray
        let shape = [| for axis in axes -> if List.contains axis own then int64 (Spec.dim axis spec) else 1L |]
        tensor.reshape([| for axis in own -> int64 (Spec.dim axis spec) |]).permute(places).reshape shape

    /// What sweeps over the cores that are left make of them, in place; those that are absorbed become ones, and T does not change by that.
    let over (spec: Spec) (cores: Tensor[]) (target: Tensor) (sweep: Spec -> Tensor -> Tensor[] -> 'T) : 'T =
        let absorbed = find spec

        if absorbed.Pairs.IsEmpty then
            sweep spec target cores
        else
            use scope = torch.NewDisposeScope()

            for i, j in absorbed.Pairs do
                let factor = broadcast spec spec.Cores[i] spec.Cores[j].Axes cores[i]
                Fit.replace scope cores j (cores[j].mul factor)
                Fit.replace scope cores i (torch.ones_like cores[i])

            let left = [| for i in absorbed.Left -> cores[i] |]

            try
                sweep absorbed.Spec (target.reshape (List.toArray (Spec.shape absorbed.Spec))) left
            finally
                absorbed.Left |> List.iteri (fun place i -> cores[i] <- left[place])
