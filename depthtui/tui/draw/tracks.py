"""Counts of layers on an axis of depth: a band from the lowest to the highest, a mark on it."""

from __future__ import annotations

from depthtui.data.verdict import Evidence
from depthtui.tui.draw.styles import PaneStyles, Piece

FIRM_MARK, FRAGILE_MARK = "◆", "◇"
_TRACK, _FIRM_BAND, _FRAGILE_BAND = "─", "━", "╍"
_STEPS = (1, 2, 5, 10, 20, 50, 100, 200)
"""What the axis may count layers in."""


def column_of(count: float, n_layers: int, width: int) -> int:
    """The cell of a count, 0 at the left end of the axis and L at its right."""
    return round(count / max(1, n_layers) * (width - 1))


def track(measure: Evidence, n_layers: int, width: int, styles: PaneStyles) -> list[Piece]:
    """A line of `width` cells: the axis, the range of a count, and a mark where the count is."""
    if width < 1:
        return []
    if measure.count is None or measure.low is None or measure.high is None:
        return [(_TRACK * width, styles.faint)]
    low, here, high = (
        column_of(count, n_layers, width) for count in (measure.low, measure.count, measure.high)
    )
    band = _FIRM_BAND if measure.firm else _FRAGILE_BAND
    style = styles.text if measure.firm else styles.warning
    mark = FIRM_MARK if measure.firm else FRAGILE_MARK
    return [
        (_TRACK * low, styles.faint),
        (band * (here - low), style),
        (mark, styles.strong if measure.firm else styles.warning),
        (band * (high - here), style),
        (_TRACK * (width - 1 - high), styles.faint),
    ]


def axis(n_layers: int, width: int) -> str:
    """Numbers of layers beneath the tracks, L at the right end; as many as there is room for."""
    cells = [" "] * max(0, width)
    digits = len(str(n_layers))
    fewest = next((step for step in _STEPS if step / n_layers * width >= digits + 2), n_layers)
    taken = width - digits
    if taken < 0:
        return "".join(cells)
    cells[taken:] = str(n_layers).rjust(digits)
    for count in range(0, n_layers, fewest):
        text, place = str(count), column_of(count, n_layers, width)
        if place + len(text) < taken:
            cells[place : place + len(text)] = text
    return "".join(cells)
