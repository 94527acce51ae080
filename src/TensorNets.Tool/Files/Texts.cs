using Microsoft.FSharp.Core;

namespace TensorNets.Tool.Files;

/// <summary>Files of text, written whole or not at all.</summary>
internal static class Texts
{
    /// <summary>Writes a file as the library writes its own.</summary>
    /// <exception cref="TensorNetException">The folder is not there, or cannot be written to.</exception>
    internal static void Write(string path, string text) =>
        TensorNetErrorModule.raiseErrors(AtomicFile.write(path, FuncConvert.FromAction<Stream>(stream =>
        {
            using var writer = new StreamWriter(stream, leaveOpen: true);
            writer.Write(text);
        })));

    /// <summary>The text of a file.</summary>
    /// <exception cref="ToolException">There is none, or it cannot be read.</exception>
    internal static string Read(string path)
    {
        try
        {
            return File.ReadAllText(path);
        }
        catch (Exception error) when (IsRefusal(error))
        {
            throw new ToolException($"'{path}' cannot be read ({error.Message.TrimEnd('.')})", "check the path");
        }
    }

    /// <summary>Whether an error is one of the file system's, or of a path that it cannot have.</summary>
    internal static bool IsRefusal(Exception error) =>
        error is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException;
}
