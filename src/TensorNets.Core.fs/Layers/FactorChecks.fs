namespace TensorNets

open System.Collections.Generic

/// What is wrong with tensors that are to become the cores of a layer.
[<RequireQualifiedAccess>]
module internal FactorChecks =
    let private miscounted (spec: Spec) (count: int) : TensorNetError list =
        [
            if count < spec.Cores.Length then
                for core in List.skip count spec.Cores do
                    TensorNetError.MissingCore core.Name
            for i in spec.Cores.Length .. count - 1 do
                TensorNetError.UnknownCore(Spec.positionName i, spec.Cores |> List.map _.Name)
        ]

    let private misfits (spec: Spec) (core: Core) (factor: Tensor) (parameter: Tensor) : TensorNetError list =
        let expected = Spec.coreShape core spec

        [
            if Check.shapeOf factor <> expected then
                TensorNetError.CoreShape(core.Name, Check.shapeOf factor, expected)

            if factor.dtype <> parameter.dtype then
                TensorNetError.CoreDType(core.Name, string factor.dtype, string parameter.dtype)

            yield! Check.finite $"Core '{core.Name}'" factor |> List.filter (fun e -> not e.IsDType)
        ]

    /// Every core missing or too many, and every tensor whose shape or dtype is not the parameter's or whose numbers cannot be read.
    let errors (spec: Spec) (parameter: string -> Tensor) (factors: IReadOnlyList<Tensor>) : TensorNetError list =
        miscounted spec factors.Count
        @ [
            for core, factor in Seq.zip spec.Cores factors do
                match Check.readable $"Core '{core.Name}'" factor with
                | [] -> yield! misfits spec core factor (parameter core.Name)
                | errors -> yield! errors
        ]
