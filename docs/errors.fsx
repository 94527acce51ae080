(**
---
title: Every error
category: Reference
categoryindex: 4
index: 3
---
# Every error, and what to do

Functions of F# return `Error` with a list of everything that is wrong; C# and constructors throw one exception, `TensorNetException`, whose `Errors` is that list. What
an error says has numbers and names in it; here is what each means. The list is made from the types themselves.
A network, layer or model that was disposed is a mistake of the program: whatever asks for its cores throws `TensorNetException` with `Disposed`, in F# too.
*)

(*** hide ***)
#r ".build/DocsHost/bin/Release/net10.0/linux-x64/TorchSharp.dll"
#r ".build/DocsHost/bin/Release/net10.0/linux-x64/TensorNets.Core.dll"

open System
open System.IO
open System.Xml.Linq
open Microsoft.FSharp.Reflection
open TensorNets

let documentation =
    let file = Path.ChangeExtension(typeof<TensorNetError>.Assembly.Location, ".xml")

    XDocument.Load(file).Descendants(XName.Get "member")
    |> Seq.map (fun entry -> entry.Attribute(XName.Get "name").Value, entry)
    |> dict

/// The words of a case: what is wrong, and behind the semicolon the remedy.
let meaning (case: UnionCaseInfo) =
    let names =
        [
            $"T:{case.DeclaringType.FullName}.{case.Name}"
            $"P:{case.DeclaringType.FullName}.{case.Name}"
            $"M:{case.DeclaringType.FullName}.New{case.Name}"
        ]

    match
        names
        |> List.tryPick (fun name ->
            match documentation.TryGetValue name with
            | true, entry -> Some entry
            | _ -> None)
    with
    | None -> failwith $"{case.Name} has no documentation"
    | Some entry ->
        let words =
            entry.Element(XName.Get "summary").Value.Split([| ' '; '\n' |], StringSplitOptions.RemoveEmptyEntries)
            |> String.concat " "

        match words.IndexOf "; " with
        | -1 -> failwith $"{case.Name} has no remedy: {words}"
        | place -> words[.. place - 1], words[place + 2 ..].TrimEnd '.'

/// A value of a type, for a message that shows the form of its words; the values of a case differ.
let rec example (at: int) (name: string) (kind: Type) : obj =
    if kind = typeof<string> then
        box $"‹{name}›"
    elif kind = typeof<int> then
        box (
            match name with
            | "found" -> 0
            | "largest" -> 6
            | _ when at = 0 -> 7
            | _ -> 3 + at
        )
    elif kind = typeof<int64> then
        box (if at = 0 then 7L else 3L + int64 at)
    elif kind = typeof<float> then
        box (
            match name with
            | "entries" -> 8e12
            | "most" -> 6e9
            | "log10" -> 41.0
            | _ -> 0.25 * float (1 + at)
        )
    elif kind = typeof<bigint> then
        box (2I * bigint Int64.MaxValue)
    elif kind = typeof<int list> then
        box [ 2; 3 + at ]
    elif kind = typeof<int64 list> then
        box [ 2L; 3L + int64 at ]
    elif kind = typeof<string list> then
        box [ name ]
    else
        let case = (FSharpType.GetUnionCases kind)[0]
        FSharpValue.MakeUnion(case, exampleFields case)

and exampleFields (case: UnionCaseInfo) : obj[] =
    [| for i, field in Array.indexed (case.GetFields()) -> example i field.Name field.PropertyType |]

let message (case: UnionCaseInfo) =
    let error = FSharpValue.MakeUnion(case, exampleFields case)

    case.DeclaringType.GetProperty("Message").GetValue error :?> string

/// With places where long names may break.
let escaped (text: string) = Net.WebUtility.HtmlEncode(text).Replace(Environment.NewLine, "<br>").Replace("_", "_<wbr>")

let table (kind: Type) =
    [
        "<table><thead><tr><th>error</th><th>it says, for instance</th><th>what is wrong</th><th>what to do</th></tr></thead><tbody>"
        for case in FSharpType.GetUnionCases kind |> Array.sortBy _.Name do
            // These two hold an error of the types below.
            if case.DeclaringType <> typeof<TensorNetError> || (case.Name <> "Spec" && case.Name <> "Format") then
                let wrong, remedy = meaning case
                $"<tr><td><code style='white-space: nowrap'>{case.Name}</code></td><td>{escaped (message case)}</td><td>{escaped wrong}</td><td>{escaped remedy}</td></tr>"
        "</tbody></table>"
    ]
    |> String.concat ""

(** ## Tensors, layers, models, files

`TensorNetError`: *)
(*** hide ***)
table typeof<TensorNetError>
(*** include-it-raw ***)

(** ## Networks and their texts

`SpecError`, what a list of cores, a text or a rewrite can be wrong by: *)
(*** hide ***)
table typeof<SpecError>
(*** include-it-raw ***)

(** ## Formats

`FormatError`, why a format does not fit a shape: *)
(*** hide ***)
table typeof<FormatError>
(*** include-it-raw ***)

(** What is no error of ours but stands in the way, libtorch that is missing or wrong: [troubleshooting](troubleshooting.html). *)
