using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;

namespace TensorNets.Tool.Commands;

/// <summary>Arguments and options that several commands have.</summary>
internal static class Shared
{
    internal static Argument<string> File(
        string name = "FILE", string description = "An .onnx or .safetensors file, or a state dict of PyTorch (.pth, .pt, .bin, .ckpt).") =>
        new(name) { Description = description };

    internal static Option<bool> Json() => new("--json") { Description = "Write one JSON object instead of tables." };

    /// <summary>Whether an option is typed, rather than at its default.</summary>
    internal static bool IsGiven(this CommandResult result, Option option) => result.GetResult(option) is { Implicit: false };

    /// <summary>Lets an option refuse whole numbers that are too small or too large; what is no number it refuses by itself.</summary>
    internal static void Bound(Option option, int least, int? most = null) => option.Validators.Add(result =>
    {
        foreach (var token in result.Tokens)
        {
            if (int.TryParse(token.Value, CultureInfo.InvariantCulture, out var found) && (found < least || found > most))
            {
                result.AddError($"{option.Name} is {found}; expected {least} {(most is null ? "or more" : $"to {most}")}.");
            }
        }
    });
}
