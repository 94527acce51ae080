using System.Text.RegularExpressions;
using Expecto;
using PuppeteerSharp;
using static Expecto.CSharp.Runner;

namespace TensorNets.Integration;

/// <summary>The site that <c>./build.sh docs</c> writes to output/, as a reader's browser shows it from a folder.</summary>
internal static class SiteTests
{
    private static readonly string Site = Repository.At("output");
    private static readonly Lazy<List<Page>> Pages = new(() => Browser.OpenAll(Site).GetAwaiter().GetResult());

    internal static Test All => TestSequenced(TestList("site", [
        TestCase("every page opens without a complaint, a placeholder or a missing picture", () => NoneHas(page => [
            .. page.Complaints, .. page.Placeholders, .. page.BrokenImages, .. When(!page.Title.Contains("TensorNets"), "no title")])),
        TestCase("every link leads to a place that exists, and none begins at the root of a host", () => NoneHas(BrokenLinks)),
        TestCase("no page is wider than a narrow screen, and code that does not fit scrolls", () => NoneHas(page => [
            .. page.CutCode.Select(code => $"cut off: {code}"), .. When(page.Excess > 0, $"{page.Excess} px too wide")])),
        TestCase("each page of the menu leads to the next one and back", PagesFollowEachOther),
        TestCase("no entry of the reference is empty, namespaces included", NoEntryIsEmpty),
        TestCase("the reference says of a record's values once what they are", NothingIsSaidTwice),
        TestCase("every formula is drawn", EveryFormulaIsDrawn),
        TestCase("the pages in Markdown that llms.txt names are there, with whole heads of tables, and llms-full.txt has their code", MarkdownIsWhole),
        TestCase("the reference of C# types is in the notation of C#", CSharpIsInItsOwnNotation),
        TestCase("the search finds the page that answers a question among the first three", QuestionsAreAnswered),
        TestCase("the search finds a guide before the reference, the menu of a narrow screen and the details open, and the theme turns", ButtonsWork),
    ]));

    private static string[] When(bool condition, string fault) => condition ? [fault] : [];

    /// <summary>Fails with the first twenty faults, each with its page.</summary>
    private static void NoneHas(Func<Page, IEnumerable<string>> faults)
    {
        string Told(Page page, string fault) => $"{Path.GetRelativePath(Site, page.File)}: {fault}";
        var found = Pages.Value.SelectMany(page => faults(page).Select(fault => Told(page, fault))).ToList();
        Expect.True(Pages.Value.Count > 50, $"the site has {Pages.Value.Count} pages only");
        Expect.True(found.Count == 0, $"{found.Count} faults:\n{string.Join("\n", found.Take(20))}");
    }

    private static IEnumerable<string> BrokenLinks(Page page)
    {
        foreach (var address in page.Addresses.Distinct())
        {
            if (address.StartsWith("https://")) continue; // not for us to keep
            if (address.StartsWith('/') || address.Contains(':'))
            {
                yield return $"{address} does not work in a folder or under a path";
                continue;
            }

            var parts = address.Split('#', 2);
            var folder = Path.GetDirectoryName(page.File)!;
            var target = parts[0].Length == 0 ? page.File : Path.GetFullPath(Path.Combine(folder, Uri.UnescapeDataString(parts[0])));
            if (!File.Exists(target)) yield return $"{address}: there is no such file";
            else if (parts.Length == 2 && !HasPlace(target, Uri.UnescapeDataString(parts[1]))) yield return $"{address}: no such place";
        }
    }

    private static bool HasPlace(string file, string place) =>
        place.Length == 0 || Pages.Value.Any(page => page.File == file && page.Places.Contains(place));

    private static void PagesFollowEachOther()
    {
        var inMenu = Pages.Value.Where(page => page.IsInMenu).ToList();
        Expect.True(inMenu.Count > 20, $"the menu has {inMenu.Count} pages only");
        Expect.Equal(1, inMenu.Count(page => !page.Onward.Contains("next")));
        Expect.Equal(1, inMenu.Count(page => !page.Onward.Contains("previous")));
    }

    private static void NoEntryIsEmpty() => NoneHas(page => page.EmptyEntries.Select(entry => $"nothing is said of {entry}"));

    private static void NothingIsSaidTwice()
    {
        NoneHas(page => page.Repeated.Select(said => $"said twice: {said}"));
        Expect.True(Pages.Value.Sum(page => page.Makers) > 10, "constructors say nothing");
    }

    private static void EveryFormulaIsDrawn()
    {
        var katex = Path.Combine(Site, "content", "katex", "katex.min.js");
        if (Pages.Value.Count > 0 && !File.Exists(katex)) Expect.Skip("the site was built without KaTeX, which npm fetches");
        Expect.True(Pages.Value.Sum(page => page.Formulas) > 0, "there are no formulas");
        NoneHas(page => page.UndrawnFormulas);
    }

    private static void MarkdownIsWhole()
    {
        var list = Path.Combine(Site, "llms.txt");
        if (!File.Exists(list)) Expect.Skip("the site is not built (./build.sh docs)");
        var named = Regex.Matches(File.ReadAllText(list), @"\((\S+\.md)\)").Select(match => match.Groups[1].Value).ToList();
        Expect.True(named.Count > 30, $"llms.txt names {named.Count} pages only");
        var whole = File.ReadAllText(Path.Combine(Site, "llms-full.txt"));
        var fences = 0;
        foreach (var page in named)
        {
            var lines = File.ReadAllLines(Path.Combine(Site, page));
            fences += lines.Count(line => line.StartsWith("```"));
            foreach (var (head, rule) in lines.Zip(lines.Skip(1)).Where(pair => Regex.IsMatch(pair.Second, @"^\| :?-+:? \|")))
            {
                Expect.True(rule.Count(c => c == '|') == head.Count(c => c == '|'), $"{page}: {head}");
            }
        }

        Expect.Equal(fences, whole.Split('\n').Count(line => line.StartsWith("```")));
    }

    private static void ButtonsWork() => Browser.With(Site, async page =>
    {
        Task<string> Ask(string question) => page.EvaluateExpressionAsync<string>(question);
        await page.SetViewportAsync(new ViewPortOptions { Width = Browser.Narrow, Height = 844 });
        await page.GoToAsync(new Uri(Path.Combine(Site, "reference", "tensornets-gauge.html")).AbsoluteUri, WaitUntilNavigation.Load);

        Expect.Equal("none", await Ask("getComputedStyle(document.querySelector('#menu')).display"));
        await page.ClickAsync("#menu-button");
        Expect.Equal("block", await Ask("getComputedStyle(document.querySelector('#menu')).display"));

        var before = await Ask("getComputedStyle(document.body).backgroundColor");
        await page.ClickAsync("#theme-button");
        Expect.True(before != await Ask("getComputedStyle(document.body).backgroundColor"), "the theme button changes nothing");

        Expect.Equal("true", await Ask("String([...document.querySelectorAll('details')].every(one => !one.open))"));
        await page.ClickAsync("button.details");
        Expect.Equal("true", await Ask("String([...document.querySelectorAll('details')].every(one => one.open))"));

        await page.ClickAsync("#search-button");
        await page.TypeAsync("#search input", "correction");
        await page.WaitForSelectorAsync("#search li a", new WaitForSelectorOptions { Timeout = 5000 });
        await page.ClickAsync("#search li a");
        await page.WaitForFunctionAsync("() => document.title.includes('correction')", new WaitForFunctionOptions { Timeout = 5000 });
        return true;
    }).GetAwaiter().GetResult();

    private static void CSharpIsInItsOwnNotation()
    {
        var files = Directory.GetFiles(Path.Combine(Site, "reference"), "tensornets-csharp-*.html");
        Expect.True(files.Length > 10, $"the reference has {files.Length} types of C#");
        var foreign = new Regex(@"<code>(?:<span>)?(?:byref&lt;|int64|uint64|float\b|obj\b|unit\b|this\.)[^\n]*|[^\n]*(?: |&#32;)seq<[^\n]*|id=""Deconstruct""");
        var found = files.SelectMany(file => foreign.Matches(File.ReadAllText(file)).Select(one => $"{Path.GetFileName(file)}: {one.Value}")).ToList();
        Expect.True(found.Count == 0, string.Join("\n", found.Take(20)));
    }

    /// <summary>What readers looked for, and the page that has it.</summary>
    private static readonly (string Question, string Page)[] Questions =
    [
        ("which layers can be compressed", "whole-model.html"),
        ("threads", "troubleshooting.html"),
        ("is it reproducible", "troubleshooting.html"),
        ("options and their defaults", "options.html"),
        ("load a .pth file", "weights.html"),
        ("convolutions are wrong", "troubleshooting.html"),
        ("sensitivity of a ring", "sensitivity.html"),
        ("balance", "gauge.html"),
        ("kubernetes", "many-machines.html"),
        ("add a format", "format.html"),
        ("int4", "few-bits.html"),
    ];

    private static void QuestionsAreAnswered() => Browser.With(Site, async page =>
    {
        await page.GoToAsync(new Uri(Path.Combine(Site, "index.html")).AbsoluteUri, WaitUntilNavigation.Load);
        await page.ClickAsync("#search-button");
        await page.WaitForFunctionAsync("() => window.searchIndex", new WaitForFunctionOptions { Timeout = 5000 });
        var missed = new List<string>();
        foreach (var (question, answer) in Questions)
        {
            var found = await page.EvaluateFunctionAsync<string[]>(
                @"question => {
                    const box = document.querySelector('#search input');
                    box.value = question;
                    box.dispatchEvent(new Event('input'));
                    return [...document.querySelectorAll('#search li a')].slice(0, 3).map(link => link.href);
                }",
                question);
            if (!found.Any(link => link.EndsWith('/' + answer))) missed.Add($"{question}: {string.Join(" ", found)}");
        }

        Expect.True(missed.Count == 0, string.Join("\n", missed));
        return true;
    }).GetAwaiter().GetResult();
}
