"""A text box that shows hostile text without obeying it."""

from __future__ import annotations

from rich.text import Text
from textual.widgets import TextArea

from depthtui.token_text import printable_chars

LONGEST_TYPED = 30_000
"""The longest paste or edited text, in characters: with longer ones, keys take seconds."""


class SafeTextArea(TextArea):
    """Keeps the text unchanged and draws a harmless character for each harmful one."""

    def get_line(self, line_index: int) -> Text:
        return Text(printable_chars(self.document.get_line(line_index)), end="", no_wrap=True)

    def on_resize(self) -> None:
        """Draw all lines: a text area that wraps them anew leaves the old ones on the screen."""
        self.refresh()
