namespace TensorNets

open System.Collections.Generic
open TorchSharp

/// <summary>The interpreter: runs plans on tensors.</summary>
[<RequireQualifiedAccess>]
module Contraction =
    let private one (dtype: torch.ScalarType) (device: torch.Device) : Tensor = torch.ones ([||], dtype = dtype, device = device)

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

    /// Dot products are made in pieces of about so many entries of the left operand, so that no second tensor of the size of a large
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
    let internal execute (operation: StepOperation) (operands: Tensor list) : Tensor =
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

    /// As `runMany`; what `kept` holds is not computed again, and it takes what other plans need as well. Tensors of 16 bits are multiplied
    /// in float32 and results rounded once.
    let internal runKeeping
        (kept: IntermediateCache option)
        (plans: Plan list)
        (dtype: torch.ScalarType)
        (device: torch.Device)
        (lookup: string -> Tensor)
        =
        use scope = torch.NewDisposeScope()
        let leaves = Dictionary<string, Tensor>()
        let values = Dictionary<string, Tensor>()
        /// How often a value that is made here is still read.
        let readings = Dictionary<string, int>()
        let isKept key = kept |> Option.exists (fun kept -> (kept.Find key).IsSome)

        let parts =
            [
                for plan in plans ->
                    {|
                        Plan = plan
                        Cores = List.toArray plan.Spec.Cores
                        Steps = List.toArray plan.Steps
                        Operations = List.toArray plan.Operations
                    |}
            ]

        for part in parts do
            let rec count slot =
                if slot >= part.Cores.Length then
                    let step = part.Steps[slot - part.Cores.Length]

                    match readings.TryGetValue step.Key with
                    | true, times -> readings[step.Key] <- times + 1
                    | _ ->
                        readings[step.Key] <- 1

                        if not (isKept step.Key) then
                            List.iter count step.Operands

            if part.Cores.Length > 0 then
                count (part.Cores.Length + part.Steps.Length - 1)

        let leaf name =
            match leaves.TryGetValue name with
            | true, tensor -> tensor
            | _ ->
                let tensor = HalfPrecision.widened (lookup name)
                leaves[name] <- tensor
                tensor

        // What nobody reads any more is given back at once, so that a run holds no more than it needs next.
        let release (key: string) =
            readings[key] <- readings[key] - 1

            match values.TryGetValue key with
            | true, value when readings[key] = 0 ->
                values.Remove key |> ignore
                value.Dispose()
            | _ -> ()

        let results =
            [
                for part in parts ->
                    let keyOf slot = if slot < part.Cores.Length then None else Some part.Steps[slot - part.Cores.Length].Key

                    let rec value slot : Tensor =
                        if slot < part.Cores.Length then
                            leaf part.Cores[slot].Name
                        else
                            let place = slot - part.Cores.Length
                            let step = part.Steps[place]

                            match values.TryGetValue step.Key, kept |> Option.bind _.Find(step.Key) with
                            | (true, found), _
                            | _, Some found -> found
                            | _ ->
                                let made = execute part.Operations[place] (step.Operands |> List.map value)
                                step.Operands |> List.choose keyOf |> List.iter release

                                match kept with
                                | Some kept when kept.Keep(step.Key, made) -> ()
                                | _ -> values[step.Key] <- made

                                made

                    if part.Cores.Length = 0 then
                        one dtype device |> scope.MoveToOuter
                    else
                        let last = part.Cores.Length + part.Steps.Length - 1
                        // A permutation is a view: each result is a handle of its own, even where the same is asked for twice or a core
                        // itself is the result.
                        let result = (value last).permute part.Plan.Final
                        keyOf last |> Option.iter release
                        scope.MoveToOuter(if HalfPrecision.is dtype then result.``to`` dtype else result)
            ]

        results

    /// Runs several plans that read the same tensors; what they have in common is computed once. The results are owned by the caller's
    /// scope.
    let internal runMany (plans: Plan list) (dtype: torch.ScalarType) (device: torch.Device) (lookup: string -> Tensor) : Tensor list =
        runKeeping None plans dtype device lookup

    /// What keeps tensors from being the cores of a plan: the products of libtorch that they would reach end the process where dtypes
    /// differ.
    let private misfits (plan: Plan) (cores: Map<string, Tensor>) : TensorNetError list =
        let first = Seq.tryHead cores |> Option.map _.Value

        [
            for core in plan.Spec.Cores |> List.distinctBy (fun core -> Spec.original core.Name) do
                let name = Spec.original core.Name

                match Map.tryFind name cores, first with
                | Some tensor, Some first ->
                    match Check.readable $"Core '{name}'" tensor @ Check.readable "The first core" first with
                    | [] ->
                        let expected = Spec.coreShape core plan.Spec

                        if Check.shapeOf tensor <> expected then
                            TensorNetError.CoreShape(name, Check.shapeOf tensor, expected)

                        if not (tensor.is_floating_point ()) then
                            TensorNetError.DType($"Core '{name}'", string tensor.dtype, "a floating-point one")
                        elif tensor.dtype <> first.dtype then
                            TensorNetError.CoreDType(name, string tensor.dtype, string first.dtype)

                        if string tensor.device <> string first.device then
                            TensorNetError.CoreDevice(name, string tensor.device, string first.device)
                    | errors -> yield! errors
                | _ -> TensorNetError.MissingCore name
        ]

    /// <summary>The tensor of a plan's network. Differentiable in every core.</summary>
    /// <param name="plan">The order of contraction.</param>
    /// <param name="cores">The tensor of each core by name; a second copy, `A'`, reads the tensor of `A`.</param>
    /// <exception cref="T:TensorNets.TensorNetException">Lists every core that is missing, or whose shape, dtype or device is another than
    /// that of the plan or of the first one.</exception>
    let run (plan: Plan) (cores: Map<string, Tensor>) : Tensor =
        match misfits plan cores with
        | [] ->
            let dtype, device =
                match Seq.tryHead cores with
                | Some first -> first.Value.dtype, first.Value.device
                | None -> torch.float64, torch.CPU

            runMany [ plan ] dtype device (fun name -> cores[Spec.original name]) |> List.head
        | errors -> TensorNetError.raiseErrors (Error errors)

    let internal runOn (network: Network) (plans: Plan list) : Tensor list =
        runMany plans network.DType network.Device (Network.lookup network)

    /// <summary>T, in the order of the spec's output. Differentiable in every core.</summary>
    let reconstruct (network: Network) : Tensor = runOn network [ Plan.make Order.Auto network.Spec ] |> List.head

    /// <summary>‖T‖_F without forming T, in the dtype of the network. Differentiable in every core where T is not zero.</summary>
    /// <remarks>Rounding: relative error about 1e-8 where the terms of T cancel, since the square is what is summed.</remarks>
    let norm (network: Network) : Tensor =
        let plan = Plan.make Order.Auto (Spec.normSq network.Spec)

        HalfPrecision.rounding network.DType (Network.lookup network) (fun dtype lookup ->
            use scope = torch.NewDisposeScope()
            let square = runMany [ plan ] dtype network.Device lookup |> List.head
            square.maximum(Num.like square 0.0).sqrt() |> scope.MoveToOuter)
