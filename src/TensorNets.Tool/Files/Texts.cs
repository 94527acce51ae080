namespace TensorNets.Tool.Files;

/// <summary>Files of text, written whole or not at all.</summary>
internal static class Texts
{
    /// <summary>Writes a file beside its place, then puts it there.</summary>
    /// <exception cref="ToolException">The folder is not there, or cannot be written to.</exception>
    internal static void Write(string path, string text)
    {
        var beside = $"{path}.{Guid.NewGuid():N}.tmp";
        try
        {
            File.WriteAllText(beside, text);
            File.Move(beside, path, overwrite: true);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            File.Delete(beside);
            throw new ToolException($"'{path}' cannot be written ({error.Message.TrimEnd('.')})", "check the folder, its rights and the disk");
        }
    }

    /// <summary>The text of a file.</summary>
    /// <exception cref="ToolException">There is none, or it cannot be read.</exception>
    internal static string Read(string path)
    {
        try
        {
            return File.ReadAllText(path);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            throw new ToolException($"'{path}' cannot be read ({error.Message.TrimEnd('.')})", "check the path");
        }
    }
}
