"""A text box that shows hostile text without obeying it."""

from __future__ import annotations

from rich.text import Text
from textual.widgets import TextArea

from depthtui.token_text import printable_chars

LONGEST_TYPED = 30_000
"""Characters that are pasted at once, and that can be edited: with more, keys take seconds."""


class SafeTextArea(TextArea):
    """Keeps the text as it is and draws a harmless character for each harmful one."""

    def get_line(self, line_index: int) -> Text:
        return Text(printable_chars(self.document.get_line(line_index)), end="", no_wrap=True)

    def on_resize(self) -> None:
        """Draw the lines anew: a text area that wraps them anew leaves the old ones standing."""
        self.refresh()
