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
        Description = "A folder of inputs of an .onnx file, by which plans then weigh errors: .safetensors files, each a batch by the "
            + "inputs' names; or .npy files and images (.png, .jpg), of several inputs each in a folder of its name.",
    };

    private readonly Option<string?> _mean = Numbers(
        "--mean",
        "What is subtracted from images, whose colours are from 0 to 1: .5 or .5,.4,.3. For an input of whole numbers they are from 0 to "
        + "255, unless --scale is given.");

    private readonly Option<string?> _scale = Numbers("--scale", "What images are divided by then: .25 or .2,.2,.3.");

    private readonly Option<bool> _bgr = new("--bgr") { Description = "The network takes blue first, then green and red." };

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
        foreach (var option in new Option[] { _shapes, _data, _mean, _scale, _bgr }) command.Add(option);
    }

    internal Inputs Of(ParseResult parsed) => new(
        string.Join(" ", parsed.GetValue(_shapes) ?? []),
        parsed.GetValue(_data) ?? "",
        new Colours(parsed.GetValue(_mean) ?? "", parsed.GetValue(_scale) ?? "", parsed.GetValue(_bgr)));

    /// <summary>The options as one would type them again.</summary>
    internal string Typed(ParseResult parsed)
    {
        string Text(Option<string?> option) => parsed.GetValue(option) is { } text ? $" {option.Name} {text}" : "";
        return string.Concat((parsed.GetValue(_shapes) ?? []).Select(text => $" --input {text}"))
            + $"{Text(_data)}{Text(_mean)}{Text(_scale)}{(parsed.GetValue(_bgr) ? " --bgr" : "")}";
    }

    private static Option<string?> Numbers(string name, string description)
    {
        var option = new Option<string?>(name) { Description = description };
        option.Validators.Add(result =>
        {
            if (result.Tokens is not [var token]) return;
            var numbers = Colours.Numbers(token.Value);
            if (numbers is null || (name == "--scale" && numbers.Contains(0)))
            {
                result.AddError($"{name} is '{token.Value}'; expected a number or three between commas, as .5 or .485,.456,.406.");
            }
        });
        return option;
    }
}
