"""A pane that is a list of lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.strip import Strip

from depthtui.tui.draw.styles import Piece
from depthtui.tui.panes.pane import Cursor, Pane


class LinesPane(Pane):
    """A pane whose lines are laid out together, once per change.

    Attributes:
        follows_cursor: whether a cursor move changes the lines.
    """

    follows_cursor: ClassVar[bool] = False
    _lines: Sequence[Sequence[Piece]] = ()

    def lay_out(self) -> Sequence[Sequence[Piece]]:
        """The lines of the content from the top; the rest of the pane is empty."""
        raise NotImplementedError

    def prepare(self) -> None:
        self._lines = self.lay_out()

    def draw_line(self, y: int) -> Strip:
        return self.line(*self._lines[y]) if y < len(self._lines) else self.line()

    def move_cursor(self, old: Cursor, new: Cursor) -> None:
        if self.follows_cursor:
            self._lines = self.lay_out()
            self.refresh(self.area.region)
