"""Text to read: what a pane is and how to read it, or how to read the screen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from depthtui.tui.screens.dialogs.dialog import Dialog


class Explained(Protocol):
    """A title, and named lines of text beneath it."""

    @property
    def title(self) -> str:
        """The title."""

    @property
    def lines(self) -> Sequence[tuple[str, str]]:
        """The name and the text of each line."""


class ExplanationScreen(Dialog[None]):
    """Explanations one beneath the other."""

    hint = "j k scroll · g G first and last line · esc closes"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("i,I,q,enter", "leave", "close", show=False),
        Binding("j,down", "scroll(1)", "down", show=False, priority=True),
        Binding("k,up", "scroll(-1)", "up", show=False, priority=True),
        Binding("g,home", "to_first_line", "first line", show=False, priority=True),
        Binding("G,end", "to_last_line", "last line", show=False, priority=True),
    ]

    def __init__(
        self, explanations: Sequence[Explained], heading: str = "Help", classes: str = ""
    ) -> None:
        super().__init__(classes=classes)
        self.heading = heading
        self._explanations = explanations

    def body(self) -> ComposeResult:
        with VerticalScroll():
            for explanation in self._explanations:
                yield Static(Content(explanation.title), classes="explained")
                for name, text in explanation.lines:
                    with Horizontal(classes="line"):
                        yield Static(Content(name), classes="what")
                        yield Static(Content(text), classes="said")

    def action_scroll(self, lines: int) -> None:
        # Deferred, keys that come quickly would all count from the same line.
        self._text.scroll_relative(y=lines, animate=False, immediate=True)

    def action_to_first_line(self) -> None:
        self._text.scroll_home(animate=False, immediate=True)

    def action_to_last_line(self) -> None:
        self._text.scroll_end(animate=False, immediate=True)

    @property
    def _text(self) -> VerticalScroll:
        return self.query_one(VerticalScroll)
