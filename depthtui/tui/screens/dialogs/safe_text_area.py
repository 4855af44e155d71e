"""A text box that shows hostile text without obeying it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from rich.containers import Lines
from rich.text import Span, Text
from textual.dom import DOMNode
from textual.events import Key, Paste
from textual.widgets import TextArea

from depthtui.token_text import printable_chars
from depthtui.tui.messages import PasteLimited
from depthtui.tui.panes.safe_input import act_in_order
from depthtui.tui.state.pasted import LONGEST_TEXT, Pasted, pasted_text


class SafeTextArea(TextArea):
    """Keeps the text unchanged and draws a harmless character for each harmful one."""

    def get_line(self, line_index: int) -> Text:
        line = _printable_line(self.document.get_line(line_index))
        return _WrappedText(line, end="", no_wrap=True)

    def pasted(self, text: str) -> Pasted:
        """A paste, without what the text has no room for."""
        return pasted_text(text, LONGEST_TEXT - len(self.text) + len(self.selected_text))

    async def on_key(self, event: Key) -> None:
        await act_in_order(self, event)

    def watch(self, obj: DOMNode, attribute_name: str, callback: Any, init: bool = True) -> None:
        """Watch an attribute; the theme by its signal, which can forget the box.

        Textual keeps who watches the theme until that changes, which it seldom does (issue 6666).
        """
        if attribute_name == "theme":
            self.app.theme_changed_signal.subscribe(self, lambda theme: callback())
        else:
            super().watch(obj, attribute_name, callback, init)

    def on_unmount(self) -> None:
        self.app.theme_changed_signal.unsubscribe(self)

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
