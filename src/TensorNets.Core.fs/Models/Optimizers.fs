namespace TensorNets

open System
open System.Collections.Generic
open System.Reflection
open TorchSharp
open TorchSharp.Utils

/// <summary>Optimizers made before a layer was replaced: the parameters of the new layer in the place of those of the old one.</summary>
/// <remarks>An optimizer has a state for each parameter that it was made with. Of the new ones it knows nothing: its next step throws a
/// KeyNotFoundException where its groups list the parameters of the model anew (<c>Adam(model.parameters())</c>), and otherwise goes on
/// with those of the layer that is gone and trains no core.</remarks>
[<RequireQualifiedAccess>]
module Optimizers =
    let private instance = BindingFlags.Instance ||| BindingFlags.NonPublic

    /// The parameter that a state belongs to, and the table of states by handle: TorchSharp shows neither.
    let private parameterOf =
        typeof<Modules.OptimizerState>.GetField("_parameter", instance) |> Option.ofObj

    let private tableOf = typeof<Modules.OptimizerHelper>.GetField("_state", instance) |> Option.ofObj

    /// An optimizer's groups and states, as TorchSharp keeps them.
    type private Inside =
        {
            Groups: IList<Modules.ParamGroup>
            States: OrderedDict<nativeint, Modules.OptimizerState>
            Parameter: Modules.OptimizerState -> obj | null
        }

    let private inside (optimizer: torch.optim.Optimizer) : Result<Inside, TensorNetError list> =
        let states =
            match optimizer with
            | :? Modules.OptimizerHelper -> tableOf |> Option.map _.GetValue(optimizer)
            | _ -> None

        match box optimizer.ParamGroups, states, parameterOf with
        | :? IList<Modules.ParamGroup> as groups, Some(:? OrderedDict<nativeint, Modules.OptimizerState> as states), Some field when
            not groups.IsReadOnly
            ->
            Ok { Groups = groups; States = states; Parameter = field.GetValue }
        | _ ->
            let found = optimizer.GetType().Name

            Error
                [
                    TensorNetError.Unsupported("optimizer", found, "one with groups of parameters that can be changed; make a new one")
                ]

    let private knows (inside: Inside) (p: Modules.Parameter) =
        match inside.States.TryGetValue p.Handle with
        | true, state -> Object.ReferenceEquals(inside.Parameter state, p)
        | _ -> false

    /// Gives the optimizer states for fresh parameters of a group. It makes them for a group that is added, which itself is not needed.
    let private admit (optimizer: torch.optim.Optimizer) (inside: Inside) (group: Modules.ParamGroup) (fresh: Modules.Parameter list) =
        let initial = group.Options.InitialLearningRate
        optimizer.add_param_group (Modules.ParamGroup(Parameters = fresh, Options = group.Options))
        inside.Groups.RemoveAt(inside.Groups.Count - 1)
        // Schedules of the learning rate start from it.
        group.Options.InitialLearningRate <- initial

    /// Frees the states of parameters that are in no group any more; a state keeps its parameter alive.
    let private forget (inside: Inside) =
        let held =
            HashSet<obj>(inside.Groups |> Seq.collect _.Parameters |> Seq.cast<obj>, HashIdentity.Reference)

        for handle in List.ofSeq (inside.States.keys ()) do
            match inside.States.TryGetValue handle with
            | true, state when not (isNull (inside.Parameter state) || held.Contains(nonNull (inside.Parameter state))) ->
                inside.States.Remove handle |> ignore

                match box state with
                | :? IDisposable as disposable -> disposable.Dispose()
                | _ -> ()
            | _ -> ()

    /// Puts parameters in the place of others wherever a group has these, and gives a state to what a group has without one: a group may
    /// list the parameters of a model anew at every step. Says how many have entered.
    let private substitute
        (places: (Modules.Parameter * Modules.Parameter list) list)
        (optimizer: torch.optim.Optimizer)
        : Result<int, TensorNetError list> =
        inside optimizer
        |> Result.map (fun inside ->
            let successors = Dictionary<Modules.Parameter, Modules.Parameter list>(HashIdentity.Reference)

            for old, fresh in places do
                successors[old] <- fresh |> List.filter _.requires_grad

            let mutable entered = 0

            for group in List.ofSeq inside.Groups do
                let before = List.ofSeq group.Parameters

                let next =
                    before
                    |> List.collect (fun p ->
                        match successors.TryGetValue p with
                        | true, fresh -> fresh
                        | _ -> [ p ])

                let fresh = next |> List.filter (knows inside >> not)

                if not fresh.IsEmpty then
                    admit optimizer inside group fresh

                if before |> List.exists successors.ContainsKey then
                    group.Parameters <- next

                entered <- entered + fresh.Length

            forget inside
            entered)

    /// Which parameters of one module take the place of which of another: those of a name each other's, all else that of the first.
    let private pairs (replacement: torch.nn.Module) (old: (string * Modules.Parameter) list) =
        let own = [ for struct (name, p) in replacement.named_parameters () -> name, p ]
        let named = old |> List.map fst

        [
            for i, (name, p) in List.indexed old do
                p,
                [
                    for n, fresh in own do
                        if n = name || i = 0 && not (List.contains n named) then
                            fresh
                ]
        ]

    /// <summary>Puts the parameters of a replacement into the groups of an optimizer in the place of those of the module that it replaces,
    /// with the options of the group and a state of their own that starts afresh; says how many have entered. What the optimizer does not
    /// hold of the old module stays out.</summary>
    /// <remarks>A parameter takes the place of the one of its name (<c>bias</c>), all others that of the first (<c>weight</c>). Frozen ones
    /// stay out. The old module may be in no tree any more, but must not be disposed. Errors: <c>Unsupported</c> for LBFGS, whose
    /// parameters are fixed; <c>Disposed</c>.</remarks>
    /// <example><code>Optimizers.exchange conv layer (torch.optim.SGD(conv.parameters (), 0.1)) |> orStop // 4</code></example>
    let exchange
        (old: torch.nn.Module)
        (replacement: torch.nn.Module)
        (optimizer: torch.optim.Optimizer)
        : Result<int, TensorNetError list> =
        ArgumentNullException.ThrowIfNull(old, nameof old)
        ArgumentNullException.ThrowIfNull(replacement, nameof replacement)
        ArgumentNullException.ThrowIfNull(optimizer, nameof optimizer)

        match Check.alive "The old module" old @ Check.alive "The replacement" replacement with
        | [] -> substitute (pairs replacement [ for struct (name, p) in old.named_parameters () -> name, p ]) optimizer
        | errors -> Error errors

    /// <summary>After <c>Compress</c> or <c>ReplaceAll</c>: puts the cores and biases of a model's factorized layers into the groups of an
    /// optimizer in the place of the dense weights and biases that it still holds; says how many have entered.</summary>
    /// <remarks>Options, number and order of the groups stay, so that schedules of the learning rate go on; the new parameters start with a
    /// fresh state. Equivalent to <c>exchange</c> for every layer that <c>Compress</c> has replaced. Errors: <c>Unsupported</c> for LBFGS;
    /// <c>Disposed</c>.</remarks>
    /// <example><code>Optimizers.follow model (torch.optim.SGD(model.parameters (), 0.1)) |> orStop</code></example>
    let follow (model: torch.nn.Module) (optimizer: torch.optim.Optimizer) : Result<int, TensorNetError list> =
        ArgumentNullException.ThrowIfNull(model, nameof model)
        ArgumentNullException.ThrowIfNull(optimizer, nameof optimizer)

        match Check.alive "The model" model with
        | [] ->
            let places =
                [
                    for _, layer in FactorizedLayers.all model do
                        yield! pairs layer (layer.Replaced())
                ]

            substitute places optimizer
        | errors -> Error errors
