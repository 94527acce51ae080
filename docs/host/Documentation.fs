/// What the documentation file beside an assembly says, as HTML for the pages.
module TensorNets.Documents.Documentation

open System.Collections.Generic
open System.IO
open System.Net
open System.Reflection
open System.Text.RegularExpressions
open System.Xml.Linq

let escaped (text: string) : string = WebUtility.HtmlEncode text |> nonNull

/// The entries of an assembly by their names, such as T:TensorNets.Norm.
let entries (assembly: Assembly) : IDictionary<string, XElement> =
    let file = Path.ChangeExtension(assembly.Location, ".xml") |> nonNull

    dict
        [
            for entry in XDocument.Load(file).Descendants(XName.Get "member") do
                match entry.Attribute(XName.Get "name") with
                | null -> ()
                | name -> name.Value, entry
        ]

/// The words of an element: references by their last name, what is code between backticks.
let words (element: XElement | null) : string =
    let attribute (name: string) (inner: XElement) = inner.Attribute(XName.Get name) |> Option.ofObj |> Option.map _.Value

    let shown (node: XNode) =
        match node with
        | :? XElement as inner ->
            match attribute "cref" inner, attribute "name" inner with
            | Some reference, _ -> "`" + Regex.Match(reference, @"[^.:(]+(?=\(|$)").Value + "`"
            | None, Some parameter -> $"`{parameter}`"
            | None, None -> $"`{inner.Value}`"
        | :? XText as text -> text.Value
        | _ -> ""

    match element with
    | null -> ""
    | element ->
        let text = element.Nodes() |> Seq.map shown |> String.concat ""
        Regex.Replace(text, @"\s+", " ").Trim()

/// The first sentence of a text.
let sentence (text: string) : string = Regex.Match(text, @"^.*?[.](?= \p{Lu}|$)|^.*$").Value

/// A text with backticks, escaped.
let html (text: string) : string = Regex.Replace(escaped text, "`([^`]+)`", "<code>$1</code>")
