using System.CommandLine;
using TensorNets.Tool.Files;
using TensorNets.Tool.Output;

namespace TensorNets.Tool.Commands;

/// <summary><c>sensitivity FILE</c>: S of every factorized layer.</summary>
internal static class SensitivityCommand
{
    internal static Command Create(Terminal terminal)
    {
        var file = Shared.File();
        var json = Shared.Json();
        var command = new Command(
            "sensitivity", "Lists the sensitivity S of each factorized layer: how far small changes of its factors change its kernel.")
        {
            file, json,
        };
        command.SetAction(Application.Guarded(terminal, (parsed, _) =>
        {
            using var network = NetworkFile.Open(parsed.GetRequiredValue(file));
            var report = new SensitivityReport(network.Path, network.Sensitivities());
            if (report.Layers.Count == 0)
            {
                throw new ToolException($"'{network.Path}' has no factorized layer", "make them with tensornets compress");
            }

            terminal.Tell(report, parsed.GetValue(json), Show);
            return ExitCode.Done;
        }));
        return command;
    }

    private static void Show(Terminal terminal, SensitivityReport report) =>
        terminal.Table(
            [
                Column.Text("layer"), Column.Text("network"), Column.Number("parameters"), Column.Number("S"), Column.Number("relative S"),
                Column.Number("least S"), Column.Number("error"),
            ],
            report.Layers.Select(layer => (IReadOnlyList<string>)
            [
                layer.Name, layer.Network, Text.Count(layer.Parameters), Text.Real(layer.Sensitivity), Text.Real(layer.Relative),
                Text.Real(layer.Balanced), Text.Real(layer.Error),
            ]));
}
