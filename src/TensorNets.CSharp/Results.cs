using Microsoft.FSharp.Collections;
using Microsoft.FSharp.Core;

namespace TensorNets.CSharp;

internal static class Results
{
    /// <summary>The value, or a <see cref="TensorNetException"/> that lists every error.</summary>
    internal static T OrThrow<T>(this FSharpResult<T, FSharpList<TensorNetError>> result) => TensorNetErrorModule.raiseErrors(result);

    internal static T OrThrow<T>(this FSharpResult<T, FSharpList<SpecError>> result) =>
        ResultModule.MapError(FuncConvert.FromFunc<FSharpList<SpecError>, FSharpList<TensorNetError>>(
            errors => ListModule.OfSeq(errors.Select(TensorNetError.NewSpec))), result).OrThrow();

    internal static T OrThrow<T>(this FSharpResult<T, FSharpList<FormatError>> result) =>
        ResultModule.MapError(FuncConvert.FromFunc<FSharpList<FormatError>, FSharpList<TensorNetError>>(
            errors => ListModule.OfSeq(errors.Select(TensorNetError.NewFormat))), result).OrThrow();

    internal static FSharpOption<T> Option<T>(T? value)
        where T : class => value is null ? FSharpOption<T>.None : FSharpOption<T>.Some(value);
}
