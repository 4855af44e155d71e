"""The types of text-generating models in transformers, and how far each can be measured."""

from __future__ import annotations

import re
from pathlib import Path

SAVED = Path(__file__).parent / "every_type.txt"
"""File with a line for each type, and why it is not measured: of `tests/tools/every_type.py`."""

MEASURED, IN_PART, REFUSED = "measured", "measured in part", "refused"
FAULT, NOT_MADE = "fault", "not made"

_GROUPS = (
    ("everything is measured", MEASURED),
    ("attention and MLP cannot be told apart", rf"{IN_PART}: no split: [^;]*"),
    ("there is no lens", rf"{IN_PART}: no lens: [^;]*"),
    ("there is neither this split nor a lens", rf"{IN_PART}: no split: [^;]*; no lens: [^;]*"),
    ("no layer can be run again by itself", rf"{IN_PART}: .*"),
    ("refused, an encoder-decoder", rf"{REFUSED}: .* is an encoder-decoder.*"),
    (
        "refused, there is no one list of layers that follow each other",
        rf"{REFUSED}: .*( times in one|has no list|the one before has|how many layers).*",
    ),
    (
        "refused, it needs an image, a sound or the keys of another model",
        rf"{REFUSED}: .*(cannot be run|reads text alone).*",
    ),
    (
        "refused, its residual streams lie side by side or have another shape",
        rf"{REFUSED}: .* residual stream.*",
    ),
    ("refused, it does another task or has weights of another form", rf"{REFUSED}: .*"),
    ("not tried, transformers cannot make a small one", rf"{NOT_MADE}: .*"),
)
"""The groups of types, each with a pattern of lines; the first that fits counts."""


def saved_lines() -> dict[str, str]:
    """The line of each type in the list, by the name of the type."""
    lines = SAVED.read_text("utf-8").splitlines()
    return dict(line.split(": ", 1) for line in lines if line and not line.startswith("#"))


def types_list() -> str:
    """The types as a list in Markdown, group by group."""
    lines = saved_lines()
    items = [f"Of {len(lines)} types:", ""]
    for group, pattern in _GROUPS:
        fitting = [kind for kind, line in lines.items() if re.fullmatch(pattern, line)]
        names = ", ".join(f"`{kind}`" for kind in fitting)
        items.append(f"- **{len(fitting)}: {group}.** {names}")
        lines = {kind: line for kind, line in lines.items() if kind not in fitting}
    return "\n".join(items)
