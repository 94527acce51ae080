// Gives every file in the packages of a folder one date, so that packing a commit twice gives the same bytes; prints their names and sizes.
open System
open System.IO
open System.IO.Compression

let date = DateTimeOffset(2000, 1, 1, 0, 0, 0, TimeSpan.Zero)

for file in Directory.GetFiles(fsi.CommandLineArgs[1], "TensorNets.*.*nupkg") |> Array.sort do
    let contents =
        use zip = ZipFile.OpenRead file

        [
            for entry in zip.Entries do
                use stream = entry.Open()
                use bytes = new MemoryStream()
                stream.CopyTo bytes
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
