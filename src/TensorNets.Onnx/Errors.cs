using Microsoft.FSharp.Collections;
using Microsoft.FSharp.Core;

namespace TensorNets.Onnx;

/// <summary>Errors of files and graphs, in the types of the core.</summary>
internal static class Errors
{
    /// <summary>The value, or a <see cref="TensorNetException"/> that lists every error.</summary>
    internal static T OrThrow<T>(this FSharpResult<T, FSharpList<TensorNetError>> result) => TensorNetErrorModule.raiseErrors(result);

    /// <summary>A file that cannot be read, with the reason.</summary>
    internal static TensorNetException BadFile(string path, string reason) => new([TensorNetError.NewBadFile(path, reason)]);

    /// <summary>A value outside its range, with what is in it.</summary>
    internal static TensorNetException Unsupported(string option, string found, string supported) =>
        new([TensorNetError.NewUnsupported(option, found, supported)]);

    /// <summary>Numbers as messages show them: [1, 2, 3].</summary>
    internal static string Shape(IEnumerable<long> numbers) => $"[{string.Join(", ", numbers)}]";
}
