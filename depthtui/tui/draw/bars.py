"""Upright bars, one a layer: their height, width and place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from rich.style import Style

from depthtui.data.model import ModelInfo, layer_mark
from depthtui.tui.draw.scale import scale_of
from depthtui.tui.draw.styles import PaneStyles, Piece, number, ruler

_BARS = " ▁▂▃▄▅▆▇█"
_BELOW = " ▔▔▀▀▀▀██"
"""Characters of bars that hang from the upper edge, as far as there are any."""

_BEYOND = "▲"
_WIDEST = 4

StyleOf = Callable[[float, range], Style]
"""The style of a bar from its value and the layers that it stands for."""


@dataclass(frozen=True)
class BarScale:
    """The scale of bars.

    Attributes:
        above, below: lines above zero and below it.
        step: the value of a line.
    """

    above: int
    below: int
    step: float

    @property
    def high(self) -> float:
        """The value of the highest bar that fits."""
        return self.above * self.step

    @property
    def low(self) -> float:
        """The value of the lowest bar that fits, at most 0."""
        return -self.below * self.step

    def bar(self, value: float, line: int) -> str:
        """The character of a value on a line, counted from above; a dot for an unknown value."""
        if not np.isfinite(value):
            return "·" if line == self.above - 1 else " "
        if line == 0 and value > self.high * (1 + 1e-6):
            return _BEYOND
        is_below = line >= self.above
        beside_zero = self.above if value < 0 and self.below else self.above - 1
        lines_away = line - self.above if is_below else self.above - 1 - line
        reached = 8 * ((-value if is_below else value) / self.step - lines_away)
        # A layer is visible however small its value.
        eighths = max(round(min(max(reached, 0.0), 8.0)), int(line == beside_zero))
        return (_BELOW if is_below else _BARS)[eighths]


def axis_of(values: np.ndarray, lines: int) -> BarScale:
    """The axis of bars in this many lines; in one line, no bar goes below zero."""
    lowest = -min(0.0, float(np.nanmin(values, initial=0.0)))
    high = scale_of(values, False).high
    if not lowest or lines < 2:
        return BarScale(lines, 0, high / lines)
    below = min(lines - 1, max(1, round(lines * lowest / (lowest + high))))
    return BarScale(lines - below, below, max(high / (lines - below), lowest / below))


def upright_bars(
    values: np.ndarray,
    width: int,
    lines: int,
    styles: PaneStyles,
    style_of: StyleOf,
    high: float | None = None,
) -> list[list[Piece]]:
    """Bars from 0 up to the largest value, or down to the least, in `lines` lines.

    An unknown value is a dot; one beyond the scale's end has a mark on top. With `high` the scale
    goes from 0 to there.
    """
    cells = column_cells(len(values), width)
    columns = sum_up(values, cells)
    axis = axis_of(values, lines) if high is None else BarScale(lines, 0, high / lines)

    def piece(column: int, value: float, line: int) -> Piece:
        layers = layers_in(column, len(values), cells)
        style = style_of(value, layers) if np.isfinite(value) else styles.faint
        return axis.bar(value, line) * max(1, round(cells)), style

    return [
        [piece(column, value, line) for column, value in enumerate(columns.tolist())]
        for line in range(lines)
    ]


def axis_labels(values: np.ndarray, lines: int) -> list[str]:
    """The labels beside each line of these bars: the scale's ends and zero."""
    axis = axis_of(values, lines)
    labels = [""] * lines
    labels[axis.above - 1] = "0"
    labels[-1] = number(axis.low) if axis.below else labels[-1]
    return [number(axis.high), *labels[1:]]


def layer_ruler(count: int, cursor: int, width: int, styles: PaneStyles) -> list[Piece]:
    """A ruler beneath `count` bars: every tenth number, and the cursor."""
    cells = column_cells(count, width)
    marks = [(place_of(ten, cells), str(ten)) for ten in range(0, count, 10)]
    return ruler(marks, (place_of(cursor, cells), f"▴{cursor}"), width, styles)


def type_line(model: ModelInfo, width: int, styles: PaneStyles) -> list[list[Piece]]:
    """The mark of each layer's type beneath its bar, in one line; none if all types are alike.

    Bars for several layers have no marks.
    """
    cells = column_cells(model.n_layers, width)
    if not model.layer_types or cells < 1:
        return []
    marks = (layer_mark(model, layer) for layer in range(model.n_layers))
    text = "".join(mark[: int(cells)].ljust(int(cells)) for mark in marks)
    return [[(text, styles.faint)]]


def column_cells(layers: int, width: int) -> float:
    """Cells of a layer: a whole number, or a fraction where a column has several layers."""
    return min(_WIDEST, width // layers) if layers <= width else 1 / -(-layers // max(1, width))


def place_of(layer: int, cells: float) -> int:
    """The first cell of a layer."""
    return int(layer * cells)


def layers_in(column: int, layers: int, cells: float) -> range:
    """The layers of a column."""
    size = 1 if cells >= 1 else round(1 / cells)
    return range(column * size, min(layers, (column + 1) * size))


def sum_up(values: np.ndarray, cells: float) -> np.ndarray:
    """One value a column: the largest of the layers in it."""
    if cells >= 1:
        return values
    size = round(1 / cells)
    filled = np.pad(values, (0, -len(values) % size), constant_values=np.nan)
    groups = filled.reshape(-1, size)
    has_value = np.isfinite(groups).any(axis=1)
    largest = np.where(np.isfinite(groups), groups, -np.inf).max(axis=1)
    return np.where(has_value, largest, np.nan)
