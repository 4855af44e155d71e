"""Curves of a share against the layers kept, with the axes of both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from depthtui.tui.draw.plot import Curve, CurvePanel, Plot, PlotArea
from depthtui.tui.draw.styles import PaneStyles, Piece, ruler

_AXIS_CELLS = 5
"""Cells of the labels beside the curves."""


def share_plot(
    curves: Sequence[Curve],
    share: float,
    size: tuple[int, int],
    styles: PaneStyles,
    marks: Iterable[tuple[float, str]],
    cursor: tuple[float, str] | None = None,
    has_threshold: bool = True,
) -> list[list[Piece]]:
    """The curves, their labels, and the axis beneath.

    Args:
        curves: the curves, the uppermost first.
        share: the share that is labelled.
        size: the cells of a line, and the lines of the curves.
        styles: the theme's styles.
        marks: the marks of the axis, each with its place from 0 to 1; one that would touch an
            earlier one is left out.
        cursor: the place of a vertical line, and its mark; None for none.
        has_threshold: whether a dashed line is drawn at the share.
    """
    width, lines = size
    area = PlotArea(0, 0, max(1, width - _AXIS_CELLS), lines)
    plot = Plot(area, 0.0, 1.0)
    panel = CurvePanel("", "", plot, curves, share if has_threshold else float("nan"))
    labels = {0: "100%", lines - 1: "0%", plot.line_of(share): f"{share:.0%}"}
    at, mark = cursor or (None, "")
    rows: list[list[Piece]] = [
        [
            (f"{labels.get(line, ''):>{_AXIS_CELLS - 1}} ", styles.faint),
            *panel.line(line, styles, at),
        ]
        for line in range(lines)
    ]
    places = [(area.width if place == 1 else area.column(place), text) for place, text in marks]
    axis = ruler(places, (area.column(at or 0), mark), area.width, styles)
    return [*rows, [(" " * _AXIS_CELLS, styles.faint), *axis]]
