namespace TensorNets

open System
open TorchSharp

/// A dense weight and copies of the cores that it was rebuilt from.
type private KeptWeight = { Cores: Tensor list; Weight: Tensor; Inference: bool }

/// <summary>The dense weight of a layer whose cores need no gradient, rebuilt when a core has changed.</summary>
/// <remarks>TorchSharp does not show the version counters of tensors, so the cores are held against copies of them, bit for bit, at every use: p entries are
/// read twice, which is little beside the rebuilding, and a change by any way is seen.</remarks>
[<Sealed>]
type internal WeightCache() =
    let gate = obj ()
    let mutable kept: KeptWeight option = None

    let drop () =
        match kept with
        | Some k ->
            for tensor in k.Weight :: k.Cores do
                tensor.Dispose()

            kept <- None
        | None -> ()

    let same (a: Tensor) (b: Tensor) =
        if a.dtype <> b.dtype || a.device_type <> b.device_type || a.device_index <> b.device_index then
            false
        elif a.device_type = DeviceType.META then
            // There are no numbers to compare.
            false
        elif a.device_type = DeviceType.CPU && a.is_contiguous () && b.is_contiguous () then
            let equal = MemoryExtensions.SequenceEqual(a.bytes, Span.op_Implicit b.bytes)
            GC.KeepAlive a
            GC.KeepAlive b
            equal
        else
            use _ = torch.NewDisposeScope()
            a.shape = b.shape && a.eq(b).all().truth()

    // Tensors made in inference mode cannot take part in what records gradients.
    let fits (cores: Tensor list) (k: KeptWeight) =
        (not k.Inference || torch.is_inference_mode_enabled ()) && List.forall2 same cores k.Cores

    /// The weight, rebuilt if need be: a handle that the caller's scope owns. Layers may be applied on several threads at once.
    member _.Take(cores: Tensor list, rebuild: unit -> Tensor) : Tensor =
        lock gate (fun () ->
            match kept with
            | Some k when fits cores k -> k.Weight.alias ()
            | _ ->
                drop ()
                use _ = torch.no_grad ()
                use scope = torch.NewDisposeScope()
                let weight = rebuild ()

                kept <-
                    Some
                        {
                            Cores = [ for core in cores -> scope.Detach(core.detach().clone()) ]
                            Weight = scope.Detach(weight.detach ())
                            Inference = torch.is_inference_mode_enabled ()
                        }

                scope.MoveToOuter weight)

    /// Frees the weight.
    member _.Drop() : unit = lock gate drop
