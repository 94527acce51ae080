namespace TensorNets

open System.Collections.Generic
open TorchSharp

/// <summary>The interpreter: runs plans on tensors.</summary>
[<RequireQualifiedAccess>]
module Contraction =
    let private one (dtype: torch.ScalarType) (device: torch.Device) : Tensor = torch.ones ([||], dtype = dtype, device = device)

    let private arranged (operand: Operand) (tensor: Tensor) =
        let ordered =
            match operand.Permute with
            | Some order -> tensor.permute order
            | None -> tensor

        let shaped =
            match operand.Shape with
            | Some shape -> ordered.reshape shape
            | None -> ordered

        if operand.Transposed then shaped.mT else shaped

    /// One step. Beside the result it makes views, and at most one tensor of the size of each operand.
    let internal execute (kernel: Kernel) (operands: Tensor list) : Tensor =
        match kernel, operands with
        | Kernel.Sum places, [ a ] -> a.sum places
        | Kernel.Entrywise(left, right), [ a; b ] -> (arranged left a).mul(arranged right b)
        | Kernel.Dot(left, right), [ a; b ] -> (arranged left a).dot(arranged right b)
        | Kernel.Dots(right, places), [ a; b ] -> a.mul(arranged right b).sum places
        | Kernel.Matrices(left, right, shape, turned), [ a; b ] ->
            let a, b = if turned then b, a else a, b
            let product = (arranged left a).matmul(arranged right b)

            match shape with
            | Some shape -> product.reshape shape
            | None -> product
        | _ -> invalidArg (nameof operands) $"{operands.Length} operands do not fit %A{kernel}."

    /// The cores that each slot of a plan is made from.
    let private reads (plan: Plan) =
        let slots =
            List<Set<string>>(plan.Spec.Cores |> List.map (fun core -> Set.singleton (Spec.original core.Name)))

        for step in plan.Steps do
            slots.Add(step.Operands |> List.map (fun slot -> slots[slot]) |> Set.unionMany)

        slots

    /// As `runMany`; what `kept` holds is not computed again, and it takes what other plans need as well.
    let internal runKeeping
        (kept: Kept option)
        (plans: Plan list)
        (dtype: torch.ScalarType)
        (device: torch.Device)
        (lookup: string -> Tensor)
        =
        use scope = torch.NewDisposeScope()
        let cache = Dictionary<string, Tensor>()

        let cached key (made: unit -> Set<string>) make =
            match cache.TryGetValue key, kept |> Option.bind _.Find(key) with
            | (true, value), _
            | _, Some value -> value
            | _ ->
                let value: Tensor = make ()
                cache[key] <- value
                kept |> Option.iter _.Keep(key, made (), value)
                value

        let run (plan: Plan) =
            let slots = List<Tensor>(plan.Spec.Cores |> List.map (fun core -> lookup core.Name))
            let reads = lazy (reads plan)

            List.iter2
                (fun (step: PlanStep) kernel ->
                    let made () = reads.Value[slots.Count]
                    slots.Add(cached step.Key made (fun () -> execute kernel (step.Operands |> List.map (fun slot -> slots[slot])))))
                plan.Steps
                plan.Kernels

            if slots.Count = 0 then one dtype device else slots[slots.Count - 1].permute plan.Final

        // A permutation is a view: each result is a handle of its own, even where the same is asked for twice or a core itself is the result.
        plans |> List.map (fun plan -> run plan |> scope.MoveToOuter)

    /// Runs several plans that read the same tensors; what they have in common is computed once. The results are owned by the caller's scope.
    let internal runMany (plans: Plan list) (dtype: torch.ScalarType) (device: torch.Device) (lookup: string -> Tensor) : Tensor list =
        runKeeping None plans dtype device lookup

    /// <summary>The tensor of a plan's network. Differentiable in every core.</summary>
    /// <param name="plan">The order of contraction.</param>
    /// <param name="cores">The tensor of each core by name; a second copy, `A'`, reads the tensor of `A`.</param>
    let run (plan: Plan) (cores: Map<string, Tensor>) : Tensor =
        let first = (Seq.head cores).Value
        runMany [ plan ] first.dtype first.device (fun name -> cores[Spec.original name]) |> List.head

    let internal runOn (network: Network) (plans: Plan list) : Tensor list =
        runMany plans network.DType network.Device (Network.lookup network)

    /// <summary>T, in the order of the spec's output. Differentiable in every core.</summary>
    let reconstruct (network: Network) : Tensor = runOn network [ Plan.make Order.Auto network.Spec ] |> List.head

    /// <summary>‖T‖_F without forming T. Differentiable in every core where T is not zero.</summary>
    /// <remarks>Rounding: relative error about 1e-8 where the terms of T cancel, since the square is what is summed.</remarks>
    let norm (network: Network) : Tensor =
        use scope = torch.NewDisposeScope()
        let square = runOn network [ Plan.make Order.Auto (Spec.normSq network.Spec) ] |> List.head
        square.maximum(Num.tensor 0.0).sqrt() |> scope.MoveToOuter
