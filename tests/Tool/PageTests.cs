using System.CommandLine;
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
        TestCase("the page lists every option of every command in the words of its help", ListsOptions),
        TestCase("the page speaks of no option that no command has", SpeaksOfKnownOptions),
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

    private static string Page => File.ReadAllText(Path.Combine(Root(), "docs", "tool.md"));

    private static readonly Command Tool = Application.Root(new Terminal(TextWriter.Null, TextWriter.Null));

    private static void ListsOptions()
    {
        static string Names(Option option) =>
            string.Join(", ", option.Aliases.Where(alias => IsUnix().IsMatch(alias)).Prepend(option.Name).Distinct().Select(name => $"`{name}`"));
        var rows =
            from command in Tool.Subcommands
            from option in command.Options
            group command.Name by (Names(option), option.Description) into row
            select $"| {row.Key.Item1} | {string.Join(", ", row)} | {row.Key.Description!.Replace("|", "\\|")} |";
        var table = string.Join("\n", ["| option | of | what it says |", "|---|---|---|", .. rows]);
        Expect.True(table.Split('\n').Length > 20, $"few options: {table}");
        Expect.True(Page.Contains(table), "docs/tool.md lacks this table:\n" + table);

        // Of these the words are not ours.
        foreach (var option in Tool.Options) Expect.True(Page.Contains($"`{option.Name}`"), option.Name);
    }

    private static void SpeaksOfKnownOptions()
    {
        var options = Tool.Subcommands.Append(Tool).SelectMany(command => command.Options);
        var known = options.SelectMany(option => option.Aliases.Append(option.Name)).ToHashSet();
        var said = Regex.Matches(Page, @"(?<=`|^tensornets .* )--?[a-z][a-z-]*", RegexOptions.Multiline).Select(match => match.Value).ToList();
        Expect.True(said.Count > 20, $"the page speaks of {said.Count} options");
        Expect.SequenceEqual([], said.Where(option => !known.Contains(option)).Distinct());
    }

    private static void ListsExitCodes()
    {
        var page = Page;
        var listed = Regex.Matches(page, @"^\| (\d+) \|", RegexOptions.Multiline).Select(match => int.Parse(match.Groups[1].Value));
        Expect.SequenceEqual([ExitCode.Done, ExitCode.Failed, ExitCode.Usage, ExitCode.Incomplete, ExitCode.Interrupted], listed);
    }

    [GeneratedRegex(@"^([\w-]+\.(safetensors|pth|json|html|onnx)|work|shares|images)$")]
    private static partial Regex IsFile();

    [GeneratedRegex("^-")]
    private static partial Regex IsUnix();

    private static string Root([CallerFilePath] string here = "") =>
        Path.GetFullPath(Path.Combine(Path.GetDirectoryName(here)!, "..", ".."));
}
