"""A text box that shows hostile text without obeying it."""

from __future__ import annotations

import unicodedata

from rich.text import Text
from textual.widgets import TextArea


class SafeTextArea(TextArea):
    """Keeps the text as it is and draws a harmless character for each harmful one."""

    def get_line(self, line_index: int) -> Text:
        return Text(stand_ins(self.document.get_line(line_index)), end="", no_wrap=True)

    def on_resize(self) -> None:
        """Draw the lines anew: a text area that wraps them anew leaves the old ones standing."""
        self.refresh()


def stand_ins(text: str) -> str:
    """The text with every control, format and surrogate character replaced, one for one."""
    return text if text.isascii() and text.isprintable() else "".join(map(_stand_in, text))


def _stand_in(char: str) -> str:
    if char == "\t" or char.isprintable():
        return char
    if ord(char) < 0x20:
        return chr(0x2400 + ord(char))
    if unicodedata.category(char) in ("Zs", "Zl", "Zp"):
        return " "
    return "\N{REPLACEMENT CHARACTER}"
