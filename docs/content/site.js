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
const ofEveryType = /(^|\.)(Equals|GetHashCode|ToString|CompareTo|\.?ctor|Is[A-Z]\w*)$/;

const score = (page, words) => words.reduce((sum, word) => {
    const title = page.title.toLowerCase();
    const rest = `${page.headings.join(' ')} ${page.content}`.toLowerCase();
    const points = title === word ? 100 : title.includes(word) ? 20 : rest.includes(word) ? 1 + Math.min(rest.split(word).length, 5) : -1000;
    return sum + points;
}, isReference(page) ? 0 : 100);

const search = () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(word => word.length > 1);
    const found = (window.searchIndex ?? [])
        .filter(page => !(isReference(page) && ofEveryType.test(page.title)))
        .map(page => ({ page, points: words.length ? score(page, words) : 0 }))
        .filter(one => one.points > 0)
        .sort((a, b) => b.points - a.points)
        .slice(0, 20);
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
