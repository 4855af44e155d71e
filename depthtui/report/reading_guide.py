"""How to read the explorer's screen: its panes, its words and every symbol in it."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class GuidePart:
    """A part of the guide: its title, and names or symbols with their meaning."""

    title: str
    lines: tuple[tuple[str, str], ...]


_TEXT = Path(__file__).with_suffix(".toml").read_text("utf-8")

GUIDE = tuple(
    GuidePart(title, tuple(lines.items())) for title, lines in tomllib.loads(_TEXT).items()
)
"""The parts of the guide, in the order of `reading_guide.toml`."""

MARKS = next(part.lines for part in GUIDE if part.title == "Symbols of the verdict")
"""The marks of a verdict, each with its meaning."""
