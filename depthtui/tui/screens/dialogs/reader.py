"""A dialog of text to read, scrolled by the keys of a pager."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll

from depthtui.tui.screens.dialogs.dialog import Dialog


class Reader(Dialog[Any]):
    """Text in a `VerticalScroll`."""

    hint = "j k scroll · g G first and last line · esc closes"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("i,I,q,enter", "leave", "close", show=False),
        Binding("j,down", "scroll(1)", "down", show=False, priority=True),
        Binding("k,up", "scroll(-1)", "up", show=False, priority=True),
        Binding("pagedown,space", "scroll_page(1)", "page down", show=False, priority=True),
        Binding("pageup,b", "scroll_page(-1)", "page up", show=False, priority=True),
        Binding("g,home", "to_first_line", "first line", show=False, priority=True),
        Binding("G,end", "to_last_line", "last line", show=False, priority=True),
    ]

    def action_scroll(self, lines: int) -> None:
        # If deferred, keys in quick succession would all count from the same line.
        self._text.scroll_relative(y=lines, animate=False, immediate=True)

    def action_scroll_page(self, pages: int) -> None:
        self.action_scroll(pages * max(1, self._text.size.height - 1))

    def action_to_first_line(self) -> None:
        self._text.scroll_home(animate=False, immediate=True)

    def action_to_last_line(self) -> None:
        self._text.scroll_end(animate=False, immediate=True)

    @property
    def _text(self) -> VerticalScroll:
        return self.query_one(VerticalScroll)
