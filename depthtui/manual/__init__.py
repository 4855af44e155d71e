"""The manual: pages in Markdown, with tables that are made from the program's values.

A page is a file `NAME.md` of this folder, whose first line is its title. A line `{{ NAME }}` in it
is replaced by a part: one of `PARTS`, or one that the caller adds.

A page's name is in `PAGES`, at its place in the list. All that the program knows (metrics, rules,
keys, symbols, settings, tasks) is a part, made from its value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from depthtui.manual import parts
from depthtui.manual.model_types import types_list

Part = Callable[[], str]
"""Makes the Markdown of a part."""

PAGES = (
    "explore",
    "screen",
    "plain",
    "words",
    "keys",
    "verdict",
    "rules",
    "metrics",
    "questions",
    "reference",
    "statistics",
    "lenses",
    "prompts",
    "reports",
    "writing",
    "layers",
    "pruning",
    "long-prompts",
    "sweeps",
    "clusters",
    "elsewhere",
    "models",
    "states",
    "diff",
    "python",
    "plugins",
    "json",
    "cache",
    "settings",
    "troubleshooting",
)
"""The pages, in the order of their list."""

PARTS: Mapping[str, Part] = MappingProxyType(
    {
        "screen": parts.screen_guide,
        "words": parts.words,
        "verdict": parts.verdict_section,
        "rules": parts.rule_sections,
        "metrics": parts.metrics_table,
        "metrics explained": parts.metric_sections,
        "tasks": parts.tasks_table,
        "datasets": parts.datasets_table,
        "sets with choices": parts.with_choices_sentence,
        "settings": parts.settings_table,
        "placeholders": parts.placeholders_table,
        "extras": parts.extras_table,
        "types": types_list,
    }
)
"""The parts by their names in pages."""

_PART = re.compile(r"^\{\{ (.+) \}\}$", re.MULTILINE)


def titles() -> dict[str, str]:
    """The title of each page by its name, in order."""
    return {name: title_of(source(name)) for name in PAGES}


def title_of(text: str) -> str:
    """The title of a page in Markdown: its first line."""
    return text.partition("\n")[0].removeprefix("# ")


def source(name: str) -> str:
    """The text of a page's file, with the names of its parts."""
    return (Path(__file__).parent / f"{name}.md").read_text("utf-8")


def all_pages(more: Mapping[str, Part]) -> dict[str, str]:
    """Every page in Markdown by its name, in order; `more` as for `page`."""
    return {name: page(name, more) for name in PAGES}


def page(name: str, more: Mapping[str, Part]) -> str:
    """A page in Markdown.

    Args:
        name: one of `PAGES`.
        more: further parts by name, from packages that import this one.
    """
    parts = {**PARTS, **more}
    return _PART.sub(lambda match: parts[match[1]](), source(name))
