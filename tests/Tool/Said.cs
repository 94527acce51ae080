using System.Text.Json;
using System.Text.RegularExpressions;
using TensorNets.Tool;

namespace TensorNets.Integration.Tool;

/// <summary>What the command said, and its exit code.</summary>
internal sealed partial record Said(int Code, string Output, string Errors)
{
    /// <summary>Runs a command line in this process.</summary>
    internal static Said Of(params string[] args) => Of(CancellationToken.None, args);

    /// <summary>The same, to be cancelled as Ctrl-C does.</summary>
    internal static Said Of(CancellationToken cancellation, params string[] args)
    {
        using var output = new StringWriter();
        using var errors = new StringWriter();
        var code = Application.RunAsync(args, new Terminal(output, errors), cancellation).GetAwaiter().GetResult();
        return new Said(code, output.ToString(), errors.ToString());
    }

    /// <summary>The object that it wrote, if all went well.</summary>
    internal JsonElement Json()
    {
        Went();
        return JsonDocument.Parse(Output).RootElement;
    }

    /// <summary>Fails unless all went well.</summary>
    internal void Went() => Expect.True(Code == 0, $"exit code {Code}: {Errors}");

    /// <summary>Fails unless it ended with an exit code and one line of error that holds a word, after lines on layers that were
    /// planned.</summary>
    internal void Refuses(int code, string word)
    {
        Expect.True(Code == code, $"exit code {Code}, expected {code}: {Errors}{Output}");
        var said = Errors.TrimEnd().Split('\n').SkipWhile(line => Planned().IsMatch(line)).ToList();
        Expect.True(said is [var only] && only.StartsWith("tensornets: "), $"not one line: {Errors}");
        Expect.True(said[0].Contains(word), $"no '{word}' in: {Errors}");
        Expect.Equal("", Output);
    }

    [GeneratedRegex(@"^\d+/\d+ .* planned( about .* left)?\r?$")]
    private static partial Regex Planned();
}
