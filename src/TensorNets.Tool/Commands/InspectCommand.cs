using System.CommandLine;
using TensorNets.Tool.Files;
using TensorNets.Tool.Output;

namespace TensorNets.Tool.Commands;

/// <summary><c>inspect FILE</c>: what is in a file, layer by layer.</summary>
internal static class InspectCommand
{
    internal static Command Create(Terminal terminal)
    {
        var file = Shared.File();
        var json = Shared.Json();
        var command = new Command("inspect", "Lists the layers of a file: shape, parameters, and whether each can be factorized or is.")
        {
            file, json,
        };
        command.SetAction(Application.Guarded(terminal, (parsed, _) =>
        {
            using var network = NetworkFile.Open(parsed.GetRequiredValue(file));
            terminal.Tell(network.Report(), parsed.GetValue(json), Show);
            return ExitCode.Done;
        }));
        return command;
    }

    private static void Show(Terminal terminal, FileReport report)
    {
        terminal.Table(
            [
                Column.Text("layer"), Column.Text("kind"), Column.Text("shape"), Column.Text("dtype"), Column.Number("parameters"),
                Column.Number("%"), Column.Text("state"), Column.Long(""), Column.Number("error"), Column.Number("S"),
            ],
            report.Layers.Select(layer => (IReadOnlyList<string>)
            [
                layer.Name, layer.Kind, Text.Shape(layer.Shape), layer.DType, Text.Count(layer.Parameters),
                Text.Percent(layer.Parameters, report.Parameters), layer.State, layer.Network, Text.Real(layer.Error),
                Text.Real(layer.Sensitivity),
            ]));
        terminal.Line($"{report.File}: {report.Format}, {Text.Bytes(report.Bytes)}, {Text.Count(report.Parameters)} numbers; "
            + $"{report.Factorizable} layers with {Text.Count(report.FactorizableParameters)} of them "
            + $"({Text.Percent(report.FactorizableParameters, report.Parameters)} %) can be factorized");
    }
}
