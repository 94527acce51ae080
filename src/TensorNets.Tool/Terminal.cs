using Spectre.Console;
using TensorNets.Tool.Output;

namespace TensorNets.Tool;

/// <summary>Where a command writes: results to one writer, progress and errors to the other.</summary>
internal sealed class Terminal
{
    /// <summary>Columns of tables that go to a file or another program, which nobody's window cuts.</summary>
    private const int WidthOfFiles = 400;

    private readonly IAnsiConsole _results;

    internal Terminal(TextWriter output, TextWriter errors)
    {
        Out = output;
        ErrorWriter = errors;
        _results = Console(output, ReferenceEquals(output, System.Console.Out) && !System.Console.IsOutputRedirected);
        HasScreen = ReferenceEquals(errors, System.Console.Error) && !System.Console.IsErrorRedirected;
        Progress = Console(errors, HasScreen);
    }

    internal TextWriter Out { get; }

    internal TextWriter ErrorWriter { get; }

    /// <summary>Where progress is shown.</summary>
    internal IAnsiConsole Progress { get; }

    /// <summary>Whether somebody watches.</summary>
    internal bool HasScreen { get; }

    /// <summary>Writes a line of result.</summary>
    internal void Line(string text = "") => Out.WriteLine(text);

    /// <summary>Writes a result: as JSON for programs, or as it is shown to people.</summary>
    internal void Tell<T>(T result, bool asJson, Action<Terminal, T> show)
    {
        if (asJson) Line(JsonText.Of(result));
        else show(this, result);
    }

    /// <summary>Writes a table: numbers to the right.</summary>
    /// <param name="head">The columns.</param>
    /// <param name="rows">The cells.</param>
    internal void Table(IReadOnlyList<Column> head, IEnumerable<IReadOnlyList<string>> rows)
    {
        var table = new Table { Border = TableBorder.Simple, ShowRowSeparators = false };
        foreach (var column in head)
        {
            table.AddColumn(new TableColumn(Markup.Escape(column.Name))
            {
                Alignment = column.IsNumber ? Justify.Right : Justify.Left,
                NoWrap = !column.IsLong,
            });
        }

        foreach (var row in rows) table.AddRow([.. row.Select(Markup.Escape)]);
        _results.Write(table);
    }

    /// <summary>What work gives; meanwhile who watches sees what is under way.</summary>
    internal T While<T>(string what, Func<T> work) => HasScreen ? Progress.Status().Start($"{what} …", _ => work()) : work();

    /// <summary>Says in one line what went wrong.</summary>
    internal void Error(string text) => ErrorWriter.WriteLine($"tensornets: {text.ReplaceLineEndings(" ")}");

    private static IAnsiConsole Console(TextWriter writer, bool isScreen)
    {
        var console = AnsiConsole.Create(new AnsiConsoleSettings
        {
            Out = new AnsiConsoleOutput(writer),
            Ansi = isScreen ? AnsiSupport.Detect : AnsiSupport.No,
            Interactive = isScreen ? InteractionSupport.Detect : InteractionSupport.No,
            ColorSystem = isScreen ? ColorSystemSupport.Detect : ColorSystemSupport.NoColors,
        });
        if (!isScreen) console.Profile.Width = WidthOfFiles;
        return console;
    }
}

/// <summary>A column of a table.</summary>
/// <param name="Name">Its head.</param>
/// <param name="IsNumber">Whether it holds numbers, which stand to the right.</param>
/// <param name="IsLong">Whether its text may be broken into lines.</param>
internal sealed record Column(string Name, bool IsNumber = false, bool IsLong = false)
{
    internal static Column Text(string name) => new(name);

    internal static Column Number(string name) => new(name, IsNumber: true);

    internal static Column Long(string name) => new(name, IsLong: true);
}
