"""Tokens, which are hostile text, as safe and legible text for a row of cells.

The safe text has no control, escape, bidirectional or invisible character
of the token's own, so that it can neither move the terminal's cursor nor reverse
a row, and its cell width is the one that Rich computes. Show it as `Text`,
`Content` or segments, never as markup.
"""

from __future__ import annotations

import shlex
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from rich.cells import cell_len

NOTHING = "∅"
"""The text of an empty token."""

LONGEST_QUOTE = 60
"""Characters of typed words that a sentence names."""

_DOTTED_CIRCLE = "◌"
_ELLIPSIS = "…"
_MOST_MARKS = 2

_SIGNS = {" ": "·", "\n": "↵", "\t": "⇥", "\r": "␍", "\x7f": "␡", "\xa0": "⍽"}

# Keeps right-to-left letters from reordering their neighbours on
# terminals that reorder; it has no width and no glyph.
_LEFT_TO_RIGHT = "\u200e"

# Letters and marks that draw nothing, or that change the width of their
# neighbours, differently on each terminal.
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
    """The token's text, with every character that is not plainly visible spelt out.

    Spaces are `·`, a newline `↵`, a tab `⇥`, a no-break space `⍽`, other control characters their
    control pictures; invisible, bidirectional and broken characters are
    escapes such as `\\u200b`; the bytes of a character that several tokens
    share are `\\xf0`; a combining mark without a base gets `◌` as its base.
    """
    if not text:
        return NOTHING
    parts: list[str] = []
    marks = _MOST_MARKS  # as if full: a mark at the beginning has no base
    reorders = False
    for char in text:
        if unicodedata.category(char)[0] == "M" and not _is_invisible(char):
            if marks < _MOST_MARKS:
                parts.append(char)
            elif not parts or parts[-1][0] != _DOTTED_CIRCLE:
                parts.append(_DOTTED_CIRCLE + char)
            marks += 1
            continue
        part = _visible(char)
        parts.append(part)
        marks = 0 if part == char else _MOST_MARKS
        reorders = reorders or unicodedata.bidirectional(char) in {"R", "AL", "AN"}
    result = "".join(parts)
    return f"{_LEFT_TO_RIGHT}{result}{_LEFT_TO_RIGHT}" if reorders else result


def is_part_of_character(text: str) -> bool:
    """Whether a token's text has bytes that are not a whole character."""
    return any("\udc80" <= char <= "\udcff" for char in text)


CONTINUED = "⋯"
"""The text of a token that is only the rest of a character."""


def whole_characters(texts: Sequence[str]) -> list[str]:
    """Texts of tokens, each character in the token that begins it.

    A character that several tokens share, such as many in Chinese or Tamil, is whole in the
    first of them; a token without its own character has `CONTINUED`. Bytes that are no
    character are unchanged.
    """
    try:
        pieces = [text.encode("utf-8", "surrogateescape") for text in texts]
    except UnicodeEncodeError:
        # Half of a surrogate pair is neither a byte nor a character.
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
    """Untrusted text, such as a prompt or a folder's name, on one line; spaces are kept."""
    return " ".join(printable(part) if part else "" for part in text.split(" "))


def shell_word(name: str) -> str:
    """A name as one word of a printed command line, which bash and zsh read as the name.

    Where the name would not be shown as it is, bytes are spelt out: `$'two\\x0alines'`.
    """
    if printable_line(name) == name and "  " not in name:
        # zsh reads a bare =word as the path of a command.
        return f"'{name}'" if name == f"={shlex.quote(name[1:])}" else shlex.quote(name)
    return "$'" + "".join(map(_in_dollar_quotes, name)) + "'"


def _in_dollar_quotes(char: str) -> str:
    if char.isascii() and char.isprintable() and char not in " '\\":
        return char
    how = "surrogateescape" if "\udc80" <= char <= "\udcff" else "surrogatepass"
    return "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", how))


def printable_sentence(text: str) -> str:
    """An untrusted sentence on one line: all white space becomes single spaces."""
    return printable_line(" ".join(text.split()))


def printable_chars(text: str) -> str:
    """The text with every control, format and surrogate character replaced, one for one."""
    return text if text.isprintable() else "".join(map(_stand_in, text))


def shortened(text: str, width: int) -> str:
    """At most `width` characters of the printable line, with … where it was cut."""
    text = printable_line(text[: width + 1])
    return text if len(text) <= width else text[: max(0, width - 1)] + _ELLIPSIS


def fit(text: str, width: int) -> str:
    """The printable token in exactly `width` cells: cut with `…`, or padded on the right."""
    # The end of a very long token is not needed.
    return fit_shown(printable(text[: 8 * width + 8]), width)


def fit_shown(text: str, width: int) -> str:
    """Printable text in exactly `width` cells: cut or padded as `fit` does."""
    cells = cell_len(text)
    if cells <= width:
        return text + " " * (width - cells)
    if width <= 0:
        return ""
    fitting, cells = [], 0
    for char in text:
        cells += cell_len(char)
        if cells > width - 1:
            cells -= cell_len(char)
            break
        fitting.append(char)
    end = _LEFT_TO_RIGHT if text.startswith(_LEFT_TO_RIGHT) else ""
    return "".join(fitting) + end + _ELLIPSIS + " " * (width - 1 - cells)


def cut_in_the_middle(text: str, width: int) -> str:
    """Printable text in at most `width` cells, cut in the middle, where the names of models
    differ the least."""
    if cell_len(text) <= width:
        return text
    if cell_len(text) != len(text) or width < 6:
        return fit_shown(text, width)
    tail = (width - 1) // 2
    return text[: width - 1 - tail] + _ELLIPSIS + text[-tail:]


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
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8 by itself (PEP 383)
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
