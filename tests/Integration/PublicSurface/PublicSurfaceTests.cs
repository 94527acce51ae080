using System.Reflection;
using System.Runtime.CompilerServices;
using Expecto;
using static Expecto.CSharp.Runner;

namespace TensorNets.Integration;

/// <summary>The public surface is chosen: a file beside each project lists it. After a wanted change run the tests once with
/// TENSORNETS_ACCEPT_SURFACE=1, which writes the files anew, and read the difference.</summary>
internal static class PublicSurfaceTests
{
    private static readonly (string Project, Assembly Assembly)[] Libraries =
    [
        ("TensorNets.Core.fs", typeof(Spec).Assembly),
        ("TensorNets.CSharp", typeof(CSharp.Model).Assembly),
    ];

    internal static Test All => TestList("public surface", [
        .. Libraries.Select(library => TestCase($"{library.Project} shows what its file lists", () => Lists(library.Project, library.Assembly))),
    ]);

    private static void Lists(string project, Assembly assembly)
    {
        var file = Path.Combine(Root(), "src", project, "PublicSurface.txt");
        var found = PublicSurface.Of(assembly);
        if (Environment.GetEnvironmentVariable("TENSORNETS_ACCEPT_SURFACE") == "1") File.WriteAllLines(file, found);

        var listed = File.ReadAllLines(file);
        var difference = found.Except(listed).Select(line => $"+ {line.Trim()}").Concat(listed.Except(found).Select(line => $"- {line.Trim()}")).ToList();
        Expect.True(difference.Count == 0, $"the public surface differs from {file}:\n{string.Join("\n", difference)}");
        Expect.SequenceEqual(listed, found);
    }

    private static string Root([CallerFilePath] string here = "") => Path.GetFullPath(Path.Combine(Path.GetDirectoryName(here)!, "..", "..", ".."));
}
