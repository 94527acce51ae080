/// What the generator of the site leaves undone.
module TensorNets.Documents.Site

open System.IO
open System.Text.RegularExpressions

let private isRule (line: string) = Regex.IsMatch(line, @"^:?-+:?( \| :?-+:?)+$")

/// Rows of tables begin with a bar, and heads have their first cell, which the generator leaves out where it is empty.
let private withBars (text: string) : string =
    let lines = text.Split '\n'
    let mutable isTable = false

    [
        for i, line in Array.indexed lines do
            isTable <- line <> "" && (isTable || (i + 1 < lines.Length && isRule lines[i + 1]))
            let isHead = isTable && i + 1 < lines.Length && isRule lines[i + 1]
            let cells (row: string) = (row.Split " | ").Length

            if isHead && cells line < cells lines[i + 1] then $"| | {line}"
            elif isTable then $"| {line.TrimStart()}"
            else line
    ]
    |> String.concat "\n"

/// Mends the tables of the pages in Markdown.
let mendTables (site: string) : unit =
    for file in Directory.EnumerateFiles(site, "*.md", SearchOption.AllDirectories) do
        File.WriteAllText(file, withBars (File.ReadAllText file))

/// All pages as one text: of the generator's, which has lost what is code and what is a table, the list of the reference alone is kept.
let writeFullText (site: string) : unit =
    let path = Path.Combine(site, "llms-full.txt")

    let body page =
        Regex.Replace(File.ReadAllText page, @"\A---\n.*?\n---\n|<svg .*?</svg>", "", RegexOptions.Singleline)

    let old = File.ReadAllText path
    let list = File.ReadAllText(Path.Combine(site, "llms.txt"))

    let pages =
        [
            for entry in Regex.Matches(list, @"^- \[.*?\]\((\S+\.md)\)", RegexOptions.Multiline) do
                let page = Path.Combine(site, entry.Groups[1].Value)

                if File.Exists page then
                    $"{entry.Value[2..]}\n{body page}"
        ]

    let reference = old[old.IndexOf("## API Reference") ..]
    File.WriteAllText(path, String.concat "\n" [ "# TensorNets\n\n## Docs\n"; yield! pages; reference ])

/// What the compiler adds to a record, which says nothing.
let private isAdded =
    Regex @"<a id=""(Deconstruct|Equals|GetHashCode|ToString|\(=\)|\(<>\)|``<Clone>\$``)"">"

/// A page without the rows of members that the compiler adds, and without tables that have no others.
let private withoutAdded (page: string) : string =
    let kept (row: Match) = if isAdded.IsMatch row.Value then "" else row.Value
    let page = Regex.Replace(page, @"<tr>(?:(?!</?tr>).)*</tr>\s*", kept, RegexOptions.Singleline)

    Regex.Replace(
        page,
        @"<div>\s*<h3>[^<]*</h3>\s*<table(?:(?!</table>).)*<tbody>\s*</tbody>\s*</table>\s*</div>",
        "",
        RegexOptions.Singleline
    )

/// The names that F# and C# give to one type.
let private names =
    [
        "int64", "long"
        "uint64", "ulong"
        "float", "double"
        "float32", "float"
        "obj", "object"
        "unit", "void"
    ]
    |> dict

/// A type or a call in the notation of F# as C# has it.
let private translated (code: string) : string =
    let words =
        Regex.Replace(
            code,
            @"(?<![\w.#""'/-])[a-z]\w*(?![\w.""'=-])",
            fun word ->
                match names.TryGetValue word.Value with
                | true, name -> name
                | _ -> word.Value
        )

    let patterns =
        [
            @"^(<span>)?byref&lt;(.*)&gt;(</span>)?$", "$1out $2$3"
            @"^(<span>)?(.*)(?: |&#32;)seq(</span>)?$", "$1IEnumerable&lt;$2&gt;$3"
            @"^(<span>)?Nullable&lt;(.*)&gt;(</span>)?$", "$1$2?$3"
            @"&lt;((?:(?!&[lg]t;).)*)(?: |&#32;)\*(?: |&#32;)((?:(?!&[lg]t;).)*)&gt;", "&lt;($1, $2)&gt;"
            @"^<span>this\.", "<span>"
            @"(?<=[ >;(,])\?(?=\w)", ""
        ]

    patterns
    |> List.fold (fun code (pattern: string, form: string) -> Regex.Replace(code, pattern, form)) words

/// The types of a page's tables, their calls and parameters, as C# has them.
let private inCSharp (page: string) : string =
    let place = page.IndexOf "<main"
    let main = withoutAdded (page.Substring place)

    let main =
        Regex.Replace(main, @"(?<=<code>)(?!<code)([^\n]*?)(?=</code>)", fun code -> translated code.Value)

    page.Substring(0, place) + Regex.Replace(main, @"(?<=\n\s*)\?(?=\w+\s*\n)", "")

/// The pages of the types of C#: their members as C# writes them, at the head and in the tables.
let addSignatures (site: string) : unit =
    let page = File.ReadAllText(Path.Combine(site, "csharp-signatures.html"))

    for found in Regex.Matches(page, @"<h3 id='(\w+)'>.*?(<pre>.*?</pre>)", RegexOptions.Singleline) do
        for space in [ "csharp"; "onnx" ] do
            let file = Path.Combine(site, "reference", $"tensornets-{space}-{found.Groups[1].Value}.html")

            if File.Exists file then
                let text = inCSharp (File.ReadAllText file)
                let place = text.IndexOf("<h3>", text.IndexOf "<main")
                File.WriteAllText(file, text.Insert(place, $"<h3>In C#</h3>\n{found.Groups[2].Value}\n<p>What each is for:</p>\n"))
