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

/// The pages of the types of C#, whose tables are in the notation of F#, with their members as C# writes them.
let addSignatures (site: string) : unit =
    let page = File.ReadAllText(Path.Combine(site, "csharp-signatures.html"))

    for found in Regex.Matches(page, @"<h3 id='(\w+)'>.*?(<pre>.*?</pre>)", RegexOptions.Singleline) do
        for space in [ "csharp"; "onnx" ] do
            let file = Path.Combine(site, "reference", $"tensornets-{space}-{found.Groups[1].Value}.html")

            if File.Exists file then
                let text = File.ReadAllText file
                let place = text.IndexOf("<h3>", text.IndexOf "<main")

                let added =
                    $"<h3>In C#</h3>\n{found.Groups[2].Value}\n<p>What each is for, in the notation of F#:</p>\n"

                File.WriteAllText(file, text.Insert(place, added))
