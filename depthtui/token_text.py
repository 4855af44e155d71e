"""A token is hostile text: here it becomes something that is safe and legible in a row of cells.

What comes out holds no control, escape, bidirectional or invisible character
of the token's own, so that it can neither move the terminal's cursor nor turn
a row around, and its cell width is what Rich says it is. Show it as `Text`,
`Content` or segments, never as markup.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from rich.cells import cell_len

NOTHING = "∅"
"""What an empty token looks like."""

_DOTTED_CIRCLE = "◌"
_ELLIPSIS = "…"
_MOST_MARKS = 2

_SIGNS = {" ": "·", "\n": "↵", "\t": "⇥", "\r": "␍", "\x7f": "␡"}

# Keeps right-to-left letters from pulling their neighbours around on
# terminals that reorder; it has no width and no shape.
_LEFT_TO_RIGHT = "\u200e"

# Letters and marks that draw nothing, or that change how wide their
# neighbours are drawn, differently on each terminal.
_INVISIBLE = (
    (0x034F, 0x034F),
    (0x115F, 0x1160),
    (0x17B4, 0x17B5),
    (0x180B, 0x180F),
    (0x2800, 0x2800),
    (0x3164, 0x3164),
    (0xFE00, 0xFE0F),
    (0xFFA0, 0xFFA0),
    (0x1F1E6, 0x1F1FF),
    (0x1F3FB, 0x1F3FF),
    (0xE0100, 0xE01EF),
)
_UNSHOWN_CATEGORIES = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"}


@lru_cache(maxsize=8192)
def printable(text: str) -> str:
    """The token's text with everything that is not plainly visible spelt out.

    Spaces are `·`, a newline `↵`, a tab `⇥`, other control characters their
    control pictures; invisible, bidirectional and broken characters are
    escapes such as `\\u200b`; the bytes of a character that several tokens
    share are `\\xf0`; a combining mark that has nothing to sit on sits on `◌`.
    """
    if not text:
        return NOTHING
    shown: list[str] = []
    marks = _MOST_MARKS  # as if full: a mark in front has nothing to sit on
    reorders = False
    for char in text:
        if unicodedata.category(char)[0] == "M" and not _is_invisible(char):
            if marks < _MOST_MARKS:
                shown.append(char)
            elif not shown or shown[-1][0] != _DOTTED_CIRCLE:
                shown.append(_DOTTED_CIRCLE + char)
            marks += 1
            continue
        part = _visible(char)
        shown.append(part)
        marks = 0 if part == char else _MOST_MARKS
        reorders = reorders or unicodedata.bidirectional(char) in {"R", "AL", "AN"}
    result = "".join(shown)
    return f"{_LEFT_TO_RIGHT}{result}{_LEFT_TO_RIGHT}" if reorders else result


def is_part_of_character(text: str) -> bool:
    """Whether a token's text has bytes that are no character by themselves."""
    return any("\udc80" <= char <= "\udcff" for char in text)


CONTINUED = "⋯"
"""Stands in a token that has nothing but the rest of a character."""


def whole_characters(texts: Sequence[str]) -> list[str]:
    """Texts of tokens, each character in the token that begins it.

    A character that several tokens share, such as many in Chinese or Tamil, stands whole in the
    first of them; a token with no character of its own has `CONTINUED`. Bytes that make no
    character stay as they are.
    """
    try:
        pieces = [text.encode("utf-8", "surrogateescape") for text in texts]
    except UnicodeEncodeError:
        # Half of a pair of surrogates is no byte and no character.
        return list(texts)
    begun = ["" for _ in pieces]
    owners = [place for place, piece in enumerate(pieces) for _ in piece]
    offset = 0
    for char in b"".join(pieces).decode("utf-8", "surrogateescape"):
        begun[owners[offset]] += char
        offset += len(char.encode("utf-8", "surrogateescape"))
    return [
        CONTINUED if piece and not text else text for piece, text in zip(pieces, begun, strict=True)
    ]


def printable_line(text: str) -> str:
    """Untrusted text, such as a prompt or a folder's name, on one line; its spaces stay spaces."""
    return " ".join(printable(part) if part else "" for part in text.split(" "))


def printable_sentence(text: str) -> str:
    """An untrusted sentence on one line: all white space becomes single spaces."""
    return printable_line(" ".join(text.split()))


def printable_chars(text: str) -> str:
    """The text with every control, format and surrogate character replaced, one for one."""
    return text if text.isascii() and text.isprintable() else "".join(map(_stand_in, text))


def shortened(text: str, width: int) -> str:
    """At most `width` characters of the printable line, with … where something was cut."""
    text = printable_line(text[: width + 1])
    return text if len(text) <= width else text[: max(0, width - 1)] + _ELLIPSIS


def fit(text: str, width: int) -> str:
    """The printable token in exactly `width` cells: cut with `…`, or padded on the right."""
    # A very long token need not be read to its end.
    return fit_shown(printable(text[: 8 * width + 8]), width)


def fit_shown(shown: str, width: int) -> str:
    """Text that is printable already, in exactly `width` cells."""
    cells = cell_len(shown)
    if cells <= width:
        return shown + " " * (width - cells)
    if width <= 0:
        return ""
    kept, cells = [], 0
    for char in shown:
        cells += cell_len(char)
        if cells > width - 1:
            cells -= cell_len(char)
            break
        kept.append(char)
    end = _LEFT_TO_RIGHT if shown.startswith(_LEFT_TO_RIGHT) else ""
    return "".join(kept) + end + _ELLIPSIS + " " * (width - 1 - cells)


def cut_in_the_middle(shown: str, width: int) -> str:
    """Printable text in at most `width` cells; what is left out is its middle, where the names of
    models differ the least."""
    if cell_len(shown) <= width:
        return shown
    if cell_len(shown) != len(shown) or width < 6:
        return fit_shown(shown, width)
    tail = (width - 1) // 2
    return shown[: width - 1 - tail] + _ELLIPSIS + shown[-tail:]


def _visible(char: str) -> str:
    if char in _SIGNS:
        return _SIGNS[char]
    code = ord(char)
    if code < 0x20:
        return chr(0x2400 + code)
    if unicodedata.category(char) in _UNSHOWN_CATEGORIES or _is_invisible(char):
        return _escape(code)
    return char


def _is_invisible(char: str) -> bool:
    code = ord(char)
    return any(first <= code <= last for first, last in _INVISIBLE)


def _escape(code: int) -> str:
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8 by itself (PEP 383)
        return f"\\x{code - 0xDC00:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _stand_in(char: str) -> str:
    if char == "\t" or char.isprintable():
        return char
    if ord(char) < 0x20:
        return chr(0x2400 + ord(char))
    if unicodedata.category(char) in ("Zs", "Zl", "Zp"):
        return " "
    return "\N{REPLACEMENT CHARACTER}"
