using System.Reflection;
using System.Runtime.CompilerServices;
using System.Xml.Linq;
using Expecto;
using static Expecto.CSharp.Runner;

namespace TensorNets.Integration;

/// <summary>The public surface is chosen: a file beside each project lists it. After a wanted change run the tests once with
/// TENSORNETS_ACCEPT_SURFACE=1, which writes the files anew, and read the difference.</summary>
internal static class PublicSurfaceTests
{
    internal static Test All => Of(("TensorNets.Core.fs", typeof(Spec).Assembly), ("TensorNets.CSharp", typeof(CSharp.Model).Assembly));

    /// <summary>The tests of libraries, by their folders.</summary>
    internal static Test Of(params (string Project, Assembly Assembly)[] libraries) => TestList("public surface", [
        .. libraries.Select(library =>
            TestCase($"{library.Project} shows what its file lists", () => Lists(library.Project, library.Assembly))),
        .. libraries.Select(library =>
            TestCase($"every public item of {library.Project} has a comment", () => IsDocumented(library.Assembly))),
        .. libraries.Where(library => !library.Project.EndsWith(".fs", StringComparison.Ordinal)).Select(library =>
            TestCase($"every public method of {library.Project} says what each parameter is", () => ParametersAreNamed(library.Assembly))),
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

    private static IEnumerable<XElement> Comments(Assembly assembly) =>
        XDocument.Load(Path.ChangeExtension(assembly.Location, ".xml")).Descendants("member");

    /// <summary>The name of a commented item, without types of parameters.</summary>
    private static string NameOf(XElement member) => member.Attribute("name")!.Value.Split('(')[0].Split('`')[0];

    private static bool IsInherited(XElement member) => member.Elements("inheritdoc").Any();

    private static void IsDocumented(Assembly assembly)
    {
        var commented = Comments(assembly)
            .Where(member => IsInherited(member) || member.Elements().Any(element => element.Value.Trim() != ""))
            .Select(NameOf)
            .ToHashSet();

        var bare = PublicSurface.Items(assembly).Where(item => !item.DocId.Split('|').Any(commented.Contains)).Select(item => item.DocId).ToList();
        Expect.True(bare.Count == 0, $"{bare.Count} items have no comment:\n{string.Join("\n", bare)}");
    }

    private static void ParametersAreNamed(Assembly door)
    {
        var bare =
            from member in Comments(door)
            where !IsInherited(member) && NameOf(member).StartsWith("M:", StringComparison.Ordinal)
            let owner = door.GetType(NameOf(member)[2..NameOf(member).LastIndexOf('.')])
            where owner is { IsPublic: true, IsAbstract: true, IsSealed: true }
            let named = member.Elements("param").Select(param => param.Attribute("name")!.Value).ToHashSet()
            let methods = owner.GetMethods().Where(method => NameOf(member).EndsWith("." + method.Name, StringComparison.Ordinal))
            where !methods.Any(method => named.SetEquals(method.GetParameters().Select(parameter => parameter.Name!)))
            select member.Attribute("name")!.Value;
        Expect.SequenceEqual(Array.Empty<string>(), bare);
    }

    private static string Root([CallerFilePath] string here = "") => Path.GetFullPath(Path.Combine(Path.GetDirectoryName(here)!, "..", "..", ".."));
}
