// Gives every file in the packages of a folder one date, so that packing a commit twice gives the same bytes, and a README whose links and
// pictures are shown on a feed's page; prints their names and sizes.
open System
open System.IO
open System.IO.Compression
open System.Text
open System.Text.RegularExpressions

let date = DateTimeOffset(2000, 1, 1, 0, 0, 0, TimeSpan.Zero)

/// A README whose relative links lead into the repository, where one is known; without, their text stays, and pictures go.
let readme (text: string) : string =
    let link = Regex @"(!?)\[([^\]]*)\]\((?!https?:|#)([^)]*)\)"
    let text = Regex.Replace(text, @"<img [^>]*> ?", "")

    match Environment.GetEnvironmentVariable "TENSORNETS_REPOSITORY" with
    | null
    | "" -> link.Replace(text, (fun found -> if found.Groups[1].Value = "!" then "" else found.Groups[2].Value))
    | repository ->
        link.Replace(
            text,
            fun found ->
                let picture, words, path = found.Groups[1].Value, found.Groups[2].Value, found.Groups[3].Value
                let way = if picture = "!" then "raw" else "blob"
                $"{picture}[{words}]({repository}/{way}/HEAD/{path})"
        )

for file in Directory.GetFiles(fsi.CommandLineArgs[1], "TensorNets.*.*nupkg") |> Array.sort do
    let contents =
        use zip = ZipFile.OpenRead file

        [
            for entry in zip.Entries do
                use stream = entry.Open()
                use bytes = new MemoryStream()
                stream.CopyTo bytes

                if entry.FullName = "README.md" then
                    entry.FullName, Encoding.UTF8.GetBytes(readme (Encoding.UTF8.GetString(bytes.ToArray())))
                else
                    entry.FullName, bytes.ToArray()
        ]

    use zip = new ZipArchive(File.Create file, ZipArchiveMode.Create)

    for name, bytes in contents |> List.sortBy fst do
        let entry = zip.CreateEntry(name, CompressionLevel.SmallestSize)
        entry.LastWriteTime <- date
        use stream = entry.Open()
        stream.Write(bytes, 0, bytes.Length)

for file in Directory.GetFiles(fsi.CommandLineArgs[1], "TensorNets.*.*nupkg") |> Array.sort do
    printfn $"{Path.GetFileName file}  {FileInfo(file).Length / 1024L} KB"
