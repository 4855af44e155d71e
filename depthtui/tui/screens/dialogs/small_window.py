"""The message of a window that is too small for anything else."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.widgets import Static

from depthtui.tui.commands.everywhere import IN_DIALOGS
from depthtui.tui.textual_patches.screens import ModalScreen

LEAST = Size(70, 20)
"""The smallest window in which the panes have room."""


def is_too_small(size: Size) -> bool:
    """Whether a window of this many columns and lines is too small."""
    return size.width < LEAST.width or size.height < LEAST.height


class SmallWindow(ModalScreen[None]):
    """Covers the screen until the window is large enough; the screen beneath continues."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "app.quit", "quit", show=False),
        *IN_DIALOGS,
    ]

    def compose(self) -> ComposeResult:
        yield Static(id="small-window")

    def on_mount(self) -> None:
        self._follow()

    def on_resize(self) -> None:
        self._follow()

    def on_screen_resume(self) -> None:
        self._follow()

    def _follow(self) -> None:
        size = self.app.size
        if is_too_small(size):
            words = (
                f"This window is {size.width}x{size.height}, too small for the explorer: "
                f"it takes {LEAST.width}x{LEAST.height}. q quits."
            )
            self.query_one(Static).update(words)
        else:
            self.dismiss()
