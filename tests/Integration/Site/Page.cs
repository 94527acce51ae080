namespace TensorNets.Integration;

/// <summary>What the browser says of one page of the site. A class, since the browser's answer is read into it.</summary>
internal sealed class Page
{
    /// <summary>Asked in the page; the names are those of the properties.</summary>
    internal const string Question = """
        () => {
            const all = selector => [...document.querySelectorAll(selector)];
            const attributes = name => all(`[${name}]`).map(element => element.getAttribute(name));
            const scrolls = element => ['auto', 'scroll'].includes(getComputedStyle(element).overflowX);
            const cut = element => element.scrollWidth > element.clientWidth + 1 && !scrolls(element);
            const math = all('span.math');
            const words = element => element.textContent.replace(/\s+/g, ' ').trim();
            const ofMakers = all('tr:has([id="``.ctor``"]) :is(dd.fsdocs-param-docs, .fsdocs-summary-contents)');
            const others = new Set(all('.fsdocs-summary-contents').filter(one => !ofMakers.includes(one)).map(words));
            return {
                title: document.title,
                addresses: [...attributes('href'), ...attributes('src')],
                places: all('[id], [name]').flatMap(element => [element.id, element.getAttribute('name')]).filter(Boolean),
                excess: document.documentElement.scrollWidth - document.documentElement.clientWidth,
                cutCode: all('pre').filter(cut).map(element => element.textContent.slice(0, 80)),
                brokenImages: all('img').filter(image => !image.complete || !image.naturalWidth).map(image => image.getAttribute('src')),
                isInMenu: Boolean(document.querySelector('#menu [aria-current]')),
                onward: all('#onward a').map(link => link.className),
                emptyEntries: /[/]reference[/]/.test(location.href)
                    ? all('main tbody tr').filter(row => row.children.length > 1 && !row.lastElementChild.textContent.trim())
                        .map(row => row.firstElementChild.textContent.trim())
                    : [],
                repeated: ofMakers.map(words).filter(said => others.has(said)),
                makers: ofMakers.length,
                formulas: math.length,
                undrawnFormulas: math.filter(span => !span.querySelector('.katex:not(.katex-error)')).map(span => span.textContent),
                placeholders: document.documentElement.outerHTML.match(/\{\{fsdocs[^}]*|%root%|No value returned by any evaluator/g) ?? [],
            };
        }
        """;

    /// <summary>The page's file.</summary>
    public string File { get; set; } = "";
    public string Title { get; set; } = "";

    /// <summary>Every <c>href</c> and <c>src</c>, as written.</summary>
    public string[] Addresses { get; set; } = [];

    /// <summary>Every <c>id</c> and <c>name</c>.</summary>
    public string[] Places { get; set; } = [];

    /// <summary>By how many pixels the page is wider than the screen.</summary>
    public int Excess { get; set; }

    /// <summary>Code that neither fits nor scrolls.</summary>
    public string[] CutCode { get; set; } = [];
    public string[] BrokenImages { get; set; } = [];

    /// <summary>Whether the menu names this page.</summary>
    public bool IsInMenu { get; set; }

    /// <summary>Which of the links "previous" and "next" there are.</summary>
    public string[] Onward { get; set; } = [];

    /// <summary>Rows of the reference with a name and no words.</summary>
    public string[] EmptyEntries { get; set; } = [];

    /// <summary>What a constructor of the reference says and the type or a member too.</summary>
    public string[] Repeated { get; set; } = [];

    /// <summary>How much constructors of the reference say.</summary>
    public int Makers { get; set; }
    public int Formulas { get; set; }
    public string[] UndrawnFormulas { get; set; } = [];
    public string[] Placeholders { get; set; } = [];

    /// <summary>What the console said, requests that failed or that asked a network.</summary>
    public List<string> Complaints { get; } = [];
}
