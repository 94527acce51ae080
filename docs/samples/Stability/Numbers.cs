using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace TensorNets.Samples.Stability;

/// <summary>Everything measured, as a JSON file.</summary>
public static class Numbers
{
    /// <summary>How numbers are written.</summary>
    public static JsonSerializerOptions Format { get; } = new()
    {
        WriteIndented = true,
        PropertyNamingPolicy = JsonNamingPolicy.CamelCase,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        Converters = { new JsonStringEnumConverter() },

        // A run that diverged has losses that are not numbers.
        NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals,
    };

    /// <summary>Writes the file.</summary>
    public static void Save(RunResult run, string file) => File.WriteAllText(file, JsonSerializer.Serialize(run, Format) + "\n");

    /// <summary>The run that a file holds.</summary>
    public static RunResult Load(string file) =>
        JsonSerializer.Deserialize<RunResult>(File.ReadAllText(file), Format)
        ?? throw new JsonException($"{file}: found null, expected a run.");
}
