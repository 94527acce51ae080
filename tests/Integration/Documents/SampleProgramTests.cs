using Expecto;
using static Expecto.CSharp.Runner;
using static TensorNets.Integration.Repository;

namespace TensorNets.Integration;

/// <summary>The samples of one file, which <c>dotnet run</c> and <c>dotnet fsi</c> run as they are: each prints what its README says.</summary>
internal static class SampleProgramTests
{
    private static readonly string Folder = At("docs", "samples");

    internal static Test All => TestList("sample programs", [
        .. ProgramsOf("Program.cs").Where(IsOfOneFile).Select(path => Case(path, () => BlockRunner.CSharp(WithoutDirectives(path)))),
        .. ProgramsOf("*.fsscript").Select(path => Case(path, () => BlockRunner.Script(path))),
        TestCase("there are samples of one file, and each folder of a sample has a README", () =>
        {
            Expect.True(ProgramsOf("Program.cs").Count(IsOfOneFile) > 2, "no programs of one file");
            var without = Directory.EnumerateDirectories(Folder).Where(sample => !File.Exists(Path.Combine(sample, "README.md"))).ToList();
            Expect.True(without.Count == 0, string.Join("\n", without));
        }),
    ]);

    private static IEnumerable<string> ProgramsOf(string pattern) =>
        Directory.EnumerateFiles(Folder, pattern, SearchOption.AllDirectories).Order();

    private static bool IsOfOneFile(string program) => File.ReadLines(program).First().StartsWith("#:");

    private static string WithoutDirectives(string program) =>
        string.Join("\n", File.ReadLines(program).Where(line => !line.StartsWith("#:")));

    private static Test Case(string program, Func<(int ExitCode, string Text)> run)
    {
        var sample = Path.GetDirectoryName(program)!;
        return TestCase(Path.GetFileName(sample), () =>
        {
            var readme = Path.GetRelativePath(Root, Path.Combine(sample, "README.md"));
            var expected = CodeBlock.Of(Root, readme).Select(block => block.Printed).First(printed => printed is not null)!;
            var (exitCode, text) = run();
            Expect.True(exitCode == 0, text);
            var fault = CodeBlock.Difference(expected, text);
            Expect.True(fault is null, $"{readme}: {fault}");
        });
    }
}
