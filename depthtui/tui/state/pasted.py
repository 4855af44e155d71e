"""Pasted and edited text without control characters, no longer than its field allows."""

from __future__ import annotations

import unicodedata
from typing import NamedTuple

LONGEST_LINE = 4_000
"""The most characters in a field of one line."""

LONGEST_TEXT = 30_000
"""The most characters in a text that is edited: with more of them, a key takes seconds."""

NO_FIELD = "The paste was dropped: no field for text has the focus."
CONTROLS_DROPPED = "Control characters were dropped."
FIRST_LINE_ONLY = "Only the first line was kept: the field has one."
LINE_CUT = f"The text was cut: a field of one line has room for {LONGEST_LINE:,} characters."
TOO_LONG = (
    f"The text is too long: {LONGEST_TEXT:,} characters are the most that can be edited. p opens "
    "a longer prompt from a file."
)

_CONTROLS = {code: None for code in range(0xA0) if unicodedata.category(chr(code)) == "Cc"} | {
    ord("\t"): "\t",
    ord("\n"): "\n",
}


class Pasted(NamedTuple):
    """Text to insert, and a sentence for each thing that was left out."""

    text: str
    sentences: tuple[str, ...]


def pasted_line(text: str, room: int) -> Pasted:
    """A paste for a field of one line that has room for some more characters."""
    text, sentences = _without_controls(text)
    lines = [line for line in text.splitlines() if line]
    if len(lines) > 1:
        sentences += (FIRST_LINE_ONLY,)
    line = lines[0] if lines else ""
    if len(line) > room:
        sentences += (LINE_CUT,)
    return Pasted(line[: max(0, room)], sentences)


def pasted_text(text: str, room: int) -> Pasted:
    """A paste for a text of several lines; nothing of it where it is too long."""
    text, sentences = _without_controls(text)
    return Pasted(text, sentences) if len(text) <= room else Pasted("", (TOO_LONG,))


def _without_controls(text: str) -> Pasted:
    """The text with plain line ends and no other control character than tabs."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    clean = text.translate(_CONTROLS)
    return Pasted(clean, (CONTROLS_DROPPED,) if len(clean) < len(text) else ())
