namespace TensorNets

open System
open System.Collections.Generic
open TorchSharp

/// <summary>A network with numbers: a <c>Spec</c> and one tensor for each core.</summary>
/// <remarks>Whoever creates a network disposes it; that disposes its tensors. The tensors are not copied, so that those of a layer stay its
/// parameters.</remarks>
[<Sealed>]
type Network internal (spec: Spec, tensors: Tensor[]) =
    let index = spec.Cores |> List.mapi (fun i core -> core.Name, i) |> dict

    let alive (tensor: Tensor) : Tensor =
        if tensor.IsInvalid then
            TensorNetError.raiseErrors (Error [ TensorNetError.Disposed "The network" ])

        tensor

    /// The network without numbers.
    member _.Spec = spec

    /// The tensors of the cores, in the order of the spec.
    member _.Cores: IReadOnlyList<Tensor> =
        for tensor in tensors do
            alive tensor |> ignore

        tensors

    /// The tensor of the core of that name.
    member _.Item
        with get (core: string) =
            match index.TryGetValue core with
            | true, i -> alive tensors[i]
            | _ -> invalidArg (nameof core) (TensorNetError.UnknownCore(core, spec.Cores |> List.map _.Name)).Message

    /// The dtype of the cores.
    member _.DType = (alive tensors[0]).dtype
    /// The device of the cores.
    member _.Device = (alive tensors[0]).device

    interface IDisposable with
        member _.Dispose() =
            for tensor in tensors do
                tensor.Dispose()

/// Networks of tensors: checked, random, copied.
[<RequireQualifiedAccess>]
module Network =
    /// The tensor of a core, or of the original of a second copy.
    let internal lookup (network: Network) (core: string) = network[Spec.original core]

    /// <summary>A network of the given tensors, checked: one tensor for every core, of its shape, all of one dtype and device, all
    /// finite.</summary>
    /// <example><code>Network.create spec [ for core in spec.Cores -> core.Name, network[core.Name].clone () ] |> orStop</code></example>
    let create (spec: Spec) (cores: (string * Tensor) seq) : Result<Network, TensorNetError list> =
        Argument.notNull (nameof spec) spec
        let given = List.ofSeq cores
        let known = spec.Cores |> List.map _.Name

        let errors =
            [
                for name, _ in given do
                    if not (List.contains name known) then
                        TensorNetError.UnknownCore(name, known)
                for name, count in List.countBy fst given do
                    if count > 1 then
                        TensorNetError.Spec(SpecError.DuplicateCore name)
                for core in spec.Cores do
                    match List.tryFind (fun (name, _) -> name = core.Name) given with
                    | None -> TensorNetError.MissingCore core.Name
                    | Some(_, tensor) when not (Check.readable $"Core '{core.Name}'" tensor).IsEmpty ->
                        yield! Check.readable $"Core '{core.Name}'" tensor
                    | Some(_, tensor) ->
                        let expected = Spec.coreShape core spec

                        if Check.shapeOf tensor <> expected then
                            TensorNetError.CoreShape(core.Name, Check.shapeOf tensor, expected)

                        match snd given.Head with
                        | first when (Check.readable "The first core" first).IsEmpty ->
                            if Check.isReal first && Check.isReal tensor && tensor.dtype <> first.dtype then
                                TensorNetError.CoreDType(core.Name, string tensor.dtype, string first.dtype)

                            if string tensor.device <> string first.device then
                                TensorNetError.CoreDevice(core.Name, string tensor.device, string first.device)
                        | _ -> ()

                        yield! Check.finite $"Core '{core.Name}'" tensor
            ]

        if errors.IsEmpty then
            let tensors = known |> List.map (fun name -> given |> List.find (fun (n, _) -> n = name) |> snd)

            Ok(new Network(spec, List.toArray tensors))
        else
            Error errors

    /// Throws where a network cannot be of a dtype.
    let private hold (dtype: torch.ScalarType) = Check.floating "The network" dtype |> TensorNetError.raiseAny

    /// <summary>A network of white noise from a seed, scaled so that the entries of its tensor have variance 1.</summary>
    /// <remarks>The variance of an entry of T is the number of terms it sums times the product of the cores' variances.</remarks>
    /// <exception cref="T:TensorNets.TensorNetException">The dtype is none of real numbers (<c>DType</c>), or the cores are larger than the
    /// memory of this machine (<c>TooLarge</c>).</exception>
    /// <param name="dtype">Float64, Float32, BFloat16 or Float16.</param>
    /// <param name="seed">The seed of the noise.</param>
    /// <param name="spec">The network.</param>
    /// <example><code>Network.random torch.float32 1UL spec</code></example>
    let random (dtype: torch.ScalarType) (seed: uint64) (spec: Spec) : Network =
        Argument.notNull (nameof spec) spec
        hold dtype
        Check.fits "The network" (float (Spec.parameters spec)) torch.float64 |> TensorNetError.raiseAny
        use _ = Mode.left ()
        use scope = torch.NewDisposeScope()
        use generator = new torch.Generator(seed)

        let terms = Spec.bonds spec |> List.fold (fun n axis -> n * float (Spec.dim axis spec)) 1.0

        let scale = Math.Pow(terms, -0.5 / float spec.Cores.Length)

        let tensors =
            [|
                for core in spec.Cores ->
                    let shape = Spec.coreShape core spec |> List.toArray

                    (Fresh.noise generator torch.float64 torch.CPU shape).mul(Num.tensor scale).``to``(dtype)
                    |> scope.MoveToOuter
            |]

        new Network(spec, tensors)

    /// <summary>A copy of a network, detached, in the given dtype. Nothing is shared with the original.</summary>
    /// <exception cref="T:TensorNets.TensorNetException">The dtype is none of real numbers (<c>DType</c>).</exception>
    /// <param name="dtype">Float64, Float32, BFloat16 or Float16.</param>
    /// <param name="network">The network.</param>
    /// <example><code>Network.copyAs torch.float32 network</code></example>
    let copyAs (dtype: torch.ScalarType) (network: Network) : Network =
        Argument.notNull (nameof network) network
        hold dtype
        use _ = Mode.left ()
        use scope = torch.NewDisposeScope()

        let copies =
            [| for tensor in network.Cores -> tensor.detach().``to``(dtype, copy = true) |> scope.MoveToOuter |]

        new Network(network.Spec, copies)

    /// <summary>A copy of a network, detached. Nothing is shared with the original.</summary>
    /// <example><code>Network.copy network</code></example>
    let copy (network: Network) : Network =
        Argument.notNull (nameof network) network
        copyAs network.DType network
