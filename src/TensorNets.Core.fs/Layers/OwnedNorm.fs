namespace TensorNets

open TorchSharp

/// The norm in which a layer's S is measured, and S in it. Owns a copy of Σ and its roots.
[<Sealed>]
type internal OwnedNorm(spec: Spec) =
    let unweighted = lazy Sensitivity.plan spec
    let mutable norm = Norm.Frobenius
    let mutable whitening: (WhitenedNorm * SensitivityPlan) option = None

    /// Frobenius again; Σ and its roots are disposed.
    member _.Reset() =
        match norm, whitening with
        | Norm.Weighted(_, covariance), Some(w, _) ->
            for tensor in [ covariance; w.Root; w.Inverse ] do
                tensor.Dispose()
        | _ -> ()

        norm <- Norm.Frobenius
        whitening <- None

    member _.Norm = norm

    /// Σ is copied. An error changes nothing.
    member this.TrySet(given: Norm) : Result<unit, TensorNetError list> =
        use _ = Mode.left ()
        use _ = torch.no_grad ()
        use scope = torch.NewDisposeScope()

        WhitenedNorm.create given spec
        |> Result.map (fun made ->
            this.Reset()

            match given, made with
            | Norm.Weighted(modes, covariance), Some w ->
                let own: Tensor = scope.Detach(covariance.detach().clone())
                norm <- Norm.Weighted(modes, own)
                let w = { w with Root = scope.Detach w.Root; Inverse = scope.Detach w.Inverse }
                whitening <- Some(w, Sensitivity.plan w.Spec)
            | _ -> ())

    /// S of the cores by name: a differentiable scalar in their dtype, which may not hold it (`OutOfRange`).
    member _.Sensitivity(dtype: torch.ScalarType, device: torch.Device, lookup: string -> Tensor) : Tensor =
        use scope = torch.NewDisposeScope()

        match whitening with
        | None -> Sensitivity.tryTotal unweighted.Value dtype device lookup
        | Some(w, plan) -> Sensitivity.whitenedTotal w plan dtype device lookup
        |> TensorNetError.raiseErrors
        |> scope.MoveToOuter
