namespace TensorNets

open System.Collections.Generic
open TorchSharp

/// <summary>The interpreter: runs plans on tensors.</summary>
[<RequireQualifiedAccess>]
module Contraction =
    let private one (dtype: torch.ScalarType) (device: torch.Device) : Tensor = torch.ones ([||], dtype = dtype, device = device)

    /// The tensor of what stands beside the cores of a plan and has one of its own: an identity, or ones.
    let internal constant (dtype: torch.ScalarType) (device: torch.Device) (dim: Axis -> int) (input: PlanInput) : Tensor option =
        match input with
        | PlanInput.Identity axis -> Some(torch.eye (int64 (dim axis), dtype = dtype, device = device))
        | PlanInput.Ones axis -> Some(torch.ones ([| int64 (dim axis) |], dtype = dtype, device = device))
        | _ -> None

    /// A plan whose lists are arrays. Slots are its cores, then its steps.
    [<NoEquality; NoComparison>]
    type private Part =
        {
            Plan: Plan
            Cores: Core[]
            Steps: PlanStep[]
            Operations: StepOperation[]
        }

        member this.Last = this.Cores.Length + this.Steps.Length - 1

        /// The key of the step that makes the value of a slot; None of a core.
        member this.KeyOf(slot: int) = if slot < this.Cores.Length then None else Some this.Steps[slot - this.Cores.Length].Key

    /// How often each value that plans make is read, by the key of its step; what is found in the cache is not made.
    let private readings (cache: IntermediateCache option) (parts: Part list) : Dictionary<string, int> =
        let times = Dictionary<string, int>()
        let isFound key = cache |> Option.exists (fun cache -> (cache.Find key).IsSome)

        for part in parts do
            let rec count slot =
                if slot >= part.Cores.Length then
                    let step = part.Steps[slot - part.Cores.Length]

                    match times.TryGetValue step.Key with
                    | true, before -> times[step.Key] <- before + 1
                    | _ ->
                        times[step.Key] <- 1

                        if not (isFound step.Key) then
                            List.iter count step.Operands

            if part.Cores.Length > 0 then
                count part.Last

        times

    /// The values of slots while plans run. `readings`: how often each value that is made here is still read.
    [<Sealed>]
    type private Values(cache: IntermediateCache option, readings: Dictionary<string, int>, lookup: string -> Tensor) =
        let leaves = Dictionary<string, Tensor>()
        let values = Dictionary<string, Tensor>()

        let leaf name =
            match leaves.TryGetValue name with
            | true, tensor -> tensor
            | _ ->
                let tensor = HalfPrecision.widened (lookup name)
                leaves[name] <- tensor
                tensor

        /// The value has been read once more. What nobody reads any more is given back at once, so that a run holds no more than it needs
        /// next.
        member _.Release(key: string) : unit =
            readings[key] <- readings[key] - 1

            match values.TryGetValue key with
            | true, value when readings[key] = 0 ->
                values.Remove key |> ignore
                value.Dispose()
            | _ -> ()

        member this.Of(part: Part, slot: int) : Tensor =
            if slot < part.Cores.Length then
                leaf part.Cores[slot].Name
            else
                let place = slot - part.Cores.Length
                let step = part.Steps[place]

                match values.TryGetValue step.Key, cache |> Option.bind _.Find(step.Key) with
                | (true, found), _
                | _, Some found -> found
                | _ ->
                    let made =
                        StepExecution.run part.Operations[place] (step.Operands |> List.map (fun slot -> this.Of(part, slot)))

                    step.Operands |> List.choose part.KeyOf |> List.iter this.Release

                    match cache with
                    | Some cache when cache.Keep(step.Key, made) -> ()
                    | _ -> values[step.Key] <- made

                    made

    /// Throws where a plan makes a tensor that the memory of this machine does not hold.
    let private afford (plans: Plan list) (dtype: torch.ScalarType) =
        for plan in plans do
            Check.fits $"A tensor of {plan.Spec}" plan.LargestIntermediate dtype |> TensorNetError.raiseAny

    /// As `runMany`; what the cache holds is not computed again, and it takes what other plans need as well. Tensors of 16 bits are
    /// multiplied in float32 and results rounded once.
    let internal runKeeping
        (cache: IntermediateCache option)
        (plans: Plan list)
        (dtype: torch.ScalarType)
        (device: torch.Device)
        (lookup: string -> Tensor)
        : Tensor list =
        afford plans dtype
        use scope = torch.NewDisposeScope()

        let parts =
            [
                for plan in plans ->
                    {
                        Plan = plan
                        Cores = List.toArray plan.Spec.Cores
                        Steps = List.toArray plan.Steps
                        Operations = List.toArray plan.Operations
                    }
            ]

        let values = Values(cache, readings cache parts, lookup)

        // A permutation is a view: each result is a handle of its own, even where the same is asked for twice or a core itself is the
        // result.
        let result (part: Part) =
            let result = values.Of(part, part.Last).permute part.Plan.Final
            part.KeyOf part.Last |> Option.iter values.Release
            if HalfPrecision.is dtype then result.``to`` dtype else result

        [
            for part in parts -> (if part.Cores.Length = 0 then one dtype device else result part) |> scope.MoveToOuter
        ]

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
    /// <example><code>Contraction.run (Plan.make Order.Auto spec) cores</code></example>
    let run (plan: Plan) (cores: Map<string, Tensor>) : Tensor =
        Argument.notNull (nameof plan) plan

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
    /// <example><code>Contraction.reconstruct network // 4 × 9 × 5</code></example>
    let reconstruct (network: Network) : Tensor =
        Argument.notNull (nameof network) network
        runOn network [ Plan.make Order.Auto network.Spec ] |> List.head

    /// Plans on numbers with an exponent apart, in float64: every core and every intermediate is brought to a size of about one. What plans
    /// have in common is computed once.
    let internal runScaled (plans: Plan list) (device: torch.Device) (lookup: string -> ScaledTensor) : ScaledTensor list =
        afford plans torch.float64
        use scope = torch.NewDisposeScope()
        let leaves = Dictionary<string, ScaledTensor>()
        let values = Dictionary<string, ScaledTensor>()

        let once (found: Dictionary<string, ScaledTensor>) key (make: unit -> ScaledTensor) =
            match found.TryGetValue key with
            | true, value -> value
            | _ ->
                let value = ScaledTensor.normal (make ())
                found[key] <- value
                value

        [
            for plan in plans ->
                if plan.Spec.Cores.IsEmpty then
                    ScaledTensor.plain (one torch.float64 device |> scope.MoveToOuter)
                else
                    let slots = List<ScaledTensor>()

                    for core in plan.Spec.Cores do
                        slots.Add(once leaves core.Name (fun () -> lookup core.Name))

                    for step, operation in Seq.zip plan.Steps plan.Operations do
                        let operands = step.Operands |> List.map (fun slot -> slots[slot])

                        let make () =
                            {
                                Value = StepExecution.run operation (operands |> List.map _.Value)
                                Exponent = operands |> List.sumBy _.Exponent
                            }

                        slots.Add(once values step.Key make)

                    let last = slots[slots.Count - 1]
                    { last with Value = last.Value.permute plan.Final |> scope.MoveToOuter }
        ]

    /// ‖T‖ with an exponent apart; the caller's scope owns it.
    let internal scaledNorm (spec: Spec) (dtype: torch.ScalarType) (device: torch.Device) (lookup: string -> Tensor) : ScaledTensor =
        use scope = torch.NewDisposeScope()
        let plan = Plan.make Order.Auto (Spec.normSq spec)

        let square =
            NumberRange.choose
                spec
                dtype
                lookup
                (fun dtype lookup -> runMany [ plan ] dtype device lookup |> List.head |> ScaledTensor.plain)
                (fun lookup -> runScaled [ plan ] device (Spec.original >> lookup) |> List.head)

        let norm = ScaledTensor.sqrt square
        { norm with Value = scope.MoveToOuter norm.Value }

    let private normOf (network: Network) = scaledNorm network.Spec network.DType network.Device (Network.lookup network)

    /// <summary>‖T‖_F without forming T, in the dtype of the network. Differentiable in every core where T is not zero.</summary>
    /// <remarks>Rounding: relative error about 1e-8 where the terms of T cancel, since the square is what is summed. Right wherever the
    /// dtype holds it, also where its square or parts of it leave the range; <c>log10Norm</c> has no such end.</remarks>
    /// <exception cref="T:TensorNets.TensorNetException">The dtype does not hold it (<c>OutOfRange</c>, with its logarithm).</exception>
    /// <example><code>Contraction.norm network</code></example>
    let norm (network: Network) : Tensor =
        Argument.notNull (nameof network) network
        use scope = torch.NewDisposeScope()

        normOf network
        |> ScaledTensor.held "The norm" network.DType
        |> TensorNetError.raiseErrors
        |> scope.MoveToOuter

    /// <summary>log₁₀ ‖T‖_F, however large or small the norm is, in the dtype of the network. Differentiable in every core where T is not
    /// zero.</summary>
    /// <remarks>Minus infinity where T is zero.</remarks>
    /// <example><code>Contraction.log10Norm network</code></example>
    let log10Norm (network: Network) : Tensor =
        Argument.notNull (nameof network) network
        use scope = torch.NewDisposeScope()
        (ScaledTensor.log10 (normOf network)).``to`` network.DType |> scope.MoveToOuter
