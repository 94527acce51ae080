namespace TensorNets

open System
open System.Collections.Generic
open type TorchSharp.torch

/// <summary>Finds a submodule of any TorchSharp module tree by its path and puts another in its place.</summary>
/// <remarks>
/// <para>A path is made of the names that <c>named_modules()</c> gives, such as <c>layer1.1.conv2</c>. The parent may be a Sequential, a
/// ModuleList, a ModuleDict or a class of one's own in C# or F#; its field may be readonly, inherited and private, or an array, list,
/// dictionary or tuple. The field's declared type must be able to hold the replacement: <c>Module&lt;Tensor, Tensor&gt;</c> or a base
/// type of it.</para>
/// <para>A layer that occurs at several places of the tree is replaced at all of them, so it stays shared and the old one is nowhere left
/// in the tree. On any error nothing is changed.</para>
/// <para>Hooks stay with the layer on which they were registered. An optimizer made before holds the old parameters:
/// <c>Optimizers.exchange</c> puts the new ones in their place. The replacement must have the dtype and device of the model, which it joins
/// as it is.</para> </remarks>
[<RequireQualifiedAccess>]
module Surgery =
    let private typeOf = ModulePath.typeOf

    /// <summary>All submodules with their paths, in TorchSharp's order. A shared layer stands under each of its paths; the root is not
    /// listed.</summary>
    /// <example><code>Surgery.paths model |> List.map fst // [ "conv"; "relu" ]</code></example>
    let paths (root: nn.Module) : (string * nn.Module) list = ModulePath.all root

    /// <summary>The submodule at a path.</summary>
    /// <remarks>Errors: <c>PathNotFound</c> with up to five of the nearest paths, best first; <c>UnreachableField</c> if a field of that
    /// name holds a module that was never registered; <c>Unsupported</c> for the empty path, which is the root itself.</remarks>
    /// <example><code>Surgery.find "conv" model |> orStop</code></example>
    let find (path: string) (root: nn.Module) : Result<nn.Module, TensorNetError list> = ModulePath.find path root

    /// The root and all modules below it, each once, without going into the module left out.
    let private reached (leftOut: nn.Module option) (root: nn.Module) : nn.Module list =
        let seen = HashSet<nn.Module>(HashIdentity.Reference)
        leftOut |> Option.iter (seen.Add >> ignore)

        let rec visit (m: nn.Module) =
            [
                if seen.Add m then
                    m

                    for struct (_, child) in m.named_children () do
                        yield! visit child
            ]

        visit root

    let private isChild (m: nn.Module) (owner: nn.Module) =
        owner.named_children () |> Seq.exists (fun struct (_, child) -> SubmoduleFields.same child m)

    /// What keeps a module from entering the tree: it is there already, or has been disposed.
    let private unfit path (replacement: nn.Module) (old: nn.Module) (rest: nn.Module list) root =
        let unsupported found =
            [
                TensorNetError.Unsupported("replacement", found, "a module that is not in the tree yet and is not disposed")
            ]

        let known = HashSet<nn.Module>(rest, HashIdentity.Reference)

        if SubmoduleFields.same replacement old then
            unsupported $"the module that stands at '{path}' already"
        elif SubmoduleFields.same replacement root then
            unsupported "the root of the tree"
        else
            match reached (Some old) replacement |> List.tryFind known.Contains with
            | Some shared when SubmoduleFields.same shared root -> unsupported $"a {typeOf replacement} that contains the root of the tree"
            | Some shared ->
                let place = paths root |> List.find (fun (_, m) -> SubmoduleFields.same m shared) |> fst
                unsupported $"a {typeOf replacement} that is or contains the module at '{place}'"
            | None ->
                try
                    replacement.training |> ignore
                    []
                with :? ObjectDisposedException ->
                    unsupported $"a {typeOf replacement} that has been disposed"

    /// What makes a registered module on the way to a path another one than that which the code holds: it is in no field of its owner or of
    /// a module above, or the field of its name holds another.
    let private stale (path: string) (root: nn.Module) (steps: (string * nn.Module) list) : TensorNetError list =
        let owners = root :: (steps |> List.map snd)

        let declare =
            "give every field its module before RegisterComponents() is called, once, and no second module of that name to a derived class"

        [
            for i, (name, child) in List.indexed steps do
                let owner = owners[i]
                let unreachable reason = TensorNetError.UnreachableField(path, typeOf owner, $"{reason}; {declare}")
                let type' = typeOf child

                match SubmoduleFields.rival name child owner with
                | Some field ->
                    let where =
                        match field.DeclaringType with
                        | null -> typeOf owner
                        | declaring -> SubmoduleFields.typeName declaring

                    let field = SubmoduleFields.sourceName field.Name
                    unreachable $"the {type'} registered as '{name}' is not the module that field '{field}' of {where} holds"
                | None when
                    i < steps.Length - 1
                    && owners |> List.truncate (i + 1) |> List.forall (SubmoduleFields.find child >> _.IsEmpty)
                    ->
                    unreachable (
                        $"'{name}' is registered as a child but no field holds that {type'}, "
                        + "so the forward pass cannot be seen to use it"
                    )
                | None -> ()
        ]

    /// What keeps the holders of a module from being given a replacement of a type; of an abstract one any type under it may come.
    let private obstacles path (replacement: Type) old (owner: nn.Module) (holders: Holder list) =
        let unreachable reason = TensorNetError.UnreachableField(path, typeOf owner, reason)
        let isAbstract = replacement.IsAbstract
        let holds (declared: Type) = declared.IsAssignableFrom replacement || isAbstract && replacement.IsAssignableFrom declared

        [
            for holder in holders do
                match holder with
                | Holder.Slot(_, field, declared, _) when not (holds declared) ->
                    let declared, replacement = SubmoduleFields.typeName declared, SubmoduleFields.typeName replacement
                    TensorNetError.SealedField(path, typeOf owner, field, declared, replacement)
                | Holder.Slot _ -> ()
                | Holder.Unassignable(_, field, container) ->
                    unreachable (
                        $"field '{field}' keeps it inside a {SubmoduleFields.typeName container}, where it cannot be exchanged; "
                        + "hold it in a field of type Module<Tensor, Tensor>, or in an array, List or Dictionary of them"
                    )

            if holders.IsEmpty && isChild old owner then
                unreachable (
                    "it is registered as a child but no field holds it, so the forward pass cannot be seen to use it; "
                    + "hold it in a field of type Module<Tensor, Tensor> that the forward pass reads, "
                    + "and assign it before RegisterComponents()"
                )
        ]

    /// Runs the changes in order; if one throws, undoes those before it and gives the error.
    let private allOrNothing path owner (changes: ((unit -> unit) * (unit -> unit)) list) =
        let applied = Stack<unit -> unit>()

        try
            for change, undo in changes do
                applied.Push undo
                change ()

            Ok()
        with problem ->
            for undo in applied do
                // A holder that refuses its old layer must not keep the others from getting theirs back.
                try
                    undo ()
                with _ ->
                    ()

            let cause = problem.GetBaseException().Message
            Error [ TensorNetError.UnreachableField(path, owner, cause.TrimEnd '.') ]

    /// What forbids to release the old layer: others that use it, its submodules or its tensors.
    let private stillUsed path (old: nn.Module) (replacement: nn.Module) (rest: nn.Module list) =
        let below = reached None old |> List.tail
        let doomed = HashSet<nn.Module>(old :: below, HashIdentity.Reference)
        let usesTensors = SharedTensors.holds old

        let kept why =
            TensorNetError.UnreachableField(path, typeOf old, $"it cannot be released, as {why}; take it out with exchange")

        [
            for user in rest @ reached None replacement do
                if doomed.Contains user then
                    kept $"its {typeOf user} stays in use"
                elif usesTensors user then
                    kept $"a {typeOf user} uses its tensors too"

                for part in below do
                    if not (doomed.Contains user || (SubmoduleFields.find part user).IsEmpty) then
                        kept $"a field of {typeOf user} holds its {typeOf part}"
        ]
        |> List.distinct

    let private errorsOf (results: Result<'T, TensorNetError> list) : TensorNetError list =
        [
            for result in results do
                match result with
                | Error error -> error
                | Ok _ -> ()
        ]
        |> List.distinct

    /// Puts the replacement wherever the old layer is held or registered, after everything that could forbid it has been asked.
    let private swap (released: bool) path (replacement: nn.Module) (old: nn.Module) root =
        let rest = reached (Some old) root
        let holders = [ for owner in rest -> owner, SubmoduleFields.find old owner ]
        let tables = [ for owner in rest -> ModuleTables.table "_internal_submodules" owner ]
        let registration = ModuleTables.registration "RegisterComponents" replacement
        let parents = rest |> List.filter (isChild old)

        let misfits = unfit path replacement old rest root

        let unheld =
            match ModulePath.steps path root |> Result.map (stale path root) with
            | Ok [] -> List.collect (fun (owner, held) -> obstacles path (replacement.GetType()) old owner held) holders
            | Ok errors
            | Error errors -> errors

        let errors =
            misfits
            @ unheld
            @ errorsOf tables
            @ errorsOf [ registration ]
            @ (if released && misfits.IsEmpty then stillUsed path old replacement rest else [])

        let change (put: nn.Module -> unit) = (fun () -> put replacement), (fun () -> put old)

        let act (act: unit -> unit) = act, (fun () -> ())

        let changes: ((unit -> unit) * (unit -> unit)) list =
            [
                for register in Result.toList registration do
                    act register

                act (fun () ->
                    if replacement.training <> old.training then
                        replacement.train old.training)

                for _, held in holders do
                    for holder in held do
                        match holder with
                        | Holder.Slot(_, _, _, put) -> change put
                        | Holder.Unassignable _ -> ()

                for table in List.collect Result.toList tables do
                    for struct (name, child) in Seq.toList (table :> seq<struct (string * nn.Module)>) do
                        if SubmoduleFields.same child old then
                            change (fun m -> table[name] <- m)

                act (fun () ->
                    for parent in parents do
                        if isChild old parent then
                            raise (InvalidOperationException $"a {typeOf parent} still lists the old layer among its children")

                    for owner, held in holders do
                        if not (held.IsEmpty || (SubmoduleFields.find old owner).IsEmpty) then
                            raise (InvalidOperationException $"a {typeOf owner} still holds the old layer"))
            ]

        if errors.IsEmpty then allOrNothing path (typeOf parents.Head) changes else Error errors

    let private take released path (replacement: nn.Module<Tensor, Tensor>) root =
        ArgumentNullException.ThrowIfNull(replacement, nameof replacement)

        find path root
        |> Result.bind (fun found ->
            match found with
            | :? nn.Module<Tensor, Tensor> as old -> swap released path replacement old root |> Result.map (fun () -> old)
            | other -> Error [ TensorNetError.ModuleType(path, typeOf other, "Module<Tensor, Tensor>") ])

    /// What forbids a factorized layer to be put at a path, before there is one to put there.
    let internal refusal (path: string) (root: nn.Module) : TensorNetError list =
        match ModulePath.steps path root with
        | Error errors -> errors
        | Ok steps ->
            let old = snd (List.last steps)

            match stale path root steps, reached (Some old) root with
            | [], rest ->
                SharedTensors.errors path old rest root
                @ List.collect (fun owner -> obstacles path typeof<FactorizedLayer> old owner (SubmoduleFields.find old owner)) rest
            | errors, _ -> errors

    /// As `replace`, but the old layer is returned and not disposed: another thread may be using it.
    let internal retire path replacement root = take true path replacement root

    /// <summary>Puts a module in the place of the submodule at a path and returns the one taken out, unharmed; it is now the caller's to
    /// put back or to dispose. The replacement belongs to the tree from then on.</summary>
    /// <remarks>
    /// <para>The replacement takes over whether the old layer trains or evaluates, and registers its fields if it has not. Exchanging again
    /// with the module returned restores the model to the bit. The replacement may contain the old layer, to wrap it.</para>
    /// <para>Errors, all of them at once and with nothing changed: <c>PathNotFound</c> with the nearest paths; <c>ModuleType</c> if the
    /// module there is not a Module&lt;Tensor, Tensor&gt;; <c>SealedField</c> if the type of a field cannot hold the replacement;
    /// <c>UnreachableField</c> if no field holds the old layer, or a closure or an immutable collection has kept it; <c>Unsupported</c> for
    /// the root, for a replacement that is in the tree already or disposed, and for a TorchSharp without the members needed.</para>
    /// </remarks>
    /// <example><code>Surgery.exchange "relu" (torch.nn.GELU()) (makeModel ()) |> orStop</code></example>
    let exchange
        (path: string)
        (replacement: nn.Module<Tensor, Tensor>)
        (root: nn.Module)
        : Result<nn.Module<Tensor, Tensor>, TensorNetError list> =
        take false path replacement root

    /// <summary>Puts a module in the place of the submodule at a path and disposes the one taken out with what it holds.</summary>
    /// <remarks>Equivalent to <c>exchange</c> and <c>Dispose</c> of the module that it returns: while another thread may be running the
    /// model, or an optimizer holds the old parameters, <c>exchange</c> is the one to take. The hooks of the old layer go with it. Errors:
    /// those of <c>exchange</c>, and <c>UnreachableField</c> if the replacement or another layer uses the old layer, a submodule of it or
    /// one of its tensors.</remarks>
    /// <example><code>Surgery.replace "relu" (torch.nn.GELU()) (makeModel ()) |> orStop</code></example>
    let replace (path: string) (replacement: nn.Module<Tensor, Tensor>) (root: nn.Module) : Result<unit, TensorNetError list> =
        take true path replacement root |> Result.map _.Dispose()
