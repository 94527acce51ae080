namespace TensorNets

open System
open System.Runtime.CompilerServices
open System.Runtime.InteropServices
open TorchSharp

/// The options of a dense embedding, which TorchSharp keeps to itself: they are read from what passes through the layer do.
[<RequireQualifiedAccess>]
module internal EmbeddingProbe =
    /// Padding rows that have been found: options are fixed when a layer is made.
    let private known = ConditionalWeakTable<Modules.Embedding, StrongBox<int64 option>>()

    /// The weight as a tensor of its own that records gradients, in the same memory; None: it was made in inference mode and cannot.
    let private recorded (weight: Tensor) : Tensor option =
        try
            Some(weight.detach().requires_grad_ true)
        with :? ExternalException ->
            None

    /// What autograd says of a tensor that was written to after it had been kept.
    let private isWritten (error: ExternalException) = error.Message.Contains("inplace operation", StringComparison.Ordinal)

    /// Whether a pass writes to the weight, as `max_norm` has it: a product that has kept the weight for its gradient says so. The row of
    /// the token that is passed is as it was afterwards.
    let private writes (dense: Modules.Embedding) (recorded: Tensor) : bool =
        let row = recorded.narrow (0L, 0L, 1L)
        let before = row.detach().clone()
        let product = row.mul(row).sum()
        dense.forward (torch.zeros ([| 1L |], dtype = torch.int64, device = row.device)) |> ignore

        try
            product.backward ()
            false
        with :? ExternalException as error when isWritten error ->
            use _ = torch.no_grad ()
            row.detach().copy_ before |> ignore
            true

    let private unsupported option found supported = Error [ TensorNetError.Unsupported(option, found, supported) ]

    /// The gradient of the sum of every row, token 0 and the last one taken twice. That of a padding row is zero.
    let private byGradient (dense: Modules.Embedding) : Result<int64 option, TensorNetError list> =
        let weight: Tensor = nonNull dense.weight
        let last = weight.shape[0] - 1L
        let tokens = torch.arange (weight.shape[0], dtype = torch.int64, device = weight.device)
        let twice = torch.cat ([| tokens; tokens.narrow (0L, 0L, 1L); tokens.narrow (0L, last, 1L) |], 0L)
        let rows = dense.forward twice
        let gradient: Tensor = (torch.autograd.grad ([| rows.sum () |], [| weight |]))[0]

        if gradient.is_sparse then
            unsupported "sparse" "true" "false: the gradients of cores are dense"
        else
            let counts = gradient.select (1L, 0L)
            let padded = counts.eq(0.0.ToScalar()).nonzero().reshape -1L
            let most = counts.max().``to``(torch.float64).number()

            // A table of one row that is padding has no gradient at all.
            if most = 1.0 then
                unsupported "scale_grad_by_freq" "true" "false: a core's gradient sums over many rows"
            elif padded.numel () = 0L then
                Ok None
            else
                Ok(Some(padded.integer ()))

    let private probed (dense: Modules.Embedding) : Result<int64 option, TensorNetError list> =
        use _ = Mode.left ()
        use _ = torch.enable_grad ()
        use _ = torch.NewDisposeScope()
        let own: Tensor = nonNull dense.weight

        try
            match recorded own with
            | None -> Ok None
            | Some weight when writes dense weight -> unsupported "max_norm" "given" "none: cores have no rows whose norms could be bounded"
            | _ when own.requires_grad -> byGradient dense
            | _ -> Ok None
        with :? ExternalException as error ->
            let said = error.Message.Split('\n')[0]
            unsupported "The embedding" $"one that libtorch refuses: {said}" "one that takes every token of its vocabulary"

    /// The token whose row has no gradient. Errors: `Unsupported` for `max_norm`, `scale_grad_by_freq` and `sparse`, which no factorized
    /// layer has, and for a layer through which no token passes. Of a frozen layer and of one made in inference mode `max_norm` alone is
    /// seen: nothing else matters there.
    let paddingIdx (dense: Modules.Embedding) (weight: Tensor) : Result<int64 option, TensorNetError list> =
        match known.TryGetValue dense with
        | true, found -> Ok found.Value
        | _ ->
            let found = probed dense

            match found with
            // What is frozen now may be trained later.
            | Ok padding when weight.requires_grad -> known.AddOrUpdate(dense, StrongBox padding)
            | _ -> ()

            found
