namespace TensorNets

open TorchSharp

/// The factorized layers of a model.
[<RequireQualifiedAccess>]
module internal FactorizedLayers =
    /// Each with its first path; the model itself, at the empty path, if it is one.
    let all (model: torch.nn.Module) : (string * FactorizedLayer) list =
        ("", model) :: ModulePath.all model
        |> List.choose (fun (path, m) ->
            match m with
            | :? FactorizedLayer as layer -> Some(path, layer)
            | _ -> None)
        |> List.distinctBy (fun (_, layer) -> LanguagePrimitives.PhysicalHash layer)
