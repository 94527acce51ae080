// Before anything is drawn: the choice of an earlier visit, where the browser keeps one.
try {
    const theme = localStorage.getItem('theme');
    if (theme) document.documentElement.dataset.theme = theme;
} catch { /* pages opened from a folder may not store anything */ }
