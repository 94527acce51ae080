namespace TensorNets.Samples.Stability;

/// <summary>A dataset file that is not what it should be: the message names the file, what was found and what was expected.</summary>
public sealed class DatasetException : Exception
{
    /// <summary>Describes one fault of one file.</summary>
    public DatasetException(string file, string what, string found, string expected, Exception? cause = null)
        : base($"{file}: {what}: found {found}, expected {expected}.", cause)
    {
        File = file;
        What = what;
        Found = found;
        Expected = expected;
    }

    /// <summary>The file at fault.</summary>
    public string File { get; }

    /// <summary>The part of the file at fault, such as "magic number".</summary>
    public string What { get; }

    /// <summary>What the file has.</summary>
    public string Found { get; }

    /// <summary>What a good file has.</summary>
    public string Expected { get; }
}
