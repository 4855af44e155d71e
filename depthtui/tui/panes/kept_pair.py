"""The knowledge that two runs keep, with fewer and fewer layers."""

from __future__ import annotations

import numpy as np

from depthtui.data.explanation import Explanation
from depthtui.metrics import kept
from depthtui.metrics.kept.curve import AT_HALF, SHARE
from depthtui.metrics.kept.pool import PooledKept
from depthtui.report.explanations import of_metrics
from depthtui.tui.draw.plot import Curve
from depthtui.tui.draw.share_plot import share_plot
from depthtui.tui.draw.styles import Piece
from depthtui.tui.panes.lines_pane import LinesPane
from depthtui.tui.panes.page import as_many_as_fit

_SIGNS = ("──", "┈┈")
_LEAST_CURVE = 2


class KeptPair(LinesPane):
    """The share that each run keeps against the share of its layers."""

    def computes(self) -> tuple[str, ...]:
        return (kept.NAME,)

    def explains(self) -> tuple[Explanation, ...]:
        return of_metrics(kept.NAME)

    @property
    def _sides(self) -> list[tuple[str, PooledKept | None]]:
        readings = zip("AB", (self.reading, self.other_reading), strict=True)
        return [
            (letter, None if reading is None else reading.get(kept.METRIC))
            for letter, reading in readings
        ]

    def why_empty(self) -> tuple[str, str] | None:
        self.set_titles("Knowledge kept with fewer layers")
        if any(knowledge is not None for _, knowledge in self._sides):
            return None
        return (
            "Not measured in A and B.",
            f"{self.compute_key} computes {kept.METRIC.title.lower()}.",
        )

    def lay_out(self) -> list[list[Piece]]:
        lines = [self._legend(place) for place in range(2)]
        room = self.area.height - len(lines) - 1
        return lines if room < _LEAST_CURVE else [*lines, *self._curves(room)]

    def _legend(self, place: int) -> list[Piece]:
        """A run's number of layers, or why there is none."""
        letter, knowledge = self._sides[place]
        styles = self.pane_styles
        result = (self.result, self.view.other_result)[place]
        why = "" if result is None else kept.METRIC.why_unavailable(result)
        words = ["not measured", f": {why}" if why else ""]
        if knowledge is not None:
            curve = knowledge.curve
            words = ["too little known"]
            if not curve.why_too_little:
                words = [f"{curve.count()} of {knowledge.n_pieces} layers", " keep nine tenths"]
                words += [f", {curve.count(AT_HALF)} half", f" · of {curve.words}"]
        sign = f"{_SIGNS[place]} {letter} "
        line: list[Piece] = [(sign, self.line_style(place))]
        line += [(text, styles.text) for text in words]
        return as_many_as_fit(line, self.area.width)

    def _curves(self, lines: int) -> list[list[Piece]]:
        """Both curves in so many lines, and their axis."""
        curves = [
            Curve(
                np.linspace(0, 1, knowledge.n_pieces + 1),
                knowledge.curve.share,
                self.line_style(place),
                dotted=place > 0,
            )
            for place, (_, knowledge) in enumerate(self._sides)
            if knowledge is not None
        ]
        marks = [(1.0, "0% of layers")]
        marks += [(1 - share / 100, f"{share}%") for share in range(100, 0, -25)]
        return share_plot(curves, SHARE, (self.area.width, lines), self.pane_styles, marks)
