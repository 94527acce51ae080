// What the pages do: theme, menu, search, formulas, tips, copied code. Plain scripts: modules and fetch do not work from a folder.
const root = document.documentElement.dataset.root;
const byId = id => document.getElementById(id);

const isDark = () => {
    const chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
};

byId('theme-button').addEventListener('click', () => {
    const theme = isDark() ? 'light' : 'dark';
    document.documentElement.dataset.theme = theme;
    try { localStorage.setItem('theme', theme); } catch { /* then it is forgotten with the page */ }
});

byId('menu-button').addEventListener('click', event => {
    const open = document.body.classList.toggle('menu-open');
    event.currentTarget.setAttribute('aria-expanded', String(open));
});

for (const link of document.querySelectorAll('#menu .nav-link')) {
    if (link.href === location.href.split('#')[0]) link.setAttribute('aria-current', 'page');
}

// From page to page, in the order of the menu.
const pages = [...document.querySelectorAll('#menu .nav-link')];
const here = pages.findIndex(link => link.getAttribute('aria-current') === 'page');

if (here >= 0) {
    const onward = document.createElement('nav');
    onward.id = 'onward';
    onward.setAttribute('aria-label', 'Next page');
    for (const [name, link, arrow] of [['previous', pages[here - 1], '←'], ['next', pages[here + 1], '→']]) {
        if (!link) continue;
        const copy = document.createElement('a');
        copy.setAttribute('href', link.getAttribute('href'));
        copy.className = name;
        copy.textContent = name === 'next' ? `${link.textContent.trim()} ${arrow}` : `${arrow} ${link.textContent.trim()}`;
        onward.append(copy);
    }
    byId('content').append(onward);
}

// Formulas: KaTeX, where the site was built with it; else their source stays, which can be read too.
if (window.katex) {
    for (const span of document.querySelectorAll('span.math')) {
        const source = span.textContent.trim();
        katex.render(source.slice(2, -2), span, { displayMode: source.startsWith('\\['), throwOnError: false });
    }
}

// Tables and code that are wider than the page scroll by themselves, by the keyboard too.
for (const table of document.querySelectorAll('#content > table:not(.pre), #content > div > table:not(.outer-list)')) {
    const frame = document.createElement('div');
    frame.className = 'wide';
    table.replaceWith(frame);
    frame.append(table);
}

for (const frame of document.querySelectorAll('.wide, pre')) {
    if (frame.scrollWidth > frame.clientWidth) frame.tabIndex = 0;
}

for (const code of document.querySelectorAll('pre > code')) {
    if (code.closest('table.pre')) continue; // what a script printed
    const button = document.createElement('button');
    button.type = 'button';
    button.className = 'copy';
    button.textContent = 'Copy';
    button.addEventListener('click', async () => {
        try {
            await navigator.clipboard.writeText(code.innerText);
            button.textContent = 'Copied';
        } catch {
            getSelection().selectAllChildren(code);
            button.textContent = 'Selected';
        }
        setTimeout(() => { button.textContent = 'Copy'; }, 2000);
    });
    const frame = document.createElement('div');
    frame.className = 'code';
    code.parentElement.replaceWith(frame);
    frame.append(code.parentElement, button);
}

// The types of names in code.
let shown = null;

const hideTip = () => {
    shown?.hidePopover();
    shown = null;
};

document.addEventListener('mouseover', event => {
    const name = event.target.closest?.('[data-fsdocs-tip]');
    const tip = name && byId(name.dataset.fsdocsTip);
    if (!tip || tip === shown) return;
    hideTip();
    tip.showPopover();
    shown = tip;
    const place = name.getBoundingClientRect();
    const below = place.bottom + 8;
    const fits = below + tip.offsetHeight <= innerHeight || place.top < tip.offsetHeight;
    tip.style.left = `${Math.max(8, Math.min(place.left, innerWidth - tip.offsetWidth - 16))}px`;
    tip.style.top = `${fits ? below : place.top - tip.offsetHeight - 8}px`;
});

document.addEventListener('mouseout', event => {
    const name = event.target.closest?.('[data-fsdocs-tip]');
    if (name && !name.contains(event.relatedTarget)) hideTip();
});

// The compiler of C# says what a record and its values are twice: with the constructor, and with the type and its properties.
const words = element => element.textContent.replace(/\s+/g, ' ').trim();
const constructors = [...document.querySelectorAll('.fsdocs-member-list tr:has([id="``.ctor``"])')];
const summaries = '.fsdocs-summary-contents';
const isMaker = element => constructors.some(row => row.contains(element));
const others = new Set([...document.querySelectorAll(summaries)].filter(element => !isMaker(element)).map(words));
for (const row of constructors) {
    const repeated = selector => [...row.querySelectorAll(selector)].filter(said => others.has(words(said)));
    for (const said of repeated('dd.fsdocs-param-docs')) said.remove();
    for (const said of repeated(summaries)) said.textContent = 'Of its values, which are told of below.';
}

// Details of the reference: all at once, and those that an address points at.
for (const place of document.querySelectorAll('fsdocs-details-toggle')) {
    const button = document.createElement('button');
    button.type = 'button';
    button.className = 'details';
    button.textContent = 'all details';
    button.addEventListener('click', () => {
        const details = [...button.closest('table').querySelectorAll('details')];
        const open = details.some(one => !one.open);
        for (const one of details) one.open = open;
    });
    place.replaceWith(button);
}

const openTarget = () => {
    const row = location.hash.length > 1 && byId(decodeURIComponent(location.hash.slice(1)))?.closest('tr');
    if (row) for (const one of row.querySelectorAll('details')) one.open = true;
};

addEventListener('hashchange', openTarget);
openTarget();

// Search. The index is a script, loaded when it is wanted first.
const dialog = byId('search');
const [box, results] = [dialog.querySelector('input'), dialog.querySelector('ul')];

// Pages of words stand above the reference, of which what every type has is left out.
const isReference = page => page.uri.startsWith('reference/');
const ofEveryType = /(^|\.)(Equals|GetHashCode|ToString|CompareTo|Deconstruct|\(=\)|\(<>\)|.*<Clone>.*|\.?ctor|Is[A-Z]\w*)$/;

// Words that every page has, and the stem of each other one.
const everywhere = new Set('a an and are as at be can do does for from have how i if in is it me my of on or so that the there to what when where which who why will with'.split(' '));
const stem = word => word.replace(/(?<=.{4})(ibility|ible|ing|ions?|ed|es|s|e)$|(?<=.{3})s$/, '');
const asked = text => [...new Set(text.toLowerCase().split(/[^\p{L}\p{N}.-]+/u).filter(word => word.length > 1 && !everywhere.has(word)).map(stem))];

// Lower case once: the titles, headings and text of a page.
const read = page => page.lower ??= {
    title: page.title.toLowerCase(),
    headings: page.headings.map(heading => heading.toLowerCase()),
    text: page.content.toLowerCase(),
};

// A word of the title counts most, then one of a heading, then those of the text, by how often they are there for its length, and rare words
// count more than those of many pages; a heading with all of them doubles it. Half of the words must be there.
const ranked = (pages, words) => {
    const inPage = (page, word) => [read(page).title, ...read(page).headings, read(page).text].some(part => part.includes(word));
    const rarity = words.map(word => Math.log(1 + pages.length / (1 + pages.filter(page => inPage(page, word)).length)));
    const points = page => {
        const { title, headings, text } = read(page);
        const each = words.map((word, i) => {
            const count = text.split(word).length - 1;
            const said = count / (count + 1 + text.length / 5000);
            return rarity[i] * ((title === word ? 20 : title.includes(word) ? 8 : 0) + (headings.some(one => one.includes(word)) ? 6 : 0) + 4 * said);
        });
        const there = each.filter(one => one > 0).length;
        const together = words.length > 1 && headings.some(one => words.every(word => one.includes(word))) ? 2 : 1;
        return 2 * there < words.length || there === 0 ? 0 : together * each.reduce((a, b) => a + b) * (there / words.length) * (isReference(page) ? 1 : 4);
    };
    return pages.map(page => ({ page, points: points(page) })).filter(one => one.points > 0).sort((a, b) => b.points - a.points);
};

const search = () => {
    const words = asked(box.value);
    const pages = (window.searchIndex ?? []).filter(page => !(isReference(page) && ofEveryType.test(page.title)));
    const found = words.length ? ranked(pages, words).slice(0, 20) : [];
    results.replaceChildren(...found.map(({ page }) => {
        const [item, link] = [document.createElement('li'), document.createElement('a')];
        link.href = root + page.uri;
        link.textContent = page.title;
        item.append(link);
        return item;
    }));
    if (words.length && !found.length) results.append(Object.assign(document.createElement('li'), { textContent: 'Nothing found' }));
};

const openSearch = () => {
    if (!window.searchIndex) {
        const script = document.createElement('script');
        script.src = `${root}content/search-index.js`;
        script.onload = search;
        document.head.append(script);
    }
    dialog.showModal();
};

byId('search-button').addEventListener('click', openSearch);
box.addEventListener('input', search);
dialog.addEventListener('click', event => { if (event.target === dialog) dialog.close(); });
addEventListener('keydown', event => {
    const typing = /^(INPUT|TEXTAREA)$/.test(document.activeElement?.tagName);
    const wanted = (event.key === '/' && !typing) || (event.key === 'k' && (event.ctrlKey || event.metaKey));
    if (!wanted || dialog.open) return;
    event.preventDefault();
    openSearch();
});
