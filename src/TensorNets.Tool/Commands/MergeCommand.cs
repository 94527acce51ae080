using System.CommandLine;
using TensorNets.CSharp;
using TensorNets.Tool.Files;
using TensorNets.Tool.Output;

namespace TensorNets.Tool.Commands;

/// <summary><c>merge</c>: puts together the file whose layers are all in a work folder.</summary>
internal static class MergeCommand
{
    internal static Command Create(Terminal terminal)
    {
        var work = new Option<string>("--work")
        {
            Description = "The folder in which the shares have left their layers.",
            Required = true,
        };
        var output = new Option<string>("--output", "-o") { Description = "The file to write.", Required = true };
        var file = new Option<string?>("--file") { Description = "The dense file, where it is not where the shares had it." };
        var json = Shared.Json();
        var command = new Command(
            "merge", "Writes the compressed file from the layers that tensornets compress --shard has left in a work folder.")
        {
            work, output, file, json,
        };
        command.SetAction(Application.Guarded(terminal, (parsed, _) =>
        {
            var folder = parsed.GetRequiredValue(work);
            if (!Directory.Exists(folder))
            {
                throw new ToolException($"there is no work folder '{folder}'", "name that of tensornets compress --shard");
            }

            var run = new WorkFolder(folder).Run();
            using var network = NetworkFile.Open(parsed.GetValue(file) ?? run.File);
            network.CheckOutput(parsed.GetRequiredValue(output));
            return Write(terminal, network, run, folder, parsed.GetRequiredValue(output), parsed.GetValue(json));
        }));
        return command;
    }

    private static int Write(Terminal terminal, NetworkFile network, WorkRun run, string folder, string output, bool asJson)
    {
        using var scope = TorchSharp.torch.NewDisposeScope();
        var plan = Model.PlanFromJson(run.Plan);
        // Cancelled before it begins, a run takes what is in the folder and makes nothing.
        var settings = run.Settings(network) with
        {
            Workers = 1,
            Folder = folder,
            ReleaseLayers = network.TakesFiles,
            Cancellation = new CancellationToken(canceled: true),
        };
        var report = Model.Compress(network.Source(run.Inputs), plan, settings);
        try
        {
            if (report.Failed.Count > 0)
            {
                var names = string.Join(", ", report.Failed.Select(layer => layer.Path));
                terminal.Error(
                    $"{report.Failed.Count} of {report.Layers.Count + report.Failed.Count} layers are not in '{folder}': {names}; "
                    + "run their shares first.");
                return ExitCode.Incomplete;
            }

            network.Save(output, plan, report);
            var result = CompressResult.Of(network, output, plan, report) with { Verified = network.Verify(output, run.Inputs) };
            return result.Tell(terminal, asJson);
        }
        finally
        {
            foreach (var layer in report.Layers) layer.Layer.Dispose();
        }
    }
}
