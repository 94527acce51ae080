using PuppeteerSharp;

namespace TensorNets.Integration;

/// <summary>The site in a headless Chromium, opened from its folder as a reader without a server would.</summary>
internal static class Browser
{
    internal const int Narrow = 390, Wide = 1280;

    private static readonly string[] Names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

    private static string? Program { get; } =
        (from name in Names
         from folder in (Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator)
         select Path.Combine(folder, name)).FirstOrDefault(File.Exists);

    /// <summary>Hands a fresh browser page to the function; skips the test where there is no browser or no site.</summary>
    internal static async Task<T> With<T>(string site, Func<IPage, Task<T>> use)
    {
        if (Program is null) Expect.Skip("there is no Chromium on the PATH");
        if (!File.Exists(Path.Combine(site, "content", "search-index.js"))) Expect.Skip("the site is not built (./build.sh docs)");

        // The sandbox refuses to work for root, as whom containers run; the pages are our own.
        var options = new LaunchOptions
        {
            ExecutablePath = Program,
            Headless = true,
            Args = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
        };
        await using var browser = await Puppeteer.LaunchAsync(options);
        await using var page = await browser.NewPageAsync();
        return await use(page);
    }

    /// <summary>Opens every page of the site on a narrow screen.</summary>
    internal static Task<List<Page>> OpenAll(string site) => With(site, async browser =>
    {
        var pages = new List<Page>();
        var complaints = new List<string>();
        browser.PageError += (_, error) => complaints.Add(error.Message);
        browser.RequestFailed += (_, failed) => complaints.Add($"not found: {failed.Request.Url}");
        browser.Console += (_, said) =>
        {
            if (said.Message.Type is ConsoleType.Error or ConsoleType.Warning) complaints.Add(said.Message.Text);
        };
        browser.Request += (_, asked) =>
        {
            var url = asked.Request.Url;
            if (!url.StartsWith("file:") && !url.StartsWith("data:")) complaints.Add($"asks {url}");
        };
        await browser.SetViewportAsync(new ViewPortOptions { Width = Narrow, Height = 844 });

        foreach (var file in Directory.EnumerateFiles(site, "*.html", SearchOption.AllDirectories).Order())
        {
            await browser.GoToAsync(new Uri(file).AbsoluteUri, WaitUntilNavigation.Load);
            var page = await browser.EvaluateFunctionAsync<Page>(Page.Question);
            page.File = file;
            page.Complaints.AddRange(complaints);
            complaints.Clear();
            pages.Add(page);
        }

        return pages;
    });
}
