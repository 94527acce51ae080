namespace TensorNets.Tool;

/// <summary>Errors of the libraries as one line that says what to do.</summary>
internal static class Errors
{
    /// <summary>As many of several errors as the line says.</summary>
    private const int Said = 2;

    /// <summary>The first errors, how many more there are, and what to do about the first.</summary>
    internal static string OneLine(TensorNetException exception)
    {
        var errors = exception.Errors;
        var said = errors.Take(Said).Select(error => error.Message.ReplaceLineEndings(" ").TrimEnd());
        var more = errors.Count > Said ? $" ({errors.Count - Said} more)" : "";
        return $"{string.Join(" ", said)}{more}{(Remedy(errors[0]) is { } remedy ? $" {remedy}" : "")}";
    }

    private static string? Remedy(TensorNetError error) => error switch
    {
        TensorNetError.BadFile => "Check the path, or write the file anew.",
        TensorNetError.UnwrittenFile => "Check the folder, its rights and the disk.",
        TensorNetError.PathNotFound => "tensornets inspect lists the names.",
        TensorNetError.NotFinite => "Clean the file that holds them.",
        TensorNetError.Spec => "Write the plan anew with tensornets plan.",
        _ => null,
    };
}
