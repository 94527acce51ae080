using System.Runtime.CompilerServices;
using System.Text.RegularExpressions;
using Expecto;
using static Expecto.CSharp.Runner;

namespace TensorNets.Integration;

/// <summary>The order of the house: rooms of the core, the line at which tensors begin and the one door to the kernels.</summary>
internal static partial class HouseTests
{
    private const string Core = "src/TensorNets.Core.fs";

    internal static Test All => TestList("house", [
        TestCase("each room of the core is one block of the compile order, under a comment of one line", RoomsAreBlocks),
        TestCase("no file above the line where tensors begin opens TorchSharp", TensorsBeginOnce),
        TestCase("the laws stand in rooms that the core has", LawsHaveRooms),
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

    private static string At(params string[] parts) => Path.Combine([Root(), .. parts]);

    private static string Root([CallerFilePath] string here = "") => Path.GetFullPath(Path.Combine(Path.GetDirectoryName(here)!, "..", ".."));
}
