using System.Runtime.CompilerServices;
using System.Text.Json;
using Expecto;
using static Expecto.CSharp.Runner;

namespace TensorNets.Integration.Tool;

/// <summary>What programs may rely on: the properties of each command's object. Schemas.txt lists them; run the tests once with
/// TENSORNETS_ACCEPT_SCHEMAS=1 after a wanted change, and raise the version of a schema that loses a property.</summary>
internal static class SchemaTests
{
    internal static Test All => TestList("schemas", [
        TestCase("every object has the properties that Schemas.txt lists, and no others", AreAsListed),
    ]);

    private static void AreAsListed()
    {
        using var files = new Files();
        var (dense, small, graph) = (files.Dense(), files.At("small.safetensors"), GraphTests.Graph(files));
        string[] quick = ["--sweeps", "2", "--corrections", "1", "--json"];
        var objects = new[]
        {
            Said.Of("inspect", dense, "--json"),
            Said.Of("plan", dense, "--ratio", "2", "--json"),
            Said.Of(["compress", dense, "--ratio", "2", "-o", small, .. quick]),
            Said.Of("sensitivity", small, "--json"),
            Said.Of("compare", dense, small, "--json"),
            Said.Of(["compress", graph, "--ratio", "1.5", "-o", files.At("small.onnx"), .. quick]),
            Said.Of("inspect", files.At("small.onnx"), "--json"),
            Said.Of("compare", graph, files.At("small.onnx"), "--json"),
        };
        var found = objects.Select(said => said.Json()).SelectMany(root => Lines(root.Text("schema"), root))
            .Distinct().Order(StringComparer.Ordinal).ToList();
        if (Environment.GetEnvironmentVariable("TENSORNETS_ACCEPT_SCHEMAS") == "1") File.WriteAllLines(Listed(), found);
        Expect.SequenceEqual(File.ReadAllLines(Listed()), found);
    }

    private static IEnumerable<string> Lines(string path, JsonElement element) => element.ValueKind switch
    {
        JsonValueKind.Object => element.EnumerateObject().SelectMany(property => Lines($"{path} {property.Name}", property.Value)),
        JsonValueKind.Array => element.GetArrayLength() == 0 ? [] : element.EnumerateArray().SelectMany(item => Lines($"{path}[]", item)),
        JsonValueKind.Null => [],
        JsonValueKind.True or JsonValueKind.False => [$"{path}: true or false"],
        var kind => [$"{path}: {kind.ToString().ToLowerInvariant()}"],
    };

    private static string Listed([CallerFilePath] string here = "") => Path.Combine(Path.GetDirectoryName(here)!, "Schemas.txt");
}
