namespace TensorNets

open System
open System.IO

/// Files that are opened for reading with a reason where that fails, and written whole or not at all.
[<RequireQualifiedAccess>]
module internal AtomicFile =
    let private attempt (refused: string -> TensorNetError) (path: string) (act: unit -> Result<'T, TensorNetError list>) =
        ArgumentNullException.ThrowIfNull(path, nameof path)

        try
            if path = "" then Error [ refused "the path is empty" ]
            elif path.Contains '\000' then Error [ refused "the path has a character that no path can have" ]
            elif Directory.Exists path then Error [ refused "it is a directory" ]
            else act ()
        with
        | :? IOException
        | :? UnauthorizedAccessException as problem -> Error [ refused (problem.Message.TrimEnd '.') ]

    let private refused (path: string) (reason: string) = TensorNetError.BadFile(path, reason)

    /// <summary>A file that is open for reading, at any place of it; the caller disposes it. Errors: <c>BadFile</c>, with the
    /// reason.</summary>
    let opened (path: string) : Result<FileStream, TensorNetError list> =
        attempt (refused path) path (fun () ->
            if File.Exists path then
                let file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read ||| FileShare.Delete)

                if file.CanSeek then
                    Ok file
                else
                    file.Dispose()
                    Error [ refused path "it is a pipe; expected a file" ]
            else
                Error [ refused path "there is no such file" ])

    /// <summary>What is read from a file. Errors: <c>BadFile</c>, with the reason, where it cannot be opened; those of the
    /// reader.</summary>
    let read (path: string) (reader: Stream -> Result<'T, TensorNetError list>) : Result<'T, TensorNetError list> =
        opened path
        |> Result.bind (fun file ->
            use file = file
            attempt (refused path) path (fun () -> reader file))

    /// Where a path leads: the end of links, whether it is there or not.
    let private target (path: string) : string =
        let file = FileInfo path

        if isNull file.LinkTarget then
            file.FullName
        else
            match file.ResolveLinkTarget true with
            | null -> file.FullName
            | final -> final.FullName

    /// What stands in these folders is no file that another could take the place of.
    let private isDevice (target: string) =
        not (OperatingSystem.IsWindows())
        && (target.StartsWith "/dev/" && not (target.StartsWith "/dev/shm/") || target.StartsWith "/proc/")

    /// Writes beside, then takes the place of what is there, whose permissions stay. Renaming is one step for all who look.
    let private replace (target: string) (exists: bool) (fill: Stream -> unit) : unit =
        let folder = nonNull (Path.GetDirectoryName target)
        let beside = Path.Combine(folder, $".{Guid.NewGuid():N}.tmp")
        let keepsMode = exists && not (OperatingSystem.IsWindows())

        let options =
            FileStreamOptions(Mode = FileMode.CreateNew, Access = FileAccess.Write, Share = FileShare.None)

        if keepsMode then
            options.UnixCreateMode <- File.GetUnixFileMode target

        try
            let file = new FileStream(beside, options)

            try
                fill file
                file.Flush true
            finally
                file.Dispose()

            if keepsMode then
                File.SetUnixFileMode(beside, File.GetUnixFileMode target)

            File.Move(beside, target, true)
        with _ ->
            try
                File.Delete beside
            with
            | :? IOException
            | :? UnauthorizedAccessException -> ()

            reraise ()

    /// <summary>Writes a file: whenever the process or the machine ends, the path holds what it held before or all that is new. A link
    /// stays one; a device or a pipe is written to as it is. Errors: <c>UnwrittenFile</c>, with the reason.</summary>
    let write (path: string) (fill: Stream -> unit) : Result<unit, TensorNetError list> =
        attempt (fun reason -> TensorNetError.UnwrittenFile(path, reason)) path (fun () ->
            let target = target path

            if File.Exists target then
                // A file that must not be written to is not replaced either.
                use file =
                    new FileStream(target, FileMode.Open, FileAccess.Write, FileShare.ReadWrite ||| FileShare.Delete)

                if file.CanSeek && not (isDevice target) then
                    file.Dispose()
                    replace target true fill
                else
                    fill file
            else
                replace target false fill

            Ok())
