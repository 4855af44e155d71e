"""The layers as in a diagram: one above the other, each with its attention and its MLP."""

from __future__ import annotations

import numpy as np
from rich.cells import cell_len
from rich.style import Style
from textual import events
from textual.strip import Strip

from depthtui.data.explanation import Explanation
from depthtui.data.pieces import Piece as PrunedPiece
from depthtui.metrics import parts
from depthtui.metrics.estimates import about_time
from depthtui.metrics.parts import KeptParts
from depthtui.metrics.ranking import ALL_TOKENS, Ranked, usefulness
from depthtui.metrics.registry import RANKINGS
from depthtui.report.explanations import of_metrics
from depthtui.tui.draw.bars import BarScale, axis_of
from depthtui.tui.draw.styles import Piece, bar, fit_right, number
from depthtui.tui.panes.layer_rows import LayerRows
from depthtui.tui.panes.pane import Cursor
from depthtui.tui.panes.under_cursor import StackBlock, Target
from depthtui.tui.state.what_if import SUBLAYERS, Stack, next_metric

_ON, _OFF, _PATCHED = "▄", "·", "◈"
_BLOCK = 4
"""The cells of a block; the part's place in the order takes the last of them."""

_TWICE = "↻"
_BLOCKS = (("attention", "attn"), ("mlp", "MLP"))
_VALUE_CELLS = 7
_LONGEST_BAR = 16
_BEYOND = "»"


class StackPane(LayerRows):
    """The layers that are on, their usefulness and the order of their parts where these are known.

    A part's number is its place in the order: 1 goes first.
    """

    stack = Stack(())
    measured: Ranked | None = None
    kept_parts: KeptParts | None = None
    pruned_piece: PrunedPiece = "layer"
    part = "layer"
    """The chosen part of the layer at the cursor: a sublayer, or all of it."""
    _tokens = ALL_TOKENS

    def explains(self) -> tuple[Explanation, ...]:
        return of_metrics(parts.NAME, *(metric.name for metric in RANKINGS))

    def show_stack(
        self,
        stack: Stack,
        measured: Ranked | None,
        tokens: slice = ALL_TOKENS,
        kept_parts: KeptParts | None = None,
        pruned_piece: PrunedPiece = "layer",
    ) -> None:
        """Draw these layers on or off, with what is known of them.

        Args:
            stack: the layers.
            measured: a ranking of them.
            tokens: the tokens over which its means are.
            kept_parts: the order of their parts.
            pruned_piece: whether the key that prunes takes layers, or parts of them.
        """
        self.pruned_piece = pruned_piece
        self.stack, self.measured, self.kept_parts = stack, measured, kept_parts
        self._tokens = tokens
        self.redraw()

    def why_empty(self) -> tuple[str, str] | None:
        if self.result is not None:
            return None
        self.set_titles("Layers", self._key_words)
        return "The layers, on or off.", ""

    @property
    def _key_words(self) -> str:
        """What the key computes next, and how long the parts take; else what the numbers are."""
        metric = None if self.result is None else next_metric(self.result)
        if metric is None or self.result is None:
            return "" if self.kept_parts is None else f"numbers: order, {self.kept_parts.search}"
        if metric.why_unavailable(self.result):
            return ""
        time = about_time(metric, self.result, self.view.pace)
        words = f"i {metric.title.lower()}"
        return f"{words}, {time}" if metric is parts.METRIC and time else words

    def prepare(self) -> None:
        values = self._values()
        places = None if self.kept_parts is None else parts.places_of(self.kept_parts.orders[0])
        self._rows = [self._draw_layer(layer, values, places) for layer in range(self.depths - 1)]
        self.scroll_to_cursor()
        scale = "" if values is None else f" · full bar {number(self._axis_of(values).high)}"
        # There is room for one of them, and the values are numbers too.
        note = scale if self.pruned_piece == "layer" else " · p prunes parts"
        self.set_titles(f"Layers{note}", self.with_hidden_note(self._key_words))

    def _with_part(self, layer: int) -> list[Piece]:
        """A layer, its chosen sublayer in the cursor's colour."""
        row = self._rows[layer]
        names = [name for name, _ in _BLOCKS]
        if layer != self.cursor.layer or self.part not in names:
            return row
        place = 3 * names.index(self.part) + 2
        return [*row[:place], (row[place][0], self.pane_styles.accent), *row[place + 1 :]]

    def _values(self) -> np.ndarray | None:
        """The usefulness of each layer, `[L]`; None where unknown."""
        if self.measured is None:
            return None
        return usefulness(self.measured, self._tokens)

    def _axis_of(self, values: np.ndarray) -> BarScale:
        """The axis of the bars, in the cells beside the layers."""
        blocks = (1 + _BLOCK) * len(_BLOCKS)
        cells = self.area.width - self.margin - 1 - blocks - _VALUE_CELLS - 2
        return axis_of(values, max(1, min(_LONGEST_BAR, cells)))

    def draw_line(self, y: int) -> Strip:
        if y == 0:
            return self._draw_header()
        layer = self.layer_at(y)
        if layer is None:
            return self.line()
        if layer == self.depths - 1:
            return self.line(*self.draw_number(layer), ("┃", self.pane_styles.muted))
        return self.line(*self.draw_number(layer), *self._with_part(layer))

    def under_cursor(self) -> Target | None:
        if self.result is None or self.cursor.layer >= self.depths - 1:
            return None
        return StackBlock(self.cursor.layer, self.part)

    def move_cursor(self, old: Cursor, new: Cursor) -> None:
        self.part = "layer"
        super().move_cursor(old, new)

    def on_click(self, event: events.Click) -> None:
        """Put the cursor on the layer under the mouse, or on its sublayer."""
        super().on_click(event)
        offset = event.get_content_offset(self)
        if offset is None or not self.is_ready:
            return
        # The residual stream comes before the blocks, with a gap before each block.
        place, cells = divmod(offset.x - self.margin - 1, 1 + _BLOCK)
        part = _BLOCKS[place][0] if 0 <= place < len(_BLOCKS) and cells else "layer"
        self.call_later(self._point_at, part)

    def _point_at(self, part: str) -> None:
        """Choose a sublayer, once the cursor is on its layer."""
        self.part = part
        self.refresh(self.area.region)

    def _draw_header(self) -> Strip:
        names = " ".join(f"{name:<{_BLOCK}}" for _, name in _BLOCKS)
        left = f"{' ' * self.margin}  {names}"
        room = self.area.width - cell_len(left)
        ranked_by = "" if self.measured is None else self.measured.ranked_by
        # The last word suffices where there is no room for all.
        right = fit_right(ranked_by if len(ranked_by) < room else ranked_by.split()[-1], room)
        return self.line((left + right, self.pane_styles.faint))

    def _draw_layer(
        self, layer: int, values: np.ndarray | None, places: np.ndarray | None
    ) -> list[Piece]:
        """The residual stream with the layer's blocks, then its usefulness."""
        styles, off = self.pane_styles, self.stack.off[layer]
        is_twice = layer in self.stack.repeated_layers
        patched = {cell.part for cell in self.stack.patched if cell.layer == layer}
        pieces: list[Piece] = [("┃" if off == SUBLAYERS else "┣", styles.muted)]
        if is_twice or "layer" in patched:
            pieces = [(_TWICE if is_twice else _PATCHED, styles.strong)]
        for column, (part, _) in enumerate(_BLOCKS):
            place = "" if places is None else str(places[layer, column])
            width = 0 if places is None else len(str(places.size))
            block, style = self._draw_block(part in off, part in patched)
            pieces += [
                (" ", styles.text),
                (block * (_BLOCK - width), style),
                (place.rjust(width), styles.faint if part in off else styles.muted),
            ]
        if values is None:
            return pieces
        value = float(values[layer])
        below, above = _bars(self._axis_of(values), value)
        style = self._value_style(value, bool(off))
        return [
            *pieces,
            (f" {below}", style),
            ("│", styles.faint),
            (above, style),
            (fit_right(f"{value:.3f}", _VALUE_CELLS), styles.faint if off else styles.muted),
        ]

    def _draw_block(self, is_off: bool, is_patched: bool) -> Piece:
        """The character of a block, and its style."""
        if is_off:
            return _OFF, self.pane_styles.faint
        if is_patched:
            return _PATCHED, self.pane_styles.strong
        return _ON, self.pane_styles.text

    def _value_style(self, value: float, is_off: bool) -> Style:
        """Faint where the layer is off; the good style if the loss is lower without the layer."""
        if is_off:
            return self.pane_styles.faint
        return self.pane_styles.good if value < 0 else self.pane_styles.text


def _bars(axis: BarScale, value: float) -> tuple[str, str]:
    """A value's bar left and right of the axis; marked where it exceeds the scale."""
    if not np.isfinite(value):
        return " " * axis.below, "·".ljust(axis.above)
    if value < 0 and axis.below:
        full, _ = bar(value / axis.low, axis.below)
        return full.replace("╸", "╺")[::-1].rjust(axis.below), " " * axis.above
    full, _ = bar(value / axis.high, axis.above)
    if value > axis.high * (1 + 1e-6):
        full = f"{full[:-1]}{_BEYOND}"
    return " " * axis.below, full.ljust(axis.above)
