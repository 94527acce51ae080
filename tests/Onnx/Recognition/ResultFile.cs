using System.Text.Json;

namespace TensorNets.Integration.OnnxFiles.Recognition;

/// <summary>What a study found, as a file of JSON in data/ocr.</summary>
internal static class ResultFile
{
    private static readonly JsonSerializerOptions Options = new(JsonSerializerDefaults.Web) { WriteIndented = true };

    internal static T Read<T>(string name) => JsonSerializer.Deserialize<T>(File.ReadAllText(At(name)), Options)!;

    internal static void Write<T>(string name, T result) => File.WriteAllText(At(name), JsonSerializer.Serialize(result, Options) + "\n");

    private static string At(string name) => StudyCommand.At("data", "ocr", name);
}
