"""A question that asks for a key; before running work is ended, the same key confirms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Static

from depthtui.tui.explorer_app import ExplorerApp
from depthtui.tui.textual_patches.screens import ModalScreen


class AskForKey(ModalScreen[str | None]):
    """A line at the bottom, or in the dialog below; dismissed with the pressed key, None for the
    mouse.

    Args:
        question: the purpose of the key.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+c", "app.quit", "quit", show=False, system=True, priority=True),
    ]

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        self.set_class(self.app.screen_stack[-2].is_modal, "-in-dialog")
        yield Static(Content(self._question), id="question")

    def on_key(self, event: events.Key) -> None:
        event.stop()
        self.dismiss(event.key)

    def on_click(self) -> None:
        self.dismiss(None)


class Ask(AskForKey):
    """Names the work that would be lost and the key that agrees; any other key changes nothing."""


def ask_first(
    app: ExplorerApp,
    lost: str,
    name: str,
    does: str,
    then: Callable[[], object],
) -> None:
    """Act at once, or once the key is pressed again where work would be lost.

    Args:
        app: the app, which asks.
        lost: the work that would be lost, in words; empty for none.
        name: the name of the command whose key agrees.
        does: the effect of the key, such as `quits`.
        then: the action.
    """
    if not lost:
        then()
        return
    keys = app.keys.of(name)

    def answered(key: str | None) -> None:
        if key in keys:
            then()

    question = f"{lost}. {keys[0]} {does}, other keys go back."
    app.push_screen(Ask(question), answered)


def confirm(app: App[Any], question: str, does: str, then: Callable[[], None]) -> None:
    """Act once y or enter agrees; `does` is their effect, such as `leaves`."""

    def answered(key: str | None) -> None:
        if key in ("y", "enter"):
            then()

    app.push_screen(Ask(f"{question} y or enter {does}, other keys go back."), answered)
