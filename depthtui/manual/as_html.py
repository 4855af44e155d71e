"""The manual as HTML pages, for a browser or a web server."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape
from pathlib import Path

from markdown_it import MarkdownIt

from depthtui.files import begins_with, check_place, write_over
from depthtui.manual import title_of

_BEGINNING = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="generator" content="depthtui help --html">
"""
"""The mark of a page: depthtui replaces no other file."""

_STYLE = """
:root {
  color-scheme: light dark;
  --page: #fdfdfc; --ink: #1d1d1f; --soft: #6b6b70; --hair: #dcdcdc;
}
@media (prefers-color-scheme: dark) {
  :root { --page: #18181b; --ink: #e6e6e8; --soft: #9a9aa2; --hair: #38383d; }
}
body {
  margin: 0; background: var(--page); color: var(--ink); font: 16px/1.55 system-ui, sans-serif;
  display: grid; grid-template-columns: 14rem minmax(0, 1fr);
}
nav { padding: 2rem 1rem 2rem 1.5rem; border-right: 1px solid var(--hair); min-height: 100vh; }
nav a { display: block; padding: .15rem 0; color: var(--soft); text-decoration: none; }
nav a[aria-current] { color: var(--ink); font-weight: 600; }
main { max-width: 52rem; padding: 2rem 2rem 5rem; }
code, pre { font: .88em/1.5 ui-monospace, Menlo, Consolas, monospace; }
pre, .wide { overflow-x: auto; }
pre { padding: .8rem 1rem; border: 1px solid var(--hair); }
table { border-collapse: collapse; font-size: .92em; }
th, td { text-align: left; vertical-align: top; padding: .3rem 1rem .3rem 0; }
tr { border-bottom: 1px solid var(--hair); }
@media (max-width: 50rem) { body { display: block; } nav { min-height: 0; border: 0; } }
"""


def write_html(folder: Path, pages: Mapping[str, str]) -> list[Path]:
    """Write each page as `NAME.html`, the first as `index.html` too: all or none.

    Args:
        folder: folder of the pages; made where missing.
        pages: the Markdown of each page by its name, in order; the first line is the title.

    Raises:
        DepthError: the folder cannot be written, or another file has the name of a page.
    """
    titles = {name: title_of(text) for name, text in pages.items()}
    contents = {f"{name}.html": _document(name, text, titles) for name, text in pages.items()}
    contents["index.html"] = next(iter(contents.values()))
    for name in contents:
        check_place(folder / name, _is_page, "page")
    encoded = {name: document.encode() for name, document in contents.items()}
    return write_over(folder, encoded, _is_page, "Choose another folder.")


def _is_page(path: Path) -> bool:
    return begins_with(path, re.escape(_BEGINNING.encode()))


def _document(name: str, text: str, titles: Mapping[str, str]) -> str:
    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    wide = {"<table>": '<div class="wide"><table>', "</table>": "</table></div>"}
    body = re.sub("|".join(wide), lambda match: wide[match[0]], reader.render(text))
    links = "\n".join(
        f'<a href="{other}.html"{" aria-current=page" if other == name else ""}>{other}</a>'
        for other in titles
    )
    return f"""{_BEGINNING}<meta name="viewport" content="width=device-width">
<title>{escape(titles[name])} · depthtui</title>
<style>{_STYLE}</style>
<nav>
{links}
</nav>
<main>
{body}</main>
</html>
"""
