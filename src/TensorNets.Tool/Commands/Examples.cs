using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;

namespace TensorNets.Tool.Commands;

/// <summary>Examples in the help of commands.</summary>
internal static class Examples
{
    private static readonly Dictionary<string, string[]> All = new()
    {
        ["tensornets"] =
        [
            "tensornets inspect model.safetensors",
            "tensornets compress model.onnx --ratio 3 -o small.onnx",
        ],
        ["inspect"] = ["tensornets inspect model.onnx", "tensornets inspect model.safetensors", "tensornets inspect model.pth --json"],
        ["plan"] =
        [
            "tensornets plan model.safetensors --ratio 3",
            "tensornets plan model.onnx --latency 2 --data images --mean .485,.456,.406 --scale .229,.224,.225",
            "tensornets plan model.safetensors --error .1 --format cp tucker2 --keep embed -o plan.json",
        ],
        ["compress"] =
        [
            "tensornets compress model.onnx --ratio 3 --format tucker2 -o small.onnx",
            "tensornets compress model.safetensors --ratio 3 -o small.safetensors --report report.html",
            "tensornets compress model.pth --plan plan.json -o small.safetensors --work work",
            "tensornets compress model.safetensors --ratio 3 --work work --shard 1/4",
        ],
        ["merge"] = ["tensornets merge --work work -o small.safetensors"],
        ["sensitivity"] = ["tensornets sensitivity small.safetensors", "tensornets sensitivity small.onnx"],
        ["compare"] =
        [
            "tensornets compare model.onnx small.onnx --input 1,3,224,224",
            "tensornets compare model.safetensors small.safetensors",
        ],
    };

    /// <summary>Lets the help of a command and of those in it end with examples.</summary>
    internal static void ShowInHelp(Command root)
    {
        foreach (var help in root.Options.OfType<HelpOption>())
        {
            help.Action = new HelpWithExamples((HelpAction)help.Action!);
        }
    }

    private sealed class HelpWithExamples(HelpAction help) : SynchronousCommandLineAction
    {
        public override bool ClearsParseErrors => true;

        public override int Invoke(ParseResult parsed)
        {
            var code = help.Invoke(parsed);
            var command = parsed.CommandResult.Command;
            var output = parsed.InvocationConfiguration.Output;
            output.WriteLine("Examples:");
            foreach (var example in All.GetValueOrDefault(command.Name, [])) output.WriteLine($"  {example}");
            output.WriteLine();
            return code;
        }
    }
}
