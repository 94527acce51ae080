namespace TensorNets

open System
open System.Collections.Generic
open TorchSharp

/// A weight and copies of the cores that it was made from.
type private CachedWeight = { Cores: Tensor[]; Weight: Tensor; Inference: bool }

/// <summary>Weights of a layer whose cores need no gradient, as they are applied; each is made anew when a core of it has
/// changed.</summary>
/// <remarks>TorchSharp does not show the version counters of tensors, so cores are held against copies of them, bit for bit, at every use:
/// p entries are read twice, which is little beside making the weight, and a change by any way is seen.</remarks>
[<Sealed>]
type internal WeightCache() =
    let kept = Dictionary<string, CachedWeight>()

    let free (k: CachedWeight) =
        k.Weight.Dispose()

        for tensor in k.Cores do
            tensor.Dispose()

    let drop () =
        Seq.iter free kept.Values
        kept.Clear()

    let same (a: Tensor) (b: Tensor) =
        if a.dtype <> b.dtype || a.device_type <> b.device_type || a.device_index <> b.device_index then
            false
        elif a.device_type = DeviceType.META then
            // There are no numbers to compare.
            false
        elif
            a.device_type = DeviceType.CPU
            && a.is_contiguous ()
            && b.is_contiguous ()
            && a.numel () * a.element_size () <= int64 Int32.MaxValue
        then
            let equal = MemoryExtensions.SequenceEqual(a.bytes, Span.op_Implicit b.bytes)
            GC.KeepAlive a
            GC.KeepAlive b
            equal
        else
            use _ = torch.NewDisposeScope()
            a.shape = b.shape && a.eq(b).all().truth()

    // Tensors made in inference mode cannot take part in what records gradients.
    let fits (cores: Tensor[]) (k: CachedWeight) = k.Inference = torch.is_inference_mode_enabled () && Array.forall2 same cores k.Cores

    /// The weight of a key, made of the cores given if need be: a handle that the caller's scope owns. Layers may be applied on several
    /// threads at once.
    member _.Take(key: string, cores: Tensor[], make: unit -> Tensor) : Tensor =
        lock kept (fun () ->
            match kept.TryGetValue key with
            | true, k when fits cores k -> k.Weight.alias ()
            | found, old ->
                // Gone before the next is made, which may fail.
                if found then
                    kept.Remove key |> ignore
                    free old

                use _ = torch.no_grad ()
                use scope = torch.NewDisposeScope()
                let weight = make ()

                kept[key] <-
                    {
                        Cores = [| for core in cores -> scope.Detach(core.detach().clone()) |]
                        Weight = scope.Detach(weight.detach ())
                        Inference = torch.is_inference_mode_enabled ()
                    }

                scope.MoveToOuter weight)

    /// Frees the weights.
    member _.Drop() : unit = lock kept drop

/// What a layer is applied with: cores by name, the bias, and a cache of weights where no core needs a gradient.
[<NoEquality; NoComparison>]
type internal LayerWeights = { Cache: WeightCache option; Lookup: string -> Tensor; Bias: Tensor | null }
