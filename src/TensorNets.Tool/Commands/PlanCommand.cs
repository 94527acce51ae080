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
            var plan = budgets.Plan(parsed, terminal, network, given, network.Covariances(given));
            network.Check(plan);
            if (parsed.GetValue(output) is { } path) Texts.Write(path, Model.PlanToJson(plan));
            terminal.Tell(PlanReport.Of(network.Path, budgets.Typed(parsed) + inputs.Typed(parsed), plan), parsed.GetValue(json), Show);
            return ExitCode.Done;
        }));
        return command;
    }

    private static void Show(Terminal terminal, PlanReport report)
    {
        terminal.Table(
            [
                Column.Text("layer"), Column.Text("kind"), Column.Text("shape"), Column.Number("parameters"), Column.Text("choice"),
                Column.Number("parameters"), Column.Number("error"), Column.Long("kept dense"),
            ],
            report.Layers.Select(layer => (IReadOnlyList<string>)
            [
                layer.Name, layer.Kind, Text.Shape(layer.Shape), Text.Count(layer.DenseParameters), layer.Choice,
                layer.Choice == "" ? "" : Text.Count(layer.Parameters), Text.Real(layer.Error), layer.Kept,
            ]));
        terminal.Line(
            $"{report.File}: {Text.Count(report.DenseParameters)} parameters, planned {Text.Count(report.Parameters)} "
            + $"({Text.Percent(report.Parameters, report.DenseParameters)} %)");
    }
}
