using System.IO.Compression;
using System.Text;
using System.Text.RegularExpressions;
using System.Xml.Linq;
using Expecto;
using static Expecto.CSharp.Runner;

namespace TensorNets.Integration.Packages;

/// <summary>What is in the packages.</summary>
internal static class PackageTests
{
    private static readonly (string Name, string[] Needs)[] Packages =
    [
        ("TensorNets.Core", ["FSharp.Core", "TorchSharp"]),
        ("TensorNets.CSharp", ["FSharp.Core", "TensorNets.Core", "TorchSharp"]),
        ("TensorNets.Onnx", [
            "FSharp.Core", "Google.Protobuf", "Microsoft.ML.OnnxRuntime.Managed", "OnnxSharp", "TensorNets.Core", "TorchSharp",
        ]),
    ];

    internal static Test All(Lazily<Stranger> stranger) => TestList("contents", [
        TestCase("a package has its library with comments, readme, icon, licence and notes, and needs no flavour of libtorch", () =>
        {
            foreach (var (name, needs) in Packages)
            {
                var files = Files(stranger.Value.Feed, name, "nupkg");
                foreach (var file in new[] { "README.md", "icon.png", $"lib/net10.0/{name}.dll", $"lib/net10.0/{name}.xml" })
                {
                    Expect.True(files.TryGetValue(file, out var bytes) && bytes.Length > 1000, $"{name} has no {file}, or next to nothing in it");
                }

                // A feed's page shows nothing that lies beside it.
                var readme = Encoding.UTF8.GetString(files["README.md"]);
                Expect.True(!Regex.IsMatch(readme, @"\]\((?!https?:|#)|<img"), $"the README of {name} names files of the repository");
                var metadata = XDocument.Parse(Encoding.UTF8.GetString(files[$"{name}.nuspec"]).TrimStart('\uFEFF')).Root!.Elements().Single();
                string Value(string element) => metadata.Elements().Single(e => e.Name.LocalName == element).Value;
                Expect.Equal("MIT", Value("license"));
                Expect.Equal("icon.png", Value("icon"));
                Expect.Equal("README.md", Value("readme"));
                Expect.True(Value("releaseNotes").StartsWith("## [") && Value("releaseNotes").Length > 200, Value("releaseNotes"));
                Expect.SequenceEqual(needs, metadata.Descendants().Where(e => e.Name.LocalName == "dependency").Select(e => e.Attribute("id")!.Value).Order());
            }
        }),
        TestCase("the symbols are in a package of their own, and nothing packed holds a path of the machine that built it", () =>
        {
            foreach (var (name, _) in Packages)
            {
                Expect.True(Files(stranger.Value.Feed, name, "snupkg").ContainsKey($"lib/net10.0/{name}.pdb"), $"{name} has no symbols");
                foreach (var (file, bytes) in Files(stranger.Value.Feed, name, "nupkg").Concat(Files(stranger.Value.Feed, name, "snupkg")))
                {
                    foreach (var encoding in new[] { Encoding.UTF8, Encoding.Unicode })
                    {
                        Expect.True(bytes.AsSpan().IndexOf(encoding.GetBytes(Stranger.Repository)) < 0, $"{file} of {name} names {Stranger.Repository}");
                    }
                }
            }
        }),
        TestCase("the version of the packages is that of the newest section of the changelog and of the citation", () =>
        {
            var version = Regex.Match(Directory.GetFiles(stranger.Value.Feed, "TensorNets.Core.*.nupkg").Single(), @"Core\.(.*)\.nupkg").Groups[1].Value;
            string Text(string file) => File.ReadAllText(Path.Combine(Stranger.Repository, file));
            var section = Regex.Match(Text("CHANGELOG.md"), @"^## (.*)$", RegexOptions.Multiline).Value;
            Expect.True(section.Contains(version), $"{section} is not of {version}");
            Expect.True(Text("CITATION.cff").Contains($"\nversion: {version}\n"), $"the citation is not of {version}");
        }),
        TestCase("packing again gives the same bytes", () =>
        {
            var again = stranger.Value.Folder("again");
            Stranger.Must(stranger.Value.Pack(again));
            foreach (var file in Directory.GetFiles(stranger.Value.Feed))
            {
                Expect.True(File.ReadAllBytes(file).AsSpan().SequenceEqual(File.ReadAllBytes(Path.Combine(again, Path.GetFileName(file)))), $"{file} differs");
            }
        }),
        TestCase("the package of the core carries the one target that mends the native library, and it is the one that this repository builds with", () =>
        {
            var carried = Files(stranger.Value.Feed, "TensorNets.Core", "nupkg")["buildTransitive/TensorNets.Core.targets"];
            var ours = File.ReadAllBytes(Path.Combine(Stranger.Repository, "src", "TensorNets.Core.fs", "buildTransitive", "TensorNets.Core.targets"));
            Expect.True(carried.AsSpan().SequenceEqual(ours), "the targets differ");
            Expect.True(File.ReadAllText(Path.Combine(Stranger.Repository, "Directory.Build.targets")).Contains("TensorNets.Core.targets"), "not imported");
        }),
    ]);

    private static Dictionary<string, byte[]> Files(string feed, string name, string extension)
    {
        using var zip = ZipFile.OpenRead(Directory.GetFiles(feed, $"{name}.*.{extension}").Single());
        return zip.Entries.ToDictionary(entry => entry.FullName, entry =>
        {
            using var stream = entry.Open();
            using var bytes = new MemoryStream();
            stream.CopyTo(bytes);
            return bytes.ToArray();
        });
    }
}
