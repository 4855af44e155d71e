"""Upright bars, one a layer: how high, how wide, and where each stands."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from rich.style import Style

from depthtui.tui.draw.scale import scale_of
from depthtui.tui.draw.styles import PaneStyles, Piece, ruler

_BARS = " ▁▂▃▄▅▆▇█"
_WIDEST = 4

StyleOf = Callable[[float, range], Style]
"""The style of a bar from its value and the layers that it stands for."""


def upright_bars(
    values: np.ndarray, width: int, lines: int, styles: PaneStyles, style_of: StyleOf
) -> list[list[Piece]]:
    """Bars from 0 up to the largest value in `lines` lines; an unknown value is a dot."""
    cells = column_cells(len(values), width)
    columns = sum_up(values, cells)
    high = scale_of(values, False).high
    shares = np.nan_to_num(np.clip(columns / high, 0, 1)) * lines * 8
    drawn = []
    for line in range(lines):
        eighths = np.clip(shares - 8 * (lines - 1 - line), 0, 8).round().astype(int)
        pieces: list[Piece] = []
        for column, (value, height) in enumerate(zip(columns, eighths, strict=True)):
            # A layer is to be seen however little it does.
            is_last = line == lines - 1
            bar = _BARS[max(int(height), int(is_last))]
            if not np.isfinite(value):
                bar = "·" if is_last else " "
            layers = layers_in(column, len(values), cells)
            style = style_of(float(value), layers) if np.isfinite(value) else styles.faint
            pieces.append((bar * max(1, round(cells)), style))
        drawn.append(pieces)
    return drawn


def layer_ruler(
    count: int, cursor: int, width: int, styles: PaneStyles, first: int = 0, mark: str = "▴"
) -> list[Piece]:
    """Every tenth number beneath `count` bars that are counted from `first`, and the cursor."""
    cells = column_cells(count, width)
    tens = range(-(-first // 10) * 10, first + count, 10)
    marks = [(place_of(ten - first, cells), str(ten)) for ten in tens]
    return ruler(marks, (place_of(cursor - first, cells), f"{mark}{cursor}"), width, styles)


def column_cells(layers: int, width: int) -> float:
    """Cells of a layer: a whole number, or a share of one where several are in a column."""
    return min(_WIDEST, width // layers) if layers <= width else 1 / -(-layers // max(1, width))


def place_of(layer: int, cells: float) -> int:
    """The first cell of a layer."""
    return int(layer * cells)


def layers_in(column: int, layers: int, cells: float) -> range:
    """The layers that a column stands for."""
    size = 1 if cells >= 1 else round(1 / cells)
    return range(column * size, min(layers, (column + 1) * size))


def sum_up(values: np.ndarray, cells: float) -> np.ndarray:
    """One value a column: the largest of the layers in it."""
    if cells >= 1:
        return values
    size = round(1 / cells)
    filled = np.pad(values, (0, -len(values) % size), constant_values=np.nan)
    groups = filled.reshape(-1, size)
    known = np.isfinite(groups).any(axis=1)
    largest = np.where(np.isfinite(groups), groups, -np.inf).max(axis=1)
    return np.where(known, largest, np.nan)
