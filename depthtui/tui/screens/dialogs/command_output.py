"""What a command of one's own prints, as it comes."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from depthtui.token_text import printable_chars
from depthtui.tui.own_process import OwnProcess
from depthtui.tui.screens.dialogs.dialog import WRONG
from depthtui.tui.screens.dialogs.reader import Reader

_FRAME = 0.1
"""Seconds between two looks at the output."""

_RUNNING_HINT = "x stops it · j k scroll · esc leaves it running"


class CommandOutput(Reader):
    """The line of a command, the end of its output, and how it is going.

    Args:
        process: the command.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("x", "stop", "stop", tooltip="Stop the command", show=False),
    ]

    def __init__(self, process: OwnProcess) -> None:
        super().__init__()
        self.process = process
        self.heading = process.command.title
        self._shown_lines: list[str] = []

    def body(self) -> ComposeResult:
        yield Static(Content(f"$ {self.process.line}"), id="line")
        with VerticalScroll():
            yield Static(id="printed")
        yield Static(id="note")

    def on_mount(self) -> None:
        self._looks = self.set_interval(_FRAME, self._look)
        self._look()

    def _look(self) -> None:
        """Show the output and the state."""
        process = self.process
        # The state comes first: there is no more output after the end.
        is_running = process.status is None
        self._show_lines(process.log.lines())
        self.show_hint(_RUNNING_HINT if is_running else self.hint)
        self.note(f"It {process.state}.", WRONG if process.has_failed else "bold")
        if not is_running:
            self._looks.stop()

    def _show_lines(self, lines: list[str]) -> None:
        """Show the output; a reader at its end stays there."""
        if lines == self._shown_lines:
            return
        self._shown_lines = lines
        is_at_end = self._text.is_vertical_scroll_end
        self.query_one("#printed", Static).update(Content("\n".join(map(_plain, lines))))
        if is_at_end:
            self._text.scroll_end(animate=False)

    def action_stop(self) -> None:
        """Stop the command, for certain where it was asked to stop before."""
        self.process.stop()
        self._look()


def _plain(line: str) -> str:
    """A line that changes nothing on the screen but its own cells."""
    return printable_chars(line.expandtabs())
