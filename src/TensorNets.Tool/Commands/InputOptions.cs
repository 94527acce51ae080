using System.CommandLine;
using TensorNets.Tool.Files;

namespace TensorNets.Tool.Commands;

/// <summary>The options that say what an .onnx file is given where it has to be run.</summary>
internal sealed class InputOptions
{
    private readonly Option<string[]> _shapes = new("--input")
    {
        Description = "The shape of an input of an .onnx file, as 1,3,224,224 or NAME=1,3,224,224; without it that of the file.",
    };

    private readonly Option<string?> _data = new("--data")
    {
        Description = "A folder of inputs of an .onnx file: each .safetensors file is a batch, by the inputs' names. "
            + "Plans then weigh errors by them.",
    };

    internal InputOptions() => _shapes.Validators.Add(result =>
    {
        if (result.Tokens.FirstOrDefault(token => Inputs.Shape(token.Value) is null) is { } wrong)
        {
            result.AddError($"--input is '{wrong.Value}'; expected sizes between commas, as 1,3,224,224.");
        }
    });

    /// <summary>Adds the options to a command.</summary>
    internal void AddTo(Command command)
    {
        command.Add(_shapes);
        command.Add(_data);
    }

    internal Inputs Of(ParseResult parsed) => new(string.Join(" ", parsed.GetValue(_shapes) ?? []), parsed.GetValue(_data) ?? "");

    /// <summary>The options as one would type them again.</summary>
    internal string Typed(ParseResult parsed) =>
        string.Concat((parsed.GetValue(_shapes) ?? []).Select(text => $" --input {text}"))
        + (parsed.GetValue(_data) is { } folder ? $" --data {folder}" : "");
}
