namespace TensorNets

open System
open System.Buffers.Binary
open System.Collections.Generic
open System.IO
open TorchSharp

/// <summary>A safetensors file that is open: what it lists, and its tensors one by one, each read when it is asked for. Not for several
/// threads at once. Whoever has opened a file disposes the reader, which closes it.</summary>
[<Sealed>]
type SafeTensorReader
    internal
    (name: string, stream: Stream, closes: bool, start: int64, entries: SafeTensorEntry list, metadata: IReadOnlyDictionary<string, string>)
    =
    let byName = entries |> List.map (fun entry -> entry.Name, entry) |> dict

    /// When a file was last written to.
    let written () =
        match stream with
        | :? FileStream as file -> File.GetLastWriteTimeUtc file.SafeFileHandle
        | _ -> DateTime.MinValue

    let opened = written ()
    let bad reason = Error [ TensorNetError.BadFile(name, reason) ]

    /// The tensors, in the order of the header.
    member _.Entries: IReadOnlyList<SafeTensorEntry> = entries

    /// What the file says beside its tensors.
    member _.Metadata = metadata

    /// <summary>One tensor, on the CPU. The caller owns it. Errors: <c>MissingKey</c>; <c>BadFile</c>, where the file has been written to
    /// or cut off since, cannot be read, or the tensor is larger than memory; <c>Disposed</c>.</summary>
    member _.Read(key: string) : Result<torch.Tensor, TensorNetError list> =
        ArgumentNullException.ThrowIfNull(key, nameof key)

        match byName.TryGetValue key with
        | _ when not stream.CanRead -> Error [ TensorNetError.Disposed $"The reader of '{name}'" ]
        | true, entry ->
            try
                stream.Position <- start + entry.Offset
                let read = TensorBytes.read stream entry.DType entry.Shape

                if written () = opened then
                    read
                    |> Result.mapError (fun reason -> [ TensorNetError.BadFile(name, $"{SafeTensorHeader.shown key} {reason}") ])
                else
                    read |> Result.iter _.Dispose()
                    bad "it has been written to since it was opened"
            with
            | :? EndOfStreamException -> bad "it ends too early"
            | :? IOException as problem -> bad (problem.Message.TrimEnd '.')
        | _ -> Error [ TensorNetError.MissingKey key ]

    /// All tensors by name, or the first error.
    member internal this.ReadAll() : Result<(string * Tensor) list, TensorNetError list> =
        use scope = torch.NewDisposeScope()

        let rec read found (rest: SafeTensorEntry list) =
            match rest with
            | [] -> Ok(List.rev found)
            | entry :: rest ->
                match this.Read entry.Name with
                | Ok tensor -> read ((entry.Name, tensor) :: found) rest
                | Error errors -> Error errors

        read [] entries |> Result.map (List.map (fun (name, tensor) -> name, scope.MoveToOuter tensor))

    interface IDisposable with
        member _.Dispose() =
            if closes then
                stream.Dispose()

/// <summary>Named tensors in the safetensors format: 8 bytes with the length of a header, the header in JSON, the bytes of the tensors side
/// by side.</summary>
/// <remarks>F64, F32, F16, BF16, I64, I32, I16, I8, U8, BOOL. A reader trusts nothing: the header must agree with itself and with the size
/// of the file before anything is allocated for a tensor.</remarks>
[<RequireQualifiedAccess>]
module SafeTensors =
    /// What is wrong with a file, the first reasons of many.
    let internal badFile (name: string) (reasons: string list) : Result<'T, TensorNetError list> =
        Error(
            reasons
            |> List.truncate SafeTensorHeader.mostReasons
            |> List.map (fun reason -> TensorNetError.BadFile(name, reason))
        )

    let private checkedReader (closes: bool) (name: string) (stream: Stream) : Result<SafeTensorReader, TensorNetError list> =
        Argument.stream (nameof stream) (fun stream -> stream.CanRead && stream.CanSeek) "read at any place" stream

        let origin = stream.Position
        let size = stream.Length - origin

        try
            if size < 8L then
                badFile name [ "it ends too early" ]
            else
                let prefix = Array.zeroCreate<byte> 8
                stream.ReadExactly prefix
                let length = BinaryPrimitives.ReadUInt64LittleEndian(ReadOnlySpan prefix)
                let most = min SafeTensorHeader.limit (size - 8L)

                if length > uint64 most then
                    badFile name [ $"its header is said to have {length} bytes; expected at most {most}" ]
                else
                    let header = Array.zeroCreate<byte>(int length)
                    stream.ReadExactly header

                    match SafeTensorHeader.parse (size - 8L - int64 length) header with
                    | Ok(entries, metadata) ->
                        match NativeLibraries.check () with
                        | [] ->
                            Ok(new SafeTensorReader(name, stream, closes, origin + 8L + int64 length, entries, Dictionary(dict metadata)))
                        | missing -> Error missing
                    | Error reasons -> badFile name reasons
        with
        | :? EndOfStreamException -> badFile name [ "it ends too early" ]
        | :? IOException as problem -> badFile name [ problem.Message.TrimEnd '.' ]

    /// Whether a stream that can seek goes on as safetensors begin, with the length of a header that it has; it stays where it is. What
    /// TorchSharp writes has letters there.
    let internal isAt (stream: Stream) : bool =
        let start, length = stream.Position, Array.zeroCreate<byte> 8
        let count = stream.ReadAtLeast(length, 8, throwOnEndOfStream = false)
        stream.Position <- start
        count = 8 && BinaryPrimitives.ReadUInt64LittleEndian length <= uint64 (stream.Length - start - 8L)

    /// <summary>The file from the position of a stream to its end; the stream can seek (a file, memory, a view of a mapped file) and stays
    /// the caller's. Errors: <c>BadFile</c>, with the reasons.</summary>
    /// <example><code>SafeTensors.ofStream "memory" (new MemoryStream()) // Error: no header</code></example>
    let ofStream (name: string) (stream: Stream) : Result<SafeTensorReader, TensorNetError list> = checkedReader false name stream

    /// <summary>The safetensors file at a path, open until the reader is disposed: its header is checked, its tensors are read when they
    /// are asked for, so that a file may be larger than memory. Errors: <c>BadFile</c>, with the reasons.</summary>
    /// <example><code>SafeTensors.openFile "no such file" // Error, with the reason</code></example>
    let openFile (path: string) : Result<SafeTensorReader, TensorNetError list> =
        AtomicFile.opened path
        |> Result.bind (fun file ->
            let opened = checkedReader true path file

            if opened.IsError then
                file.Dispose()

            opened)

    /// <summary>What is read from the safetensors file at a path, which is open meanwhile. Errors: <c>BadFile</c>, with the reasons; those
    /// of the reader.</summary>
    /// <example><code>SafeTensors.read path (fun file -> Ok file.Entries) // Error, if there is no such file</code></example>
    let read (path: string) (reader: SafeTensorReader -> Result<'T, TensorNetError list>) : Result<'T, TensorNetError list> =
        openFile path
        |> Result.bind (fun file ->
            use file = file
            reader file)

    /// <summary>All tensors of the safetensors file at a path, by name; the caller owns them. Errors: <c>BadFile</c>, with the
    /// reasons.</summary>
    /// <example><code>SafeTensors.load path // Error, if there is no such file</code></example>
    let load (path: string) : Result<(string * torch.Tensor) list, TensorNetError list> = read path _.ReadAll()

    let private isUnicode (text: string) = not (isNull (box text)) && Text.Encoding.UTF8.GetString(Text.Encoding.UTF8.GetBytes text) = text

    let private nameErrors (metadata: (string * string) list) (tensors: string list) : TensorNetError list =
        let bad what found expected = TensorNetError.Unsupported(what, found, expected)

        let names what (names: string list) =
            [
                for name, count in List.countBy id names do
                    if count > 1 then
                        bad what $"{SafeTensorHeader.shown name}, given {count} times" "each once"
                for name in names do
                    if not (isUnicode name) then
                        bad what "text with half of a character" "Unicode text"
            ]

        [
            yield! names "The name of a tensor" tensors
            yield! names "The name of metadata" (List.map fst metadata)
            for key, value in metadata do
                if not (isUnicode value) then
                    bad $"Metadata {SafeTensorHeader.shown key}" "text with half of a character" "Unicode text"
            if List.contains SafeTensorHeader.metadataName tensors then
                bad "The name of a tensor" SafeTensorHeader.metadataName "any other: the metadata is called so"
        ]

    let private tensorErrors (name: string) (tensor: Tensor) : TensorNetError list =
        let what = $"Tensor {SafeTensorHeader.shown name}"

        match TensorBytes.errors what tensor with
        | [] when SafeTensorHeader.dtypes |> List.forall (fun (_, dtype) -> dtype <> tensor.dtype) ->
            [ TensorNetError.DType(what, string tensor.dtype, SafeTensorHeader.dtypeNames) ]
        | found -> found

    /// Writes a tensor whose turn has come, and throws where it cannot be made or is another than was said.
    let private writeDeferred (stream: Stream) (deferred: DeferredTensor) : unit =
        use _ = torch.NewDisposeScope()
        let tensor = deferred.Make() |> TensorNetError.raiseErrors
        let what = $"Tensor {SafeTensorHeader.shown deferred.Name}"

        TensorNetError.raiseAny
            [
                if tensor.dtype <> deferred.DType then
                    TensorNetError.DType(what, string tensor.dtype, string deferred.DType)
                if Check.shapeOf tensor <> deferred.Shape then
                    TensorNetError.Shape(what, Check.shapeOf tensor, TensorNetError.shapeText deferred.Shape)
            ]

        TensorBytes.write stream tensor

    let private deferredWriter
        (metadata: (string * string) list)
        (tensors: DeferredTensor list)
        : Result<Stream -> unit, TensorNetError list> =
        match nameErrors metadata (tensors |> List.map _.Name) with
        | [] ->
            // The largest entries first: every tensor then begins at a multiple of the size of its entries, as a view of a mapped file
            // wants it.
            let size (tensor: DeferredTensor) = (TensorBytes.entrySize tensor.DType).Value
            let ordered = tensors |> List.sortBy (fun tensor -> -(size tensor))

            let entries, _ =
                (0L, ordered)
                ||> List.mapFold (fun at tensor ->
                    let length = List.fold (*) (size tensor) tensor.Shape
                    { Name = tensor.Name; DType = tensor.DType; Shape = tensor.Shape; Offset = at; Length = length }, at + length)

            let header = SafeTensorHeader.write metadata entries

            if header.LongLength > SafeTensorHeader.limit then
                Error
                    [
                        TensorNetError.Unsupported("The header", $"{header.LongLength} bytes", $"at most {SafeTensorHeader.limit}")
                    ]
            else
                Ok(fun stream ->
                    let prefix = Array.zeroCreate<byte> 8
                    BinaryPrimitives.WriteUInt64LittleEndian(Span prefix, uint64 header.LongLength)
                    stream.Write(prefix, 0, prefix.Length)
                    stream.Write(header, 0, header.Length)

                    for tensor in ordered do
                        writeDeferred stream tensor)
        | errors -> Error errors

    let private writer (metadata: (string * string) list) (tensors: (string * Tensor) list) : Result<Stream -> unit, TensorNetError list> =
        match tensors |> List.collect (fun (name, tensor) -> tensorErrors name tensor) with
        | [] -> tensors |> List.map DeferredTensor.ofTensor |> deferredWriter metadata
        | errors -> Error(nameErrors metadata (List.map fst tensors) @ errors)

    /// Writes tensors to a file as `save` does, each made when its turn comes and given back behind it. Errors: those of `save`; those of
    /// what makes a tensor, and `DType` or `Shape` where it is another than was said: the file is then as it was.
    let internal saveDeferred
        (path: string)
        (metadata: (string * string) list)
        (tensors: DeferredTensor list)
        : Result<unit, TensorNetError list> =
        deferredWriter metadata tensors
        |> Result.bind (fun write ->
            try
                AtomicFile.write path write
            with :? TensorNetException as problem ->
                Error(List.ofSeq problem.Errors))

    /// <summary>Writes tensors and metadata to a stream. Errors: <c>DType</c>, <c>Unsupported</c>, all before the first byte is written;
    /// <c>UnwrittenFile</c>, where the stream takes no more.</summary>
    /// <example><code>SafeTensors.write [ "made by", "hand" ] [ "matrix", matrix ] (new MemoryStream()) |> orStop</code></example>
    let write
        (metadata: (string * string) list)
        (tensors: (string * torch.Tensor) list)
        (stream: Stream)
        : Result<unit, TensorNetError list> =
        Argument.notNull (nameof metadata) metadata
        Argument.notNull (nameof tensors) tensors
        Argument.stream (nameof stream) _.CanWrite "written" stream

        writer metadata tensors
        |> Result.bind (fun write ->
            try
                Ok(write stream)
            with
            | :? IOException
            // Memory that is full.
            | :? NotSupportedException as problem -> Error [ TensorNetError.UnwrittenFile("The stream", problem.Message.TrimEnd '.') ])

    /// <summary>Writes tensors and metadata to a file, which holds its old content or the new one whole, whatever happens meanwhile.
    /// Equivalent to: <c>load</c> gives the same tensors to the bit. Errors: <c>DType</c>, <c>Unsupported</c>,
    /// <c>UnwrittenFile</c>.</summary>
    /// <example><code>SafeTensors.save path [] [ "matrix", matrix ] |> orStop</code></example>
    let save (path: string) (metadata: (string * string) list) (tensors: (string * torch.Tensor) list) : Result<unit, TensorNetError list> =
        Argument.notNull (nameof metadata) metadata
        Argument.notNull (nameof tensors) tensors
        writer metadata tensors |> Result.bind (AtomicFile.write path)
