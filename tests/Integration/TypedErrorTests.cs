using Expecto;
using static Expecto.CSharp.Runner;

namespace TensorNets.Integration;

/// <summary>What a C# caller sees of the typed errors.</summary>
internal static class TypedErrorTests
{
    internal static Test All => TestList("typed errors", [
        TestCase("the exception lists every error, and its message has all their messages", () =>
        {
            TensorNetError[] errors = [TensorNetError.NewMissingCore("A"), TensorNetError.NewZeroTensor("The target")];
            var exception = new TensorNetException(errors);
            Expect.SequenceEqual(errors, exception.Errors);
            Expect.True(errors.All(error => exception.Message.Contains(error.Message)), exception.Message);
        }),
    ]);
}
