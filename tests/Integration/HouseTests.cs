using System.Reflection;
using System.Runtime.CompilerServices;
using System.Text.RegularExpressions;
using Expecto;
using Microsoft.FSharp.Core;
using Microsoft.FSharp.Reflection;
using static Expecto.CSharp.Runner;
using static TensorNets.Integration.Repository;

namespace TensorNets.Integration;

/// <summary>The order of the house: rooms of the core, the line at which tensors begin, the one door to the kernels,
/// sizes of files and functions.</summary>
internal static partial class HouseTests
{
    private const string Core = "src/TensorNets.Core.fs";
    private const int MostLines = 300, MostColumns = 140, MostOfFunction = 60, MostParameters = 6;

    /// <summary>Formulas written out, number by number.</summary>
    private static readonly string[] Formulas = ["GemmMicrokernel.fs TwoVectors"];

    /// <summary>Functions of pairs, which the compiler passes as two parameters.</summary>
    private static readonly string[] OfPairs = ["LeastError.next", "LeastError.narrow", "SensitivityElimination.runWith"];

    internal static Test All => TestList("house", [
        TestCase("each room of the core is one block of the compile order, under a comment of one line", RoomsAreBlocks),
        TestCase("no file above the line where tensors begin opens TorchSharp", TensorsBeginOnce),
        TestCase("the laws stand in rooms that the core has", LawsHaveRooms),
        TestCase($"no source file has more than {MostLines} lines or {MostColumns} columns", FilesAreSmall),
        TestCase($"no function of the core is longer than {MostOfFunction} lines", FunctionsAreShort),
        TestCase($"no function of the core takes more than {MostParameters} parameters", ParametersAreFew),
        TestCase("the table of docs/notation.md names what stands in the file that it gives", NotationIsRight),
        TestCase("the calls of docs/notation.md are public", CallsArePublic),
        TestCase("only the kernels' room reads pointers, and other rooms name nothing in it but its door", OneDoor),
    ]);

    [GeneratedRegex(@"<!-- (?<room>\w+): (?<words>.+) -->|<Compile Include=""(?<file>[^""]+)"" />")]
    private static partial Regex Entries();

    /// <summary>The files of a project in compile order, each with the room that the comment above it names.</summary>
    private static List<(string Room, string File)> Files(string project)
    {
        var room = "";
        var files = new List<(string, string)>();
        foreach (Match entry in Entries().Matches(File.ReadAllText(Directory.GetFiles(At(project), "*.fsproj").Single())))
        {
            if (entry.Groups["room"].Success) room = entry.Groups["room"].Value;
            else files.Add((room, entry.Groups["file"].Value.Replace('\\', '/')));
        }

        return files;
    }

    private static string FolderOf(string file) => file.Split('/')[0];

    private static void RoomsAreBlocks()
    {
        var files = Files(Core);
        Expect.True(files.Count > 90, $"the core has {files.Count} files");
        var strangers = files.Where(entry => FolderOf(entry.File) != entry.Room).Select(entry => entry.File).ToList();
        Expect.True(strangers.Count == 0, $"not in the room that the comment above names: {string.Join(", ", strangers)}");

        var blocks = files.Select(entry => entry.Room).Where((room, i) => i == 0 || files[i - 1].Room != room).ToList();
        Expect.SequenceEqual(blocks.Distinct(), blocks);

        var onDisk = Directory.EnumerateFiles(At(Core), "*.fs", SearchOption.AllDirectories)
            .Select(file => Path.GetRelativePath(At(Core), file).Replace('\\', '/'))
            .Where(file => !file.StartsWith("obj/", StringComparison.Ordinal) && !file.StartsWith("bin/", StringComparison.Ordinal));
        Expect.SequenceEqual(files.Select(entry => entry.File).Order(StringComparer.Ordinal), onDisk.Order(StringComparer.Ordinal));
    }

    private static void TensorsBeginOnce()
    {
        var files = Files(Core);
        var first = files.FindIndex(entry => entry.Room == "Tensors");
        Expect.True(first > 0, "there is no room 'Tensors'");
        var early = files.Take(first).Where(entry => File.ReadAllText(At(Core, entry.File)).Contains("TorchSharp", StringComparison.Ordinal)).Select(entry => entry.File).ToList();
        Expect.True(early.Count == 0, $"these know TorchSharp: {string.Join(", ", early)}");
    }

    private static void LawsHaveRooms()
    {
        var rooms = Files(Core).Select(entry => entry.Room).Append("Support").ToHashSet();
        var strangers = Files("tests/Properties").Select(entry => entry.File).Where(file => file.Contains('/') && !rooms.Contains(FolderOf(file))).ToList();
        Expect.True(strangers.Count == 0, $"the core has no such room: {string.Join(", ", strangers)}");
    }

    [GeneratedRegex(@"^(?:module|type|and) (?:private |internal )*(?<name>\w+)", RegexOptions.Multiline)]
    private static partial Regex Definitions();

    /// <summary>The words in which the door's functions are asked: how channels lie, a window, a call.</summary>
    private static readonly string[] Contract = ["Channels", "ConvWindow", "ConvCall"];

    private static void OneDoor()
    {
        var files = Files(Core);
        var inside = files.Where(entry => entry.Room == "Kernels").Select(entry => entry.File).ToList();
        var outside = files.Where(entry => entry.Room != "Kernels").Select(entry => (entry.File, Text: File.ReadAllText(At(Core, entry.File)))).ToList();

        var pointers = outside.Where(entry => Regex.IsMatch(entry.Text, @"NativePtr|nativeptr|#nowarn ""9""")).Select(entry => entry.File).ToList();
        Expect.True(pointers.Count == 0, $"these read pointers: {string.Join(", ", pointers)}");

        // The door is the last file of the room.
        string[] Names(string file) => [.. Definitions().Matches(File.ReadAllText(At(Core, file))).Select(match => match.Groups["name"].Value)];
        var shown = Names(inside[^1]).Concat(Contract).ToHashSet();
        var hidden = inside.SkipLast(1).SelectMany(Names).Where(name => !shown.Contains(name)).ToList();
        Expect.True(hidden.Count > 5, "the kernels' room defines next to nothing");
        var named =
            from entry in outside
            from name in hidden
            where Regex.IsMatch(entry.Text, $@"(?<![\w.'""]){name}\.\w|: {name}\b|new {name}\b")
            select $"{entry.File} names {name}";
        Expect.SequenceEqual(Array.Empty<string>(), named);
    }

    private static IEnumerable<string> Sources() =>
        from folder in new[] { Core, "src/TensorNets.CSharp", "src/TensorNets.Onnx", "src/TensorNets.Tool" }
        from file in Directory.EnumerateFiles(At(folder), "*.*", SearchOption.AllDirectories)
        where Regex.IsMatch(file, @"\.(fs|cs)$") && !Regex.IsMatch(file, @"[/\\](obj|bin)[/\\]")
        select file;

    private static void FilesAreSmall()
    {
        var large =
            from file in Sources()
            let lines = File.ReadAllLines(file)
            where lines.Length > MostLines || lines.Any(line => line.Length > MostColumns)
            select $"{Path.GetRelativePath(Root, file)}: {lines.Length} lines, {lines.Max(line => line.Length)} columns";
        Expect.SequenceEqual(Array.Empty<string>(), large);
    }

    [GeneratedRegex(@"^    (let|static let|member|static member|override|abstract)( rec| inline| mutable| private| internal)* (?<name>[\w.']+)")]
    private static partial Regex Functions();

    /// <summary>From the line of its name to the last one that is indented further.</summary>
    private static void FunctionsAreShort()
    {
        var tall =
            from file in Sources()
            where file.EndsWith(".fs", StringComparison.Ordinal)
            let lines = File.ReadAllLines(file)
            from start in Enumerable.Range(0, lines.Length)
            let match = Functions().Match(lines[start])
            where match.Success
            let after = Enumerable.Range(start + 1, lines.Length - start - 1)
                .Where(i => lines[i].Trim() != "" && !lines[i].StartsWith("     ", StringComparison.Ordinal) && lines[i] is not ("    )" or "    }" or "    ]" or "    |]"))
            let end = after.Append(lines.Length).First()
            let length = end - start - lines[start..end].Reverse().TakeWhile(line => line.Trim() is "" || line.TrimStart().StartsWith("//", StringComparison.Ordinal)).Count()
            let name = $"{Path.GetFileName(file)} {match.Groups["name"].Value}"
            where length > MostOfFunction && !Formulas.Contains(name)
            select $"{name}: {length} lines";
        Expect.SequenceEqual(Array.Empty<string>(), tall);
    }

    private static void ParametersAreFew()
    {
        const BindingFlags Own =
            BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance | BindingFlags.Static | BindingFlags.DeclaredOnly;
        bool IsWritten(MemberInfo member) => !member.Name.Contains('@') && !member.IsDefined(typeof(CompilerGeneratedAttribute), false);
        var many =
            from type in typeof(Spec).Assembly.GetTypes()
            where IsWritten(type) && !FSharpType.IsUnion(type, FSharpOption<BindingFlags>.Some(Own))
            from method in type.GetMethods(Own)
            let name = $"{type.Name}.{method.Name}"
            where IsWritten(method) && method.GetParameters().Length > MostParameters && !OfPairs.Contains(name)
            select $"{name}: {method.GetParameters().Length}";
        Expect.SequenceEqual(Array.Empty<string>(), many);
    }

    [GeneratedRegex(@"^\|.*\| `(?<name>[\w.]+)` \| (?<file>\w[\w/]*\.fs) \|$", RegexOptions.Multiline)]
    private static partial Regex NotationRows();

    private static void CallsArePublic()
    {
        var page = File.ReadAllText(At("docs", "notation.md")).ReplaceLineEndings("\n");
        var table = page[page.IndexOf("## Formulas and the functions to call", StringComparison.Ordinal)..page.IndexOf("## Formulas inside", StringComparison.Ordinal)];
        var surface = File.ReadAllText(At(Core, "PublicSurface.txt")).ReplaceLineEndings("\n");
        var calls = Regex.Matches(table, @"`([A-Z]\w+)\.(\w+)").Select(call => (Type: call.Groups[1].Value, Member: call.Groups[2].Value)).ToList();
        Expect.True(calls.Count > 20, $"the table has {calls.Count} calls");
        var absent =
            from call in calls
            where !Regex.IsMatch(surface, $@"^(module|union) {call.Type}\n(?:    .*\n)*?    (\| )?{call.Member}\(", RegexOptions.Multiline)
            select $"{call.Type}.{call.Member}";
        Expect.SequenceEqual(Array.Empty<string>(), absent);
    }

    private static void NotationIsRight()
    {
        var rows = NotationRows().Matches(File.ReadAllText(At("docs", "notation.md")).ReplaceLineEndings("\n"));
        Expect.True(rows.Count > 20, $"the table has {rows.Count} rows");
        var wrong =
            from row in rows
            let file = At(Core, row.Groups["file"].Value)
            let text = File.Exists(file) ? File.ReadAllText(file) : ""
            where !row.Groups["name"].Value.Split('.').All(name => Regex.IsMatch(text, $@"\b{name}\b"))
            select $"{row.Groups["name"].Value} in {row.Groups["file"].Value}";
        Expect.SequenceEqual(Array.Empty<string>(), wrong);
    }
}
