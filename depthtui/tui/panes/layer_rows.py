"""One line a depth, the model's output included: the base of panes side by side."""

from __future__ import annotations

from textual import events, on

from depthtui.data.model import label_cells, layer_label
from depthtui.tui.draw.styles import Piece
from depthtui.tui.panes.pane import Cursor, CursorMoved, Pane

HEADER_LINES = 1

OUTPUT = "out"
"""The name of the row of the model's output."""


class LayerRows(Pane):
    """A pane with a header and a line for each of the depths 0 … L.

    Panes of one height that have the same cursor scroll together, so that a layer is on the same
    line in all of them.
    """

    _first = 0

    @property
    def depths(self) -> int:
        """The number of lines, L + 1."""
        return self.drawn_result.model.n_layers + 1

    @property
    def margin(self) -> int:
        """Cells of the layers' labels."""
        return max(len(OUTPUT), label_cells(self.drawn_result.model)) + 2

    def place_of(self, layer: int) -> int:
        """The line of a layer below the header, scrolled or not."""
        layer = min(max(layer, 0), self.depths - 1)
        return self.depths - 1 - layer if self.view.layer_order == "up" else layer

    def layer_at(self, y: int) -> int | None:
        """The layer on a line of the pane; L is the output."""
        place = y - HEADER_LINES + self._first
        if y < HEADER_LINES or place >= self.depths:
            return None
        return self.depths - 1 - place if self.view.layer_order == "up" else place

    def scroll_to_cursor(self) -> bool:
        """Bring the cursor's layer into view; returns whether the pane scrolled."""
        lines = max(1, self.area.height - HEADER_LINES)
        place, former_first = self.place_of(self.cursor.layer), self._first
        first = former_first
        if not former_first <= place < former_first + lines:
            # Scrolling by half a pane makes full repaints rare.
            first = place - lines // 2
        self._first = max(0, min(first, self.depths - lines))
        return self._first != former_first

    @property
    def hidden_note(self) -> str:
        """The depths in sight; empty where all are."""
        seen = [self.layer_at(y) for y in (HEADER_LINES, self.area.height - 1)]
        first, last = (0 if layer is None else layer for layer in seen)
        if self.depths <= max(1, self.area.height - HEADER_LINES):
            return ""
        names = [OUTPUT if layer == self.depths - 1 else str(layer) for layer in (first, last)]
        low, high = names if self.view.layer_order == "down" else names[::-1]
        return f"{low} to {high} of 0 to {OUTPUT}"

    def with_hidden_note(self, words: str) -> str:
        """Words and the depths in sight; the depths alone where both do not fit."""
        notes = " · ".join(filter(None, (words, self.hidden_note)))
        return notes if len(notes) < self.area.width else self.hidden_note or words

    def move_cursor(self, old: Cursor, new: Cursor) -> None:
        if self.scroll_to_cursor():
            self.redraw_content()
            return
        lines = {self.place_of(cursor.layer) - self._first for cursor in (old, new)}
        self.refresh(*(self.whole_lines(line + HEADER_LINES) for line in lines))

    def draw_number(self, layer: int) -> list[Piece]:
        """The label of a layer, after the cursor."""
        last = self.depths - 1
        name = OUTPUT if layer == last else layer_label(self.drawn_result.model, layer)
        label = f"{name:>{self.margin - 2}} "
        if layer == min(max(self.cursor.layer, 0), last):
            return [("▸", self.pane_styles.accent), (label, self.pane_styles.accent)]
        return [(" ", self.pane_styles.text), (label, self.pane_styles.muted)]

    def on_click(self, event: events.Click) -> None:
        """Put the cursor on the layer under the mouse."""
        offset = event.get_content_offset(self)
        layer = self.layer_at(offset.y) if offset is not None and self.is_ready else None
        if layer is not None:
            self.post_message(CursorMoved(layer, self.cursor.token))

    @on(events.MouseScrollUp)
    @on(events.MouseScrollDown)
    def _scroll(self, event: events.MouseEvent) -> None:
        event.stop()
        if self.is_ready:
            is_up = isinstance(event, events.MouseScrollUp)
            step = 1 if is_up == (self.view.layer_order == "up") else -1
            layer = min(max(self.cursor.layer + step, 0), self.depths - 1)
            self.post_message(CursorMoved(layer, self.cursor.token))
