"""A screen of panes that follows the engine: it is redrawn as rows come, once a frame."""

from __future__ import annotations

import asyncio
import time

from depthtui.depth.reading import Reading
from depthtui.tui.screens.pane_screen import PaneScreen
from depthtui.tui.state.explorer import Explorer
from depthtui.tui.state.session import SessionRun
from depthtui.tui.state.verdicts import LastReading

FRAME = 1 / 16
"""Seconds between two redraws while rows arrive; a clock and toasts repaint separately."""


class LiveScreen(PaneScreen):
    """The base of screens that show a run while it is computed.

    Attributes:
        redraw_planned: whether something has changed since the last frame.
    """

    def __init__(self, explorer: Explorer) -> None:
        super().__init__(explorer)
        self.redraw_planned = False
        self._drawn_at = 0.0

    @property
    def run(self) -> SessionRun | None:
        """The run on the screen."""
        return None

    def stop(self) -> None:
        """Stop the engine's work."""
        self.explorer.stop()

    def draw(self) -> None:
        """Bring every pane up to date."""
        raise NotImplementedError

    def redraw(self) -> None:
        """Draw now, unless the screen is gone."""
        self.redraw_planned, self._drawn_at = False, time.monotonic()
        if self.is_running:
            self.draw()
            # Panes have something under the cursor only once they are laid out.
            self.call_after_refresh(self.refresh_keys)

    def changed(self) -> None:
        """Draw with the next frame, or at once where the last frame is long enough ago."""
        if self.redraw_planned:
            return
        self.redraw_planned = True
        wait = self._drawn_at + FRAME - time.monotonic()
        if wait > 0:
            self.set_timer(wait, self.redraw)
        else:
            self.call_later(self.redraw)

    def complete(self, *readings: LastReading) -> None:
        """Compute the intervals of these readings in a thread, and draw again with them."""
        for last in readings:
            draft = last.begin()
            if draft is not None:
                self.run_worker(self._complete(last, draft))

    async def _complete(self, last: LastReading, draft: Reading) -> None:
        complete = None
        try:
            complete = await asyncio.to_thread(draft.completed)
        finally:
            last.finish(draft, complete)
        self.changed()
