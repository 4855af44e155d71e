"""A screen of panes that follows the engine: it is redrawn as rows come, once a frame."""

from __future__ import annotations

from depthtui.tui.screens.pane_screen import PaneScreen
from depthtui.tui.state.explorer import Explorer

FRAME = 1 / 16
"""Seconds between two redraws while rows keep coming; a clock and toasts repaint beside them."""


class LiveScreen(PaneScreen):
    """What the screens share that show a run while it goes on."""

    def __init__(self, explorer: Explorer) -> None:
        super().__init__(explorer)
        self._redraw_planned = False

    def draw(self) -> None:
        """Bring every pane up to date."""
        raise NotImplementedError

    def redraw(self) -> None:
        """Draw now, unless the screen is gone."""
        self._redraw_planned = False
        if self.is_running:
            self.draw()
            # A pane has something under its cursor once it is laid out.
            self.call_after_refresh(self.refresh_keys)

    def changed(self) -> None:
        """Draw with the next frame."""
        if not self._redraw_planned:
            self._redraw_planned = True
            self.set_timer(FRAME, self.redraw)
