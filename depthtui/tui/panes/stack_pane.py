"""The layers as people draw them: one on the other, each with its attention and its MLP."""

from __future__ import annotations

from rich.cells import cell_len
from rich.style import Style
from textual.strip import Strip

from depthtui.metrics import RANKINGS
from depthtui.metrics.ranking import Ranked, usefulness
from depthtui.tui.draw.layer_rows import LayerRows
from depthtui.tui.draw.scale import scale_of
from depthtui.tui.draw.styles import Piece, bar, fit_right
from depthtui.tui.state.what_if import SUBLAYERS, Stack

_ON, _OFF = "▄▄▄▄", "····"
_BLOCKS = (("attention", "attn"), ("mlp", "MLP"))
_VALUE_CELLS = 7
_LONGEST_BAR = 16


class StackPane(LayerRows):
    """Which layers are on, and how useful each of them is where that is known."""

    stack = Stack(())
    measured: Ranked | None = None
    _include_first_token = True

    def show_stack(
        self,
        stack: Stack,
        measured: Ranked | None,
        include_first_token: bool = True,
    ) -> None:
        """Draw these layers on or off, and this as how useful they are, with token 0 or without."""
        self.stack, self.measured = stack, measured
        self._include_first_token = include_first_token
        self.redraw()

    def why_empty(self) -> tuple[str, str] | None:
        surest = RANKINGS[0]
        known = surest.result is not None and isinstance(self.measured, surest.result)
        self.set_titles("Layers", "" if known else f"i {surest.title.lower()}")
        return ("The layers, on or off.", "") if self.result is None else None

    def prepare(self) -> None:
        measured, first = self.measured, self._include_first_token
        self._values = None if measured is None else usefulness(measured, first)
        self._high = 1.0 if self._values is None else scale_of(self._values, False).high
        self._rows = [self._draw_layer(layer) for layer in range(self.depths - 1)]
        self.scroll_to_cursor()

    def draw_line(self, y: int) -> Strip:
        if y == 0:
            return self._draw_header()
        layer = self.layer_at(y)
        if layer is None:
            return self.line()
        if layer == self.depths - 1:
            return self.line(*self.draw_number(layer), ("┃", self.pane_styles.muted))
        return self.line(*self.draw_number(layer), *self._rows[layer])

    def _draw_header(self) -> Strip:
        names = " ".join(f"{name:<{len(_ON)}}" for _, name in _BLOCKS)
        left = f"{' ' * self.margin}  {names}"
        room = self.area.width - cell_len(left)
        ranked_by = "" if self.measured is None else self.measured.ranked_by
        # Its last word tells it where there is no room for all.
        right = fit_right(ranked_by if len(ranked_by) < room else ranked_by.split()[-1], room)
        return self.line((left + right, self.pane_styles.faint))

    def _draw_layer(self, layer: int) -> list[Piece]:
        """The residual stream with the layer's blocks beside it, then its usefulness."""
        styles, off = self.pane_styles, self.stack.off[layer]
        pieces: list[Piece] = [("┃" if off == SUBLAYERS else "┣", styles.muted)]
        for part, _ in _BLOCKS:
            pieces += [(" ", styles.text), self._draw_block(part in off)]
        if self._values is None:
            return pieces
        value = float(self._values[layer])
        cells = self.area.width - self.margin - sum(cell_len(text) for text, _ in pieces)
        cells = max(0, min(_LONGEST_BAR, cells - _VALUE_CELLS - 1))
        full, empty = bar(abs(value) / self._high, cells)
        style = self._value_style(value, bool(off))
        return [
            *pieces,
            (f" {full}", style),
            (" " * len(empty), styles.text),
            (fit_right(f"{value:.3f}", _VALUE_CELLS), styles.faint if off else styles.muted),
        ]

    def _draw_block(self, is_off: bool) -> Piece:
        return (_OFF, self.pane_styles.faint) if is_off else (_ON, self.pane_styles.text)

    def _value_style(self, value: float, is_off: bool) -> Style:
        """Faint where the layer is off; a layer that the loss is better without is good news."""
        if is_off:
            return self.pane_styles.faint
        return self.pane_styles.good if value < 0 else self.pane_styles.text
