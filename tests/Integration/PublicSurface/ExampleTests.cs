using System.Reflection;
using System.Xml.Linq;
using Expecto;
using static Expecto.CSharp.Runner;

namespace TensorNets.Integration;

/// <summary>The examples in the core's documentation comments: each public function has one, and each runs.</summary>
internal static class ExampleTests
{
    private static readonly Assembly Core = typeof(Spec).Assembly;

    internal static Test All => TestList("examples", [
        TestCase("every public function of the core has an example", EachHasOne),
        TestCase("every example in the core's comments compiles and runs", AllRun),
    ]);

    /// <summary>The examples by the name of the item that they belong to.</summary>
    private static List<(string Name, string Code)> Examples() =>
    [
        .. XDocument.Load(Path.ChangeExtension(Core.Location, ".xml"))
            .Descendants("member")
            .SelectMany(member => member.Elements("example").Select(example => (member.Attribute("name")!.Value.Split('(')[0].Split('`')[0], example.Value.Trim()))),
    ];

    private static void EachHasOne()
    {
        var have = Examples().Select(example => example.Name).ToHashSet();
        var lack = PublicSurface.Items(Core)
            .Select(item => item.DocId)
            .Where(id => id.StartsWith("M:", StringComparison.Ordinal) && !id.EndsWith("#ctor", StringComparison.Ordinal))
            .Where(id => Core.GetType(id[2..id.LastIndexOf('.')]) is { IsAbstract: true, IsSealed: true } && !have.Contains(id))
            .ToList();
        Expect.True(lack.Count == 0, $"{lack.Count} functions have no example:\n{string.Join("\n", lack)}");
    }

    /// <summary>Names that examples may use, beside their own.</summary>
    private const string Prelude = """
        open System
        open System.IO
        open TorchSharp
        open TensorNets

        let orStop result = TensorNetError.raiseErrors result
        let specOrStop (result: Result<'T, SpecError list>) = match result with Ok value -> value | Error errors -> failwith (string errors)
        let spec = Spec.parse [] "sr, dr, tr -> sdt | s=4 d=9 t=5 r=3" |> specOrStop
        let network = Network.random torch.float64 1UL spec
        let cores = Map.ofList [ for core in spec.Cores -> core.Name, network[core.Name] ]
        let target = Contraction.reconstruct (Network.random torch.float64 2UL spec)
        let matrix = torch.randn ([| 6L; 4L |], dtype = torch.float64)
        let sweeps = { SweepOptions.defaults with MaxSweeps = 5 }
        let options = { Factorize.defaults with Sweeps = sweeps }
        let bound = ErrorBound.Relative 0.5
        let conv = torch.nn.Conv2d (4L, 5L, 3L, padding = 1L)
        let geometry = ConvGeometry.ofLayer conv |> orStop
        let layer = Layers.ofDense None conv network |> orStop
        let images = torch.randn [| 2L; 4L; 8L; 8L |]
        let makeModel () =
            let conv: torch.nn.Module<torch.Tensor, torch.Tensor> = torch.nn.Conv2d (4L, 5L, 3L, padding = 1L)
            let relu: torch.nn.Module<torch.Tensor, torch.Tensor> = torch.nn.ReLU ()
            torch.nn.Sequential (struct ("conv", conv), struct ("relu", relu))
        let model = makeModel ()
        let planOptions = { CompressionPlan.defaults with KeepFirst = false; KeepLast = false; Sweeps = 1 }
        let plan = CompressionPlan.make (Budget.ParameterRatio 1.3) planOptions [ 1L; 4L; 8L; 8L ] model |> orStop
        let path = Path.Combine (Path.GetTempPath (), Path.GetRandomFileName ())
        let mutable failed = 0
        let run (name: string) (example: unit -> obj) =
            try
                example () |> ignore
            with error ->
                failed <- failed + 1
                printfn $"{name}: {error.Message}"
        """;

    private static void AllRun()
    {
        var host = Repository.At("docs", ".build", "DocsHost", "bin", "Release", "net10.0", "linux-x64");
        if (!File.Exists(Path.Combine(host, "TensorNets.Core.dll"))) Expect.Skip("docs/host is not built, which the script refers to");

        var examples = Examples();
        Expect.True(examples.Count > 0, "there are no examples");
        var lines = examples.Select(example => $"run \"{example.Name}\" (fun () ->\n{Indented(example.Code)}\n    |> box)");
        string[] script = [
            $"#r @\"{host}/TorchSharp.dll\"", $"#r @\"{host}/TensorNets.Core.dll\"", Prelude, .. lines,
            "if File.Exists path then File.Delete path", "exit failed",
        ];
        TempFolder.With(folder =>
        {
            File.WriteAllLines(Path.Combine(folder, "examples.fsx"), script);
            var (code, output, errors) = Command.Run(folder, "dotnet", ["fsi", "--quiet", "--nologo", "examples.fsx"]);
            Expect.True(code == 0, $"{code}: {output}\n{errors}");
        });
    }

    private static string Indented(string code) => string.Join("\n", code.Split('\n').Select(line => "    " + line.TrimEnd()));
}
