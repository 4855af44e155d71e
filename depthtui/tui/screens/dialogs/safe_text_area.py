"""A text box that shows hostile text without obeying it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from rich.containers import Lines
from rich.text import Span, Text
from textual.events import Paste
from textual.widgets import TextArea

from depthtui.token_text import printable_chars
from depthtui.tui.messages import PasteLimited
from depthtui.tui.state.pasted import LONGEST_TEXT, Pasted, pasted_text


class SafeTextArea(TextArea):
    """Keeps the text unchanged and draws a harmless character for each harmful one."""

    def get_line(self, line_index: int) -> Text:
        line = _printable_line(self.document.get_line(line_index))
        return _WrappedText(line, end="", no_wrap=True)

    def pasted(self, text: str) -> Pasted:
        """A paste, without what the text has no room for."""
        return pasted_text(text, LONGEST_TEXT - len(self.text) + len(self.selected_text))

    def on_paste(self, event: Paste) -> None:
        """Prepare a paste for Textual's own handler, or keep it from one that is too long."""
        event.text, sentences = self.pasted(event.text)
        if sentences:
            self.post_message(PasteLimited(" ".join(sentences)))
        if not event.text:
            event.prevent_default()

    def on_resize(self) -> None:
        """Draw all lines: a text area that wraps them anew leaves the old ones on the screen."""
        self.refresh()


class _WrappedText(Text):
    """A line that is wrapped once: Textual takes all of it apart again for each of its rows."""

    def divide(self, offsets: Iterable[int]) -> Lines:
        return _divided(self.plain, tuple(self.spans), tuple(offsets))


@lru_cache(maxsize=4)
def _divided(line: str, spans: tuple[Span, ...], offsets: tuple[int, ...]) -> Lines:
    return Text(line, spans=list(spans), end="", no_wrap=True).divide(offsets)


@lru_cache(maxsize=64)
def _printable_line(line: str) -> str:
    return printable_chars(line)
