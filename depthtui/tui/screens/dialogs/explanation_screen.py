"""Explanations to read: what a pane is and how to read it, or how to read the screen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from depthtui.tui.screens.dialogs.reader import Reader


class Explained(Protocol):
    """A title and named lines of text."""

    @property
    def title(self) -> str:
        """The title of the text."""

    @property
    def lines(self) -> Sequence[tuple[str, str]]:
        """The name and the text of each line."""


class ExplanationScreen(Reader):
    """Explanations, one beneath the other."""

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
