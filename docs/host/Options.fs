/// Every record of options with its defaults, read from the types and from what is documented, for the pages.
module TensorNets.Documents.Options

open System
open System.Collections
open System.Globalization
open System.Reflection
open System.Threading
open System.Xml.Linq
open Microsoft.FSharp.Reflection
open TensorNets.Documents.Documentation

let private keywords =
    dict
        [
            typeof<bool>, "bool"
            typeof<int>, "int"
            typeof<int64>, "int64"
            typeof<uint64>, "uint64"
            typeof<float>, "float"
            typeof<string>, "string"
        ]

/// A type as F# writes it.
let rec private nameOf (kind: Type) : string =
    let arguments = kind.GetGenericArguments() |> Array.map nameOf

    /// A part of a type, in parentheses where it is more than a word.
    let part at =
        if FSharpType.IsFunction(kind.GetGenericArguments()[at]) then
            $"({arguments[at]})"
        else
            arguments[at]

    let isOf (generic: Type) = kind.IsGenericType && kind.GetGenericTypeDefinition() = generic

    if keywords.ContainsKey kind then keywords[kind]
    elif isOf typedefof<_ option> then $"{part 0} option"
    elif isOf typedefof<_ list> then $"{part 0} list"
    elif FSharpType.IsTuple kind then "(" + String.concat " * " arguments + ")"
    elif FSharpType.IsFunction kind then $"{part 0} -> {arguments[1]}"
    elif kind.IsGenericType then kind.Name.Split('`')[0] + "<" + String.concat ", " arguments + ">"
    else kind.Name

/// A module's name in F#; the compiler's has a word more where a type is of the same name.
let private moduleName (kind: Type) : string =
    let full = nonNull kind.FullName

    if full.EndsWith "Module" && not (isNull (kind.Assembly.GetType full[.. full.Length - 7])) then
        kind.Name[.. kind.Name.Length - 7]
    else
        kind.Name

/// The records of an assembly that modules have defaults of, each with the modules and the values.
let private withDefaults (assembly: Assembly) : (Type * (string * obj) list) list =
    [
        for kind in assembly.GetExportedTypes() do
            match kind.GetProperty("defaults", BindingFlags.Static ||| BindingFlags.Public) with
            | null -> ()
            | property when FSharpType.IsRecord property.PropertyType ->
                property.PropertyType, (moduleName kind, property.GetValue null |> nonNull)
            | _ -> ()
    ]
    |> List.groupBy fst
    |> List.map (fun (record, found) -> record, found |> List.map snd |> List.sortBy fst)
    |> List.sortBy (fun (record, _) -> record.Name)

let private number (value: float) =
    let text = value.ToString("G", CultureInfo.InvariantCulture).Replace("E-0", "e-")
    if value = round value then text + ".0" else text

/// A value as F# writes it; a record by the module whose defaults it is.
let rec private valueOf (known: (Type * (string * obj) list) list) (kind: Type) (value: obj | null) : string =
    match value with
    | null -> "None"
    | :? bool as value -> if value then "true" else "false"
    | :? float as value -> number value
    | :? string as value -> $"\"{value}\""
    | :? CancellationToken -> "CancellationToken.None"
    | :? Enum -> $"{kind.Name}.{value}"
    | :? IEnumerable as values ->
        match [ for inner in values -> valueOf known (kind.GetGenericArguments()[0]) inner ] with
        | [] -> "[]"
        | values -> "[ " + String.concat "; " values + " ]"
    | value when FSharpType.IsUnion kind ->
        let case, fields = FSharpValue.GetUnionFields(value, kind)

        let written =
            Array.map2 (fun (field: PropertyInfo) -> valueOf known field.PropertyType) (case.GetFields()) fields

        String.concat " " [ $"{kind.Name}.{case.Name}"; yield! written ]
    | value ->
        known
        |> List.tryFind (fun (record, _) -> record = kind)
        |> Option.map (fun (_, modules) -> $"{fst modules.Head}.defaults")
        |> Option.defaultWith (fun () -> Convert.ToString(value, CultureInfo.InvariantCulture) |> nonNull)

/// Code of a cell; what is short stays in one line.
let private code (text: string) =
    let style = if text.Length <= 26 then " style='white-space: nowrap'" else ""
    $"<code{style}>{escaped text}</code>"

/// A heading with what a record is for, and a table of its fields: name and type, default, what it is.
let private table (kind: Type) (before: string) (rows: (string * string * string * string) list) : string =
    let address = (nonNull kind.FullName).ToLowerInvariant().Replace('.', '-')

    [
        $"<h3 id='{address}'><a href='reference/{address}.html'>{kind.Name}</a></h3><p>{html before}</p>"
        "<table><thead><tr><th>field, type</th><th>default</th><th>what it is</th></tr></thead><tbody>"
        for name, written, value, meaning in rows do
            $"<tr><td>{code name}<br>{code written}</td><td>{code value}</td><td>{html meaning}</td></tr>"
        "</tbody></table>"
    ]
    |> String.concat ""

let private summary (entry: XElement) = words (entry.Element(XName.Get "summary"))

/// The records of an assembly of F# that a module has defaults of.
let fsharp (assembly: Assembly) : string =
    let documented = entries assembly
    let known = withDefaults assembly

    [
        for record, modules in known do
            let names = modules |> List.map (fun (name, _) -> $"`{name}.defaults`") |> String.concat ", "

            table
                record
                $"""{summary documented[$"T:{record.FullName}"]} Its defaults: {names}."""
                [
                    for field in FSharpType.GetRecordFields record do
                        let meaning = summary documented[$"P:{record.FullName}.{field.Name}"]
                        let value = field.GetValue(snd modules.Head)
                        field.Name, nameOf field.PropertyType, valueOf known field.PropertyType value, sentence meaning
                ]
    ]
    |> String.concat "\n"

/// The records of an assembly of C# whose every value has a default.
let csharp (assembly: Assembly) : string =
    let documented = entries assembly

    let hasDefaults (constructor: ConstructorInfo) =
        let parameters = constructor.GetParameters()
        parameters.Length > 0 && parameters |> Array.forall _.HasDefaultValue

    [
        for record in assembly.GetExportedTypes() |> Array.sortBy _.Name do
            if not (isNull (record.GetMethod "<Clone>$")) then
                for constructor in record.GetConstructors() |> Array.filter hasDefaults do
                    let entry = documented[$"T:{record.FullName}"]

                    let parameters =
                        entry.Elements(XName.Get "param")
                        |> Seq.map (fun one -> (nonNull (one.Attribute(XName.Get "name"))).Value, words one)
                        |> dict

                    table
                        record
                        (summary entry)
                        [
                            for parameter in constructor.GetParameters() do
                                let name = nonNull parameter.Name
                                let value = (Signatures.defaultOf parameter).Replace(" = ", "")
                                name, Signatures.typeOf parameter, value, parameters[name]
                        ]
    ]
    |> String.concat "\n"
