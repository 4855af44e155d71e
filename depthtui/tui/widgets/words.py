"""Sentences in panes: made safe, and broken into lines."""

from __future__ import annotations

from rich.cells import cell_len

from depthtui.tui.token_text import fit_shown, printable


def sentence(text: str) -> str:
    """A sentence from elsewhere, safe to show, with its spaces left as spaces."""
    return " ".join(printable(word) for word in text.split())


def wrap(text: str, width: int) -> list[str]:
    """Printable text broken at spaces into lines of at most `width` cells."""
    lines: list[str] = []
    for word in text.split():
        if lines and cell_len(lines[-1]) + 1 + cell_len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word if cell_len(word) <= width else fit_shown(word, width))
    return lines
