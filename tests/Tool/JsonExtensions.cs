using System.Text.Json;

namespace TensorNets.Integration.Tool;

/// <summary>Short ways to the properties of what a command wrote.</summary>
internal static class JsonExtensions
{
    internal static List<JsonElement> Items(this JsonElement of, string name) => [.. of.GetProperty(name).EnumerateArray()];

    internal static string Text(this JsonElement of, string name) => of.GetProperty(name).GetString()!;

    internal static double Real(this JsonElement of, string name) => of.GetProperty(name).GetDouble();

    /// <summary>The layers of inspect's report that are factorized.</summary>
    internal static List<JsonElement> Factorized(this JsonElement report) =>
        [.. report.Items("layers").Where(layer => layer.Text("state") == "factorized")];
}
