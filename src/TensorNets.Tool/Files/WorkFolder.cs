using TensorNets.CSharp;
using TensorNets.Tool.Output;

namespace TensorNets.Tool.Files;

/// <summary>The folder of a run: its finished layers, which the library writes, and what the run is, in <c>run.json</c>.</summary>
internal sealed class WorkFolder
{
    private readonly string _run;

    /// <summary>The folder at a path, made if it is not there.</summary>
    /// <exception cref="ToolException">It cannot be made.</exception>
    internal WorkFolder(string path)
    {
        try
        {
            Directory.CreateDirectory(path);
        }
        catch (Exception error) when (Texts.IsRefusal(error))
        {
            throw new ToolException($"the work folder '{path}' cannot be made ({error.Message.TrimEnd('.')})", "name another with --work");
        }

        Path = path;
        _run = System.IO.Path.Combine(path, "run.json");
    }

    internal string Path { get; }

    /// <summary>The plan of the run that is in the folder, or a new one, which is then noted there. Workers that begin side by side make
    /// the same plan, and the folder has it whole.</summary>
    /// <param name="run">The run, its plan not known yet.</param>
    /// <param name="make">Makes the plan.</param>
    /// <exception cref="ToolException">Another run is in the folder.</exception>
    internal CompressionPlan Plan(WorkRun run, Func<CompressionPlan> make)
    {
        if (!File.Exists(_run))
        {
            var made = make();
            Texts.Write(_run, JsonText.Of(run with { Plan = Model.PlanToJson(made) }));
            return made;
        }

        var noted = Run();
        if (noted with { Plan = "", File = "" } != run with { Plan = "", File = "" })
        {
            throw new ToolException(
                $"the work folder '{Path}' is of another run, of {noted.File} with {noted.Options}",
                "name another with --work, or give the same file and options");
        }

        return Model.PlanFromJson(noted.Plan);
    }

    /// <summary>The run whose layers are in the folder.</summary>
    /// <exception cref="ToolException">There is none, or it cannot be read.</exception>
    internal WorkRun Run()
    {
        try
        {
            var read = JsonText.Read<WorkRun>(Texts.Read(_run));
            var isWhole = read is
            {
                File: not null, Options: not null, Plan: not null, Inputs: { Typed: not null, Data: not null, Colours: not null },
            };
            if (isWhole) return read!;
        }
        catch (System.Text.Json.JsonException)
        {
        }

        throw new ToolException($"'{_run}' cannot be read", "name another folder with --work, or delete that file");
    }
}

/// <summary>What a run is.</summary>
/// <param name="File">The full path of the dense file.</param>
/// <param name="Bytes">Its size.</param>
/// <param name="Options">What the plan was made with, as typed; of a plan that was given, the plan.</param>
/// <param name="Sweeps">The most sweeps of least squares a layer.</param>
/// <param name="Corrections">The most sweeps of correction a layer.</param>
/// <param name="Inputs">What the network was given.</param>
/// <param name="Bits">Bits of a factor's entries; null: they are floating-point numbers.</param>
/// <param name="Plan">The plan, in the library's JSON.</param>
internal sealed record WorkRun(
    string File, long Bytes, string Options, int Sweeps, int Corrections, Inputs Inputs, int? Bits, string Plan = "")
{
    /// <summary>How layers of the run are made, as all who work on it make them.</summary>
    internal CompressSettings Settings(NetworkFile network) => new(
        Sweeps: Sweeps, Corrections: Corrections, Quantize: network.Quantize(Bits), Covariances: network.Covariances(Inputs));
}
