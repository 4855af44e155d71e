"""The lens at a token, clean and with layers left out, side by side."""

from __future__ import annotations

from rich.cells import cell_len
from textual.strip import Strip

from depthtui.data.lens import LogitLens
from depthtui.data.lens_view import lens_heading, lens_of
from depthtui.tui.draw.styles import Piece
from depthtui.tui.panes.lens_rows import AROUND_TOKEN, GAP, WIDEST_TOKEN, LensRows
from depthtui.tui.panes.pane import Cursor, lens_values
from depthtui.tui.state.what_if import Stack

_MIDDLE = " │ "
_DIFFERS = " ≠ "
_NARROWEST_TOKEN = 5


class LensPair(LensRows):
    """The lens of two runs: `result` lacks some layers, `other_result` is clean."""

    def why_empty(self) -> tuple[str, str] | None:
        self.set_titles(lens_heading(self.view.lens))
        if self.result is None or self.other_result is None:
            return "The model's next tokens before each layer, clean and changed.", ""
        if any(lens_of(run, self.view.lens) is None for run in (self.result, self.other_result)):
            return self.no_lens()
        return None

    def prepare(self) -> None:
        self._half = max(1, (self.area.width - self.margin - len(_MIDDLE)) // 2)
        room = self._half + len(GAP)
        count = max(1, min(3, room // (9 + AROUND_TOKEN)))
        cells = room // count - AROUND_TOKEN
        self._columns = count, max(min(_NARROWEST_TOKEN, cells), min(WIDEST_TOKEN, cells))
        # At a layer that is off, the lens reads the same as below the layer.
        stack = Stack.of(self.drawn_result.model.n_layers, self.drawn_result.settings)
        self._skipped = stack.skipped_layers
        self._final = int(self._clean.top_ids[-1, self.token, 0])
        self.scroll_to_cursor()
        self.set_titles(self.title, self.with_hidden_note("clean │ changed"))

    @property
    def _clean(self) -> LogitLens:
        return lens_values(self.other_result, self.view.lens)

    @property
    def _changed(self) -> LogitLens:
        return lens_values(self.result, self.view.lens)

    def move_cursor(self, old: Cursor, new: Cursor) -> None:
        if old.token != new.token:
            self.redraw_content()
        else:
            super().move_cursor(old, new)

    def draw_line(self, y: int) -> Strip:
        if y == 0:
            left = f"{' ' * self.margin}{'clean':<{self._half + len(_MIDDLE)}}"
            return self.line((f"{left}changed", self.pane_styles.faint))
        layer = self.layer_at(y)
        if layer is None:
            return self.line()
        clean, changed = (
            int(lens.top_ids[layer, self.token, 0]) for lens in (self._clean, self._changed)
        )
        differs = changed >= 0 and clean != changed
        middle = (
            (_DIFFERS, self.pane_styles.strong) if differs else (_MIDDLE, self.pane_styles.faint)
        )
        return self.line(
            *self.draw_number(layer),
            *self._draw_half(self._clean, layer),
            middle,
            *self._draw_half(self._changed, layer, layer in self._skipped),
        )

    def _draw_half(self, lens: LogitLens, layer: int, is_faint: bool = False) -> list[Piece]:
        """The most probable tokens of a run at a depth, in exactly the cells of one half."""
        pieces = self.draw_top(lens, layer, self._final, self._columns, is_faint)
        if pieces[-1][0] == GAP:
            pieces.pop()
        used = sum(cell_len(text) for text, _ in pieces)
        return [*pieces, (" " * max(0, self._half - used), self.pane_styles.text)]
