/// The signatures of an assembly's public types as C# writes them, with defaults and the types of elements, for the pages.
module TensorNets.Documents.Signatures

open System
open System.Reflection
open System.Xml.Linq
open TensorNets.Documents.Documentation

let private keywords =
    dict
        [
            typeof<bool>, "bool"
            typeof<int>, "int"
            typeof<int64>, "long"
            typeof<float>, "double"
            typeof<float32>, "float"
            typeof<string>, "string"
            typeof<obj>, "object"
            typeof<Void>, "void"
            typeof<uint64>, "ulong"
            typeof<sbyte>, "sbyte"
            typeof<byte>, "byte"
        ]

/// A type with what is known of null in it.
let rec private nameOf (known: NullabilityInfo option) (kind: Type) : string =
    let inner i (argument: Type) = nameOf (known |> Option.bind (fun known -> Array.tryItem i known.GenericTypeArguments)) argument

    let mayBeNull =
        not kind.IsValueType
        && known |> Option.exists (fun known -> known.ReadState = NullabilityState.Nullable)

    let name =
        if kind.IsByRef then
            nameOf known (kind.GetElementType() |> nonNull)
        elif kind.IsArray then
            nameOf None (kind.GetElementType() |> nonNull) + "[]"
        elif keywords.ContainsKey kind then
            keywords[kind]
        elif kind.IsGenericParameter then
            kind.Name
        elif kind.IsGenericType && kind.GetGenericTypeDefinition() = typedefof<Nullable<_>> then
            nameOf None (kind.GetGenericArguments()[0]) + "?"
        elif kind.IsGenericType then
            let arguments = kind.GetGenericArguments() |> Array.mapi inner |> String.concat ", "

            if kind.Name.StartsWith "ValueTuple" then
                $"({arguments})"
            else
                $"{kind.Name.Split('`')[0]}<{arguments}>"
        else
            kind.Name

    if mayBeNull then name + "?" else name

/// The default of a parameter behind its sign; nothing where there is none.
let defaultOf (parameter: ParameterInfo) : string =
    if not parameter.HasDefaultValue then
        ""
    else
        match parameter.DefaultValue with
        | null when parameter.ParameterType.IsValueType && isNull (Nullable.GetUnderlyingType parameter.ParameterType) -> " = default"
        | null -> " = null"
        | :? bool as value -> if value then " = true" else " = false"
        | :? string as value -> $" = \"{value}\""
        | value when parameter.ParameterType.IsEnum -> $" = {parameter.ParameterType.Name}.{Enum.ToObject(parameter.ParameterType, value)}"
        | value ->
            " = "
            + (string (Convert.ToString(value, Globalization.CultureInfo.InvariantCulture))).Replace("E-0", "e-")

let private context = NullabilityInfoContext()

/// The type of a parameter.
let typeOf (parameter: ParameterInfo) : string = nameOf (Some(context.Create parameter)) parameter.ParameterType

let private parameterOf (isExtension: bool) (at: int) (parameter: ParameterInfo) : string =
    let isParams =
        parameter.GetCustomAttributes()
        |> Seq.exists (fun attribute -> attribute.GetType().Name.StartsWith "Param")

    let before = (if isExtension && at = 0 then "this " else "") + (if isParams then "params " else "")
    $"{before}{typeOf parameter} {parameter.Name}{defaultOf parameter}"

/// A call with its parameters, on lines of their own where one line is too long.
let private callOf (head: string) isExtension (parameters: ParameterInfo[]) : string =
    let parameters = parameters |> Array.mapi (parameterOf isExtension)
    let line = head + "(" + String.concat ", " parameters + ");"

    if line.Length > 110 && parameters.Length > 2 then
        head + "(\n    " + String.concat ",\n    " parameters + ");"
    else
        line

let private flags =
    BindingFlags.Public ||| BindingFlags.Instance ||| BindingFlags.Static ||| BindingFlags.DeclaredOnly

/// Not what the compiler adds, to records and delegates, which says nothing.
let private isWritten (method: MethodInfo) =
    not method.IsSpecialName
    && not (method.IsDefined typeof<Runtime.CompilerServices.CompilerGeneratedAttribute>)
    && not (method.Name.StartsWith '<')

let private methodOf (method: MethodInfo) : string =
    let isStatic = if method.IsStatic then "static " else ""

    let generic =
        if method.IsGenericMethod then
            let names = method.GetGenericArguments() |> Array.map _.Name |> String.concat ", "
            $"<{names}>"
        else
            ""

    let isExtension = method.IsDefined typeof<Runtime.CompilerServices.ExtensionAttribute>

    let result = nameOf (Some(context.Create method.ReturnParameter)) method.ReturnType
    callOf $"{isStatic}{result} {method.Name}{generic}" isExtension (method.GetParameters())

let private propertyOf (property: PropertyInfo) : string =
    let accessor = property.GetMethod |> Option.ofObj
    let isStatic = if accessor |> Option.exists _.IsStatic then "static " else ""
    let setter = if property.CanWrite then " get; set; " else " get; "
    $"{isStatic}{nameOf (Some(context.Create property)) property.PropertyType} {property.Name} {{{setter}}}"

let private membersOf (kind: Type) : string list =
    if kind.IsEnum then
        [ String.Join(", ", Enum.GetNames kind) ]
    else
        let constructed =
            [
                for made in kind.GetConstructors() do
                    // Records have a constructor that copies.
                    if made.GetParameters() |> Array.forall (fun p -> p.ParameterType <> kind) then
                        callOf kind.Name false (made.GetParameters())
            ]

        let taken = kind.GetConstructors() |> Seq.collect _.GetParameters() |> Seq.map _.Name |> Set.ofSeq

        [
            yield! constructed
            for property in kind.GetProperties flags do
                // Of a record, what the constructor has said already.
                if property.Name <> "EqualityContract" && not (taken.Contains property.Name) then
                    propertyOf property
            for method in kind.GetMethods flags |> Array.filter isWritten |> Array.sortBy _.Name do
                methodOf method
        ]

let private kindOf (kind: Type) : string =
    if kind.IsEnum then "enum"
    elif kind.IsInterface then "interface"
    elif kind.IsValueType then "struct"
    elif kind.IsAbstract && kind.IsSealed then "static class"
    elif not (isNull (kind.GetMethod "<Clone>$")) then "record"
    else "class"

/// Every public type with what it is for and its members, as HTML.
let page (assembly: Assembly) : string =
    let documented = entries assembly

    [
        for kind in assembly.GetExportedTypes() |> Array.sortBy _.Name do
            match membersOf kind with
            | [] -> ()
            | members ->
                let said =
                    match documented.TryGetValue("T:" + (nonNull kind.FullName).Replace('+', '.')) with
                    | true, entry -> words (entry.Element(XName.Get "summary"))
                    | _ -> ""

                $"<h3 id='{kind.Name.ToLowerInvariant()}'>{escaped kind.Name}</h3>"
                $"<p>{escaped (kindOf kind)}: {html said}</p>"
                "<pre><code>" + escaped (String.concat "\n" members) + "</code></pre>"
    ]
    |> String.concat "\n"
