using System.CommandLine;
using TensorNets.CSharp;
using TensorNets.Tool.Files;
using TensorNets.Tool.Output;

namespace TensorNets.Tool.Commands;

/// <summary><c>compare A B</c>: how far one file is from another.</summary>
internal static class CompareCommand
{
    internal static Command Create(Terminal terminal)
    {
        var first = Shared.File("A", "The file that errors are relative to.");
        var second = Shared.File("B", "Another file of the same network; factorized layers count as what they contract to.");
        var json = Shared.Json();
        var inputs = new InputOptions();
        var command = new Command(
            "compare",
            "Compares two files of one network: sizes and the relative error of each tensor; of .onnx files outputs, layers and times in "
            + "ONNX Runtime.")
        {
            first, second, json,
        };
        inputs.AddTo(command);
        command.SetAction(Application.Guarded(terminal, (parsed, _) =>
        {
            using var a = NetworkFile.Open(parsed.GetRequiredValue(first));
            using var b = NetworkFile.Open(parsed.GetRequiredValue(second));
            switch (a, b)
            {
                case (StateDictFile one, StateDictFile two):
                    terminal.Tell(Comparison.Of(a, b, StateFiles.Compare(one.Tensors, two.Tensors)), parsed.GetValue(json), Show);
                    return ExitCode.Done;
                case (GraphFile one, GraphFile two):
                    var given = inputs.Of(parsed);
                    terminal.Tell(Verified.Of(one.Compare(two, given), given), parsed.GetValue(json), Show);
                    return ExitCode.Done;
                default:
                    throw new ToolException($"'{a.Path}' is {a.Format}, '{b.Path}' is {b.Format}", "name two files of one format");
            }
        }));
        return command;
    }

    private static void Show(Terminal terminal, Verified found)
    {
        terminal.Table(
            [Column.Text("output or layer"), Column.Number("relative error"), Column.Number("kernel error")],
            found.Outputs.Concat(found.Layers).Select(line => (IReadOnlyList<string>)
                [line.Name, Text.Real(line.Error), Text.Real(line.KernelError)]));
        terminal.Line(found.ToString());
    }

    private static void Show(Terminal terminal, Comparison found)
    {
        if (found.Tensors.Count > 0)
        {
            terminal.Table(
                [Column.Text("tensor"), Column.Text("shape"), Column.Number("relative error")],
                found.Tensors.Select(tensor => (IReadOnlyList<string>)
                    [tensor.Name, Text.Shape(tensor.Shape), double.IsNaN(tensor.Error) ? "another shape" : Text.Real(tensor.Error)]));
        }

        terminal.Line($"{found.Same} tensors are the same, {found.Tensors.Count} differ.");
        foreach (var name in found.OnlyFirst) terminal.Line($"only in {found.First}: {name}");
        foreach (var name in found.OnlySecond) terminal.Line($"only in {found.Second}: {name}");
        terminal.Line($"{found.First}: {Text.Bytes(found.FirstBytes)}, {Text.Count(found.FirstParameters)} numbers");
        terminal.Line(
            $"{found.Second}: {Text.Bytes(found.SecondBytes)}, {Text.Count(found.SecondParameters)} numbers "
            + $"({Text.Percent(found.SecondParameters, found.FirstParameters)} %)");
    }
}
