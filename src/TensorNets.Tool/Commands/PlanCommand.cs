using System.CommandLine;
using TensorNets.CSharp;
using TensorNets.Tool.Files;
using TensorNets.Tool.Output;

namespace TensorNets.Tool.Commands;

/// <summary><c>plan FILE</c>: formats and ranks for every layer under a budget.</summary>
internal static class PlanCommand
{
    internal static Command Create(Terminal terminal)
    {
        var file = Shared.File();
        var json = Shared.Json();
        var output = new Option<string?>("--output", "-o")
        {
            Description = "A file for the plan, which compress takes and people may edit.",
        };
        var budgets = new BudgetOptions();
        var inputs = new InputOptions();
        var command = new Command("plan", "Chooses formats and ranks for the layers of a network under a budget; nothing is compressed.")
        {
            file, output, json,
        };
        budgets.AddTo(command);
        inputs.AddTo(command);
        command.Validators.Add(result =>
        {
            if (budgets.Problem(result, hasPlan: false) is { } problem) result.AddError(problem);
        });
        command.SetAction(Application.Guarded(terminal, (parsed, _) =>
        {
            using var network = NetworkFile.Open(parsed.GetRequiredValue(file));
            using var scope = TorchSharp.torch.NewDisposeScope();
            var given = inputs.Of(parsed);
            var plan = budgets.Plan(parsed, terminal, network, network.Source(given), given, network.Covariances(given));
            network.Check(plan);
            if (parsed.GetValue(output) is { } path) Texts.Write(path, Model.PlanToJson(plan));
            var report = PlanReport.Of(network.Path, budgets.Typed(parsed) + inputs.Typed(parsed), plan);
            terminal.Tell(report, parsed.GetValue(json), budgets.IsOfBytes(parsed) ? ShowBytes : Show);
            return ExitCode.Done;
        }));
        return command;
    }

    private static void Show(Terminal terminal, PlanReport report)
    {
        Table(terminal, report, "parameters", layer => Text.Count(layer.DenseParameters), layer => Text.Count(layer.Parameters));
        terminal.Line(
            $"{report.File}: {Text.Count(report.DenseParameters)} parameters, planned {Text.Count(report.Parameters)} "
            + $"({Text.Percent(report.Parameters, report.DenseParameters)} %)");
    }

    /// <summary>The same for a budget of bytes.</summary>
    private static void ShowBytes(Terminal terminal, PlanReport report)
    {
        Table(terminal, report, "bytes", layer => Text.Count(layer.DenseBytes), layer => Text.Count(layer.Bytes));
        terminal.Line(
            $"{report.File}: {Text.Count(report.DenseBytes)} bytes in float32, planned {Text.Count(report.Bytes)} "
            + $"({Text.Percent(report.Bytes, report.DenseBytes)} %)");
    }

    /// <summary>The layers with what they cost, dense and by their choice.</summary>
    private static void Table(
        Terminal terminal, PlanReport report, string unit, Func<PlanLine, string> dense, Func<PlanLine, string> planned) =>
        terminal.Table(
            [
                Column.Text("layer"), Column.Text("kind"), Column.Text("shape"), Column.Number(unit), Column.Text("choice"),
                Column.Number(unit), Column.Number("error"), Column.Long("kept dense"),
            ],
            report.Layers.Select(layer => (IReadOnlyList<string>)
            [
                layer.Name, layer.Kind, Text.Shape(layer.Shape), dense(layer), layer.Choice, layer.Choice == "" ? "" : planned(layer),
                Text.Real(layer.Error), layer.Kept,
            ]));
}
