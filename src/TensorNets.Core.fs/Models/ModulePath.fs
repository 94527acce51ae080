namespace TensorNets

open System
open type TorchSharp.torch

/// The names of the modules of a tree: a path such as layer1.1.conv2 and the module that it leads to.
[<RequireQualifiedAccess>]
module internal ModulePath =
    /// The name of the class of a module.
    let typeOf (m: nn.Module) = Holders.typeName (m.GetType())

    /// All submodules with their paths, in TorchSharp's order. A shared layer stands under each of its paths; the root is not listed.
    let all (root: nn.Module) : (string * nn.Module) list = [ for struct (path, m) in root.named_modules () -> path, m ]

    /// Levenshtein's distance: insertions, deletions and substitutions of single letters.
    let private distance (a: string) (b: string) =
        let next (row: int[]) (i: int) =
            let fresh = Array.create row.Length (i + 1)

            for j in 1 .. b.Length do
                let substituted = row[j - 1] + (if a[i] = b[j - 1] then 0 else 1)
                fresh[j] <- Math.Min(substituted, 1 + Math.Min(row[j], fresh[j - 1]))

            fresh

        Array.last (Seq.fold next [| 0 .. b.Length |] (seq { 0 .. a.Length - 1 }))

    /// As many near names as a message can carry.
    let private nearestShown = 5

    let private notFound path root =
        let nearest =
            all root
            |> List.map fst
            |> List.distinct
            |> List.sortBy (distance path)
            |> List.truncate nearestShown

        TensorNetError.PathNotFound(path, nearest)

    /// The modules below one whose path is the given one or a beginning of it, with what is left of the path.
    let private towards (path: string) (m: nn.Module) =
        [
            for struct (name, child) in m.named_children () do
                if name = path then
                    child, ""
                elif path.StartsWith(name + ".", StringComparison.Ordinal) then
                    child, path.Substring(name.Length + 1)
        ]

    let rec private tryFind (path: string) (m: nn.Module) : nn.Module option =
        towards path m
        |> List.tryPick (fun (child, rest) -> if rest = "" then Some child else tryFind rest child)

    /// The owner and field of a module that stands in a field under the sought name but is not registered.
    let rec private tryUnregistered (path: string) (m: nn.Module) : (nn.Module * string * nn.Module) option =
        let head = path.Split('.')[0]

        Holders.fields (m.GetType())
        |> List.filter (fun field -> Holders.sourceName field.Name = head)
        |> List.tryPick (fun field ->
            match field.GetValue m with
            | :? nn.Module as held when m.named_children () |> Seq.forall (fun struct (_, child) -> not (Holders.same child held)) ->
                Some(m, head, held)
            | _ -> None)
        |> Option.orElseWith (fun () ->
            towards path m
            |> List.tryPick (fun (child, rest) -> if rest = "" then None else tryUnregistered rest child))

    /// The submodule at a path, or why there is none.
    let find (path: string) (root: nn.Module) : Result<nn.Module, TensorNetError list> =
        ArgumentNullException.ThrowIfNull(path, nameof path)
        ArgumentNullException.ThrowIfNull(root, nameof root)

        if path = "" then
            Error
                [
                    TensorNetError.Unsupported("path", "'' (the root itself)", "the path of a submodule below the root")
                ]
        else
            match tryFind path root, tryUnregistered path root with
            | Some found, _ -> Ok found
            | None, Some(owner, field, held) ->
                let reason =
                    $"field '{field}' holds a {typeOf held} that is not registered as a child; call RegisterComponents() at the end of "
                    + "the constructor, after every field is set (in F#: hold it in a let binding, not in a member val)"

                Error [ TensorNetError.UnreachableField(path, typeOf owner, reason) ]
            | None, None -> Error [ notFound path root ]
