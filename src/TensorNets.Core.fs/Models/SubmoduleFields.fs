namespace TensorNets

open System
open System.Collections
open System.Collections.Generic
open System.Reflection
open System.Runtime.CompilerServices
open System.Runtime.InteropServices
open TorchSharp.Utils
open type TorchSharp.torch

/// One place where a module refers to a given submodule.
[<RequireQualifiedAccess>]
type internal Holder =
    /// A field, or an element of a collection in a field, that can be given another module.
    | Slot of owner: nn.Module * field: string * declared: Type * put: (nn.Module -> unit)
    /// A function or an object that has kept the submodule where it cannot be changed.
    | Unassignable of owner: nn.Module * field: string * container: Type

/// Where in the fields of a module a submodule is held. TorchSharp offers no way to ask, so this reads fields by reflection.
[<RequireQualifiedAccess>]
module internal SubmoduleFields =
    let private instance = BindingFlags.Instance ||| BindingFlags.Public ||| BindingFlags.NonPublic

    /// A place that holds a value and can be given another.
    type private Cell = { Field: string; Declared: Type; Get: unit -> obj | null; Put: obj -> unit }

    let same (a: obj | null) (b: obj | null) = obj.ReferenceEquals(a, b)

    /// The name of a type as one would write it: Module<Tensor, Tensor>.
    let rec typeName (t: Type) : string =
        if t.IsArray then
            match t.GetElementType() with
            | null -> t.Name
            | element -> typeName element + "[]"
        elif t.IsGenericType then
            let arguments = t.GetGenericArguments() |> Array.map typeName
            t.Name.Split('`')[0] + "<" + String.Join(", ", arguments) + ">"
        else
            t.Name

    /// The name that the source gives to a field: the compilers add to it (<Conv>k__BackingField, Conv@, conv@54).
    let sourceName (field: string) =
        if field.StartsWith '<' && field.Contains '>' then
            field.Substring(1, field.IndexOf '>' - 1)
        else
            field.Split('@')[0]

    /// The instance fields of a type and of all its base types.
    let rec fields (t: Type) : FieldInfo list =
        let inherited =
            match t.BaseType with
            | null -> []
            | parent -> fields parent

        List.ofArray (t.GetFields(instance ||| BindingFlags.DeclaredOnly)) @ inherited

    /// False for element types that cannot refer to a module, so that long arrays of numbers are not read.
    let private mayHold (t: Type) =
        not (
            t.IsPrimitive
            || t.IsEnum
            || t.IsPointer
            || t = typeof<string>
            || t = typeof<decimal>
            || typeof<Tensor>.IsAssignableFrom t
        )

    /// The type arguments with which a type implements a generic interface; objects if it does not.
    let private argumentsOf (definition: Type) (t: Type) =
        t.GetInterfaces()
        |> Array.tryFind (fun i -> i.IsGenericType && i.GetGenericTypeDefinition() = definition)
        |> Option.map _.GetGenericArguments()
        |> Option.defaultValue (Array.create (definition.GetGenericArguments().Length) typeof<obj>)

    /// The getter and the setter of what a weak reference or a handle of the garbage collector refers to.
    let private referred (value: obj) : ((unit -> obj | null) * (obj -> unit)) option =
        let kind = value.GetType()

        match value with
        | :? WeakReference as weak -> Some((fun () -> weak.Target), (fun item -> weak.Target <- item))
        | :? GCHandle as handle when handle.IsAllocated ->
            Some((fun () -> handle.Target), (fun item -> let mutable h = handle in h.Target <- item))
        | _ when kind.IsGenericType && kind.GetGenericTypeDefinition() = typedefof<WeakReference<_>> ->
            let invoke (method: string) (arguments: (obj | null)[]) = (nonNull (kind.GetMethod method)).Invoke(value, arguments) |> ignore

            Some(
                (fun () ->
                    let target: (obj | null)[] = [| null |]
                    invoke "TryGetTarget" target
                    target[0]),
                (fun item -> invoke "SetTarget" [| item |])
            )
        | _ -> None

    let private rankOne (value: obj) =
        match value with
        | :? Array as array -> array.Rank = 1
        | _ -> true

    /// The entries of a dictionary that can be written to.
    let private entries (field: string) (entries: IDictionary) : Cell list =
        let declared = (argumentsOf typedefof<IDictionary<_, _>> (entries.GetType()))[1]

        [
            if mayHold declared then
                for key in Seq.cast<obj> entries.Keys do
                    {
                        Field = $"{field}[{key}]"
                        Declared = declared
                        Get = fun () -> entries[key]
                        Put = fun item -> entries[key] <- item
                    }
        ]

    /// The items of a list or an array that can be written to.
    let private items (field: string) (items: IList) : Cell list =
        let declared = (argumentsOf typedefof<IList<_>> (items.GetType()))[0]

        [
            if mayHold declared then
                for i in 0 .. items.Count - 1 do
                    {
                        Field = $"{field}[{i}]"
                        Declared = declared
                        Get = fun () -> items[i]
                        Put = fun item -> items[i] <- item
                    }
        ]

    /// The parts of a tuple, which is built anew when one is given another value.
    let private parts (cell: Cell) (tuple: ITuple) : Cell list =
        let kind = tuple.GetType()

        let values () =
            match cell.Get() with
            | :? ITuple as now -> [| for j in 0 .. now.Length - 1 -> now[j] |]
            | _ -> [||]

        [
            for i in 0 .. tuple.Length - 1 do
                {
                    Field = $"{cell.Field}.Item{i + 1}"
                    Declared = kind.GetGenericArguments()[i]
                    Get = fun () -> (values ())[i]
                    Put =
                        fun replaced ->
                            let values = values ()
                            values[i] <- replaced

                            match Activator.CreateInstance(kind, values) with
                            | null -> ()
                            | rebuilt -> cell.Put rebuilt
                }
        ]

    /// The elements of a collection that can be given other values, of a tuple, and of what refers to a value. None for all else.
    let private elements (cell: Cell) (value: obj) : Cell list option =
        match value with
        | :? IDictionary as dictionary when not dictionary.IsReadOnly -> Some(entries cell.Field dictionary)
        | :? IList as list when not list.IsReadOnly && rankOne value -> Some(items cell.Field list)
        | :? ITuple as tuple when tuple.Length <= 7 -> Some(parts cell tuple)
        | _ ->
            referred value
            |> Option.map (fun (get, put) ->
                let declared =
                    match value.GetType().GetGenericArguments() with
                    | [| one |] -> one
                    | _ -> typeof<obj>

                [ { Field = $"{cell.Field}.Target"; Declared = declared; Get = get; Put = put } ])

    /// Whether a function or an object has kept the module: a closure, an F# option or list, a record, a lazy value.
    let rec private keeps (depth: int) (sought: nn.Module) (value: obj | null) : bool =
        match value with
        | null -> false
        | found when same found sought -> true
        | _ when depth = 0 -> false
        | :? nn.Module
        | :? Tensor
        | :? MemberInfo -> false
        | :? Delegate as call -> call.GetInvocationList() |> Array.exists (fun one -> keeps (depth - 1) sought one.Target)
        | found ->
            let kind = found.GetType()

            let counted =
                kind.IsArray
                || kind.GetInterfaces()
                   |> Array.exists (fun i -> i.IsGenericType && i.GetGenericTypeDefinition() = typedefof<IReadOnlyCollection<_>>)

            match found with
            | _ when not (mayHold kind) -> false
            | _ when (referred found).IsSome -> keeps (depth - 1) sought (fst (referred found).Value ())
            | :? IEnumerable as items when counted ->
                let arguments =
                    match kind.GetElementType() with
                    | null -> kind.GetGenericArguments()
                    | element -> [| element |]

                (arguments.Length = 0 || Array.exists mayHold arguments)
                && items |> Seq.cast<obj> |> Seq.exists (keeps (depth - 1) sought)
            | _ ->
                fields kind
                |> List.exists (fun field -> mayHold field.FieldType && keeps (depth - 1) sought (field.GetValue found))

    /// Collections in collections are followed this deep; what lies deeper is an object like any other.
    let private deepest = 4

    let rec private inside (owner: nn.Module) (ownCode: bool) (sought: nn.Module) (depth: int) (cell: Cell) : Holder list =
        match cell.Get() with
        | null -> []
        | value when same value sought -> [ Holder.Slot(owner, cell.Field, cell.Declared, (fun m -> cell.Put m)) ]
        | :? nn.Module -> []
        | value ->
            match (if depth = 0 then None else elements cell value) with
            | Some inner -> inner |> List.collect (inside owner ownCode sought (depth - 1))
            | None when ownCode && keeps deepest sought value -> [ Holder.Unassignable(owner, cell.Field, value.GetType()) ]
            | None -> []

    /// Every place in the fields of a module, inherited ones too, that holds the module sought. The hooks and other delegates of
    /// TorchSharp's own classes are no part of a forward pass and are left out.
    let find (sought: nn.Module) (owner: nn.Module) : Holder list =
        fields (owner.GetType())
        |> List.filter (fun field -> mayHold field.FieldType)
        |> List.collect (fun field ->
            let ownCode =
                match field.DeclaringType with
                | null -> true
                | declaring -> declaring.Assembly <> typeof<nn.Module>.Assembly

            inside
                owner
                ownCode
                sought
                deepest
                {
                    Field = sourceName field.Name
                    Declared = field.FieldType
                    Get = fun () -> field.GetValue owner
                    Put = fun value -> field.SetValue(owner, value)
                })

    /// Whether a base type's automatic property, whose field this is, is overridden by the one of the type that declares the other field.
    let private isOverridden (field: FieldInfo) (by: FieldInfo) =
        match field.DeclaringType, by.DeclaringType with
        | null, _
        | _, null -> false
        | above, below ->
            let getter (t: Type) =
                match t.GetProperty(sourceName field.Name, instance ||| BindingFlags.DeclaredOnly) with
                | null -> None
                | property -> Option.ofObj (property.GetGetMethod true)

            match getter above, getter below with
            | Some theirs, Some own -> below.IsSubclassOf above && own.GetBaseDefinition() = theirs.GetBaseDefinition()
            | _ -> false

    /// The field of the very name under which a child is registered that holds another module: one that was assigned after registering, or
    /// that a base type hides.
    let rival (name: string) (child: nn.Module) (owner: nn.Module) : FieldInfo option =
        let componentName (field: FieldInfo) =
            match field.GetCustomAttribute<ComponentNameAttribute>() with
            | null -> field.Name
            | attribute -> attribute.Name

        let named = fields (owner.GetType()) |> List.filter (fun field -> componentName field = name)
        let held = named |> List.filter (fun field -> same (field.GetValue owner) child)

        named
        |> List.tryFind (fun field ->
            match field.GetValue owner with
            | :? nn.Module as other -> not (same other child || held |> List.exists (isOverridden field))
            | _ -> false)
