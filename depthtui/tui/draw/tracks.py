"""Counts of layers on an axis of depth.

A depth is a mark, on a band from the lowest to the highest; layers that may be anywhere are drawn
at their places. Marks and bands are solid where the count is firm, hollow where it holds here; the
band of a fragile count is broken.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from depthtui.data.verdict import Evidence
from depthtui.report.marks import (
    FIRM_BAND,
    FIRM_LAYERS,
    FIRM_MARK,
    FRAGILE_BAND,
    HOLLOW_BAND,
    HOLLOW_LAYERS,
    HOLLOW_MARK,
)
from depthtui.tui.draw.styles import PaneStyles, Piece

_TRACK = "─"
_STEPS = (1, 2, 5, 10, 20, 50, 100, 200)
"""Steps in which the axis may count layers."""


def column_of(count: float, n_layers: int, width: int) -> int:
    """The cell of a count, 0 at the left end of the axis and L at its right."""
    return round(count / max(1, n_layers) * (width - 1))


def track(measure: Evidence, n_layers: int, width: int, styles: PaneStyles) -> list[Piece]:
    """A line of `width` cells: the axis with the range of a depth, or the layers of a count."""
    if width < 1:
        return []
    if measure.count is None or measure.low is None or measure.high is None:
        return [(_TRACK * width, styles.faint)]
    if measure.layers is not None:
        return _layers(measure, measure.layers, n_layers, width, styles)
    low, middle, high = (
        column_of(count, n_layers, width) for count in (measure.low, measure.count, measure.high)
    )
    band = FRAGILE_BAND if measure.is_fragile else FIRM_BAND if measure.firm else HOLLOW_BAND
    style = styles.warning if measure.is_fragile else styles.text
    mark = FIRM_MARK if measure.firm else HOLLOW_MARK
    return [
        (_TRACK * low, styles.faint),
        (band * (middle - low), style),
        (mark, styles.warning if measure.is_fragile else styles.strong),
        (band * (high - middle), style),
        (_TRACK * (width - 1 - high), styles.faint),
    ]


def _layers(
    measure: Evidence, layers: tuple[int, ...], n_layers: int, width: int, styles: PaneStyles
) -> list[Piece]:
    """Each counted layer l from the axis's l to l + 1; cells of several show if all count."""
    others = sorted(set(range(n_layers)) - set(layers))
    counted, free = _cells(layers, n_layers, width), _cells(others, n_layers, width)
    whole, part = FIRM_LAYERS if measure.firm else HOLLOW_LAYERS
    style = styles.warning if measure.is_fragile else styles.text
    marks = [
        _TRACK if cell not in counted else part if cell in free else whole for cell in range(width)
    ]
    return [
        ("".join(run), styles.faint if mark == _TRACK else style) for mark, run in groupby(marks)
    ]


def _cells(layers: Iterable[int], n_layers: int, width: int) -> set[int]:
    return {cell for layer in layers for cell in _cells_of(layer, n_layers, width)}


def _cells_of(layer: int, n_layers: int, width: int) -> range:
    """The cells of a layer, at least one even where cells are fewer than layers.

    The last layer reaches the end of the axis, so that no cell is empty behind it.
    """
    first, behind = (column_of(depth, n_layers, width) for depth in (layer, layer + 1))
    return range(first, width if layer == n_layers - 1 else max(first + 1, behind))


def axis(n_layers: int, width: int) -> str:
    """Numbers of layers beneath the tracks, L at the right end; as many as fit."""
    cells = [" "] * max(0, width)
    digits = len(str(n_layers))
    fewest = next((step for step in _STEPS if step / n_layers * width >= digits + 2), n_layers)
    last_start = width - digits
    if last_start < 0:
        return "".join(cells)
    cells[last_start:] = str(n_layers).rjust(digits)
    for count in range(0, n_layers, fewest):
        text, place = str(count), column_of(count, n_layers, width)
        if place + len(text) < last_start:
            cells[place : place + len(text)] = text
    return "".join(cells)
