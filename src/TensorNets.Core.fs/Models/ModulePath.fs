namespace TensorNets

open System
open System.Collections.Generic
open type TorchSharp.torch

/// The names of the modules of a tree: a path such as layer1.1.conv2 and the module that it leads to.
[<RequireQualifiedAccess>]
module internal ModulePath =
    /// The name of the class of a module.
    let typeOf (m: nn.Module) = SubmoduleFields.typeName (m.GetType())

    /// All submodules with their paths, in TorchSharp's order. A shared layer stands under each of its paths; the root is not listed.
    let all (root: nn.Module) : (string * nn.Module) list =
        System.ArgumentNullException.ThrowIfNull(root, nameof root)
        [ for struct (path, m) in root.named_modules () -> path, m ]

    /// The modules of a model below its root, each with all its paths.
    let placed (model: nn.Module) : (string list * nn.Module) list =
        let places = Dictionary<nn.Module, string list>(HashIdentity.Reference)
        let paths = all model |> List.filter (fun (path, _) -> path <> "")

        for path, m in paths do
            places[m] <- (if places.ContainsKey m then places[m] else []) @ [ path ]

        [ for m in paths |> List.map snd |> Seq.distinctBy LanguagePrimitives.PhysicalHash -> places[m], m ]

    /// As many near names as a message can carry.
    let private nearestShown = 5

    /// The error of a path that is none of those there are.
    let unknown (path: string) (known: string seq) = TensorNetError.PathNotFound(path, EditDistance.nearest nearestShown path known)

    let private notFound path root = unknown path (all root |> List.map fst)

    /// The modules below one whose path is the given one or a beginning of it, with what is left of the path.
    let private towards (path: string) (m: nn.Module) =
        [
            for struct (name, child) in m.named_children () do
                if name = path then
                    name, child, ""
                elif path.StartsWith(name + ".", StringComparison.Ordinal) then
                    name, child, path.Substring(name.Length + 1)
        ]

    /// Every module on the way, with the name under which the one before has registered it.
    let rec private trySteps (path: string) (m: nn.Module) : (string * nn.Module) list option =
        towards path m
        |> List.tryPick (fun (name, child, rest) ->
            let step = name, child

            if rest = "" then
                Some [ step ]
            else
                trySteps rest child |> Option.map (fun further -> step :: further))

    /// The owner and field of a module that stands in a field under the sought name but is not registered.
    let rec private tryUnregistered (path: string) (m: nn.Module) : (nn.Module * string * nn.Module) option =
        let head = path.Split('.')[0]

        let isRegistered held = m.named_children () |> Seq.exists (fun struct (_, child) -> SubmoduleFields.same child held)

        SubmoduleFields.fields (m.GetType())
        |> List.filter (fun field -> SubmoduleFields.sourceName field.Name = head)
        |> List.tryPick (fun field ->
            match field.GetValue m with
            | :? nn.Module as held when not (isRegistered held) -> Some(m, head, held)
            | _ -> None)
        |> Option.orElseWith (fun () ->
            towards path m
            |> List.tryPick (fun (_, child, rest) -> if rest = "" then None else tryUnregistered rest child))

    /// The modules from below the root to the submodule at a path, each with the name under which the one before has registered it; or why
    /// there is none.
    let steps (path: string) (root: nn.Module) : Result<(string * nn.Module) list, TensorNetError list> =
        ArgumentNullException.ThrowIfNull(path, nameof path)
        ArgumentNullException.ThrowIfNull(root, nameof root)
        let gone = Check.alive "The model" root

        if not gone.IsEmpty then
            Error gone
        elif path = "" then
            Error
                [
                    TensorNetError.Unsupported("path", "'' (the root itself)", "the path of a submodule below the root")
                ]
        else
            match trySteps path root, tryUnregistered path root with
            | Some found, _ -> Ok found
            | None, Some(owner, field, held) ->
                let reason =
                    $"field '{field}' holds a {typeOf held} that is not registered as a child; call RegisterComponents() at the end of "
                    + "the constructor, after every field is set (in F#: hold it in a let binding, not in a member val)"

                Error [ TensorNetError.UnreachableField(path, typeOf owner, reason) ]
            | None, None -> Error [ notFound path root ]

    /// The submodule at a path, or why there is none.
    let find (path: string) (root: nn.Module) : Result<nn.Module, TensorNetError list> = steps path root |> Result.map (List.last >> snd)
