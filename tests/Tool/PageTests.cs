using System.Runtime.CompilerServices;
using System.Text.RegularExpressions;
using Expecto;
using TensorNets.Tool;
using static Expecto.CSharp.Runner;

namespace TensorNets.Integration.Tool;

/// <summary>What docs/tool.md tells a reader to type.</summary>
internal static partial class PageTests
{
    internal static Test All => TestList("page", [
        TestCase("every command of the page does what it says, one after the other in one folder", RunsEveryCommand),
        TestCase("the page lists the exit codes", ListsExitCodes),
    ]);

    private static void RunsEveryCommand()
    {
        using var files = new Files();
        files.Dense("model.safetensors");
        files.Pickled("model.pth");
        GraphTests.Graph(files);
        DataFolderTests.Images(files.At("images"));
        var blocks = CodeBlock.Of(Root(), Path.Combine("docs", "tool.md")).Where(block => block.IsCommands).ToList();
        var ran = 0;
        foreach (var block in blocks)
        {
            var lines = block.Text.Replace("\\\n", "").Split('\n');
            foreach (var line in lines.Where(line => line.StartsWith("tensornets ", StringComparison.Ordinal)))
            {
                var words = line.Split(' ', StringSplitOptions.RemoveEmptyEntries).Skip(1);
                var said = Said.Of([.. words.Select(word => IsFile().IsMatch(word) ? files.At(word) : word)]);
                Expect.True(said.Code == ExitCode.Done, $"{block.Name}: {line}: {said.Code} {said.Errors}");
                var printed = said.Output.Replace(files.Folder + Path.DirectorySeparatorChar, "");
                if (block.Printed is { } expected && CodeBlock.Difference(expected, printed) is { } fault)
                {
                    throw new AssertException($"{block.Name}: {fault}");
                }

                ran++;
            }
        }

        Expect.True(ran >= 6, $"{ran} commands");
    }

    private static void ListsExitCodes()
    {
        var page = File.ReadAllText(Path.Combine(Root(), "docs", "tool.md"));
        var listed = Regex.Matches(page, @"^\| (\d+) \|", RegexOptions.Multiline).Select(match => int.Parse(match.Groups[1].Value));
        Expect.SequenceEqual([ExitCode.Done, ExitCode.Failed, ExitCode.Usage, ExitCode.Incomplete, ExitCode.Interrupted], listed);
    }

    [GeneratedRegex(@"^([\w-]+\.(safetensors|pth|json|html|onnx)|work|shares|images)$")]
    private static partial Regex IsFile();

    private static string Root([CallerFilePath] string here = "") =>
        Path.GetFullPath(Path.Combine(Path.GetDirectoryName(here)!, "..", ".."));
}
