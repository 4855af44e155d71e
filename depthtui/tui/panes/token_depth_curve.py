"""The depth of each token, along the text: a dot a token, and a rolling mean."""

from __future__ import annotations

import numpy as np
from rich.style import Style

from depthtui import ramps
from depthtui.report.phrases import sentence_case
from depthtui.report.token_depths import rolling_mean
from depthtui.tui.draw.plot import Curve, CurvePanel, Plot, PlotArea
from depthtui.tui.draw.styles import PaneStyles, Piece, number
from depthtui.tui.panes.chart import Chart, ChartAxis
from depthtui.tui.panes.generated_text import depth_words
from depthtui.tui.panes.pane import Cursor, CursorMoved

ROLLING = 16
"""Tokens of the rolling mean."""


class TokenDepthCurve(Chart):
    """Depth by token, layer 0 at the bottom whatever the layer order.

    A dot has its token's colour in the text; the edge of the plot is the scale.
    """

    MARGIN = 6
    ALONG = "token"

    def why_empty(self) -> tuple[str, str] | None:
        if self.result is None or not len(self.result.tokens):
            self.set_titles("Depth")
            return "The depth of each token, as the text goes on.", self.hint
        return None

    def depths(self) -> np.ndarray | None:
        """`[T]`, the depths that are drawn; None where there are none."""
        values = self.measure.values(self.drawn_result)
        return None if values is None else values[0]

    @property
    def depth_title(self) -> str:
        """The title of the measure of depth."""
        return self.measure.title

    def show_titles(self, measure: str, at_token: str) -> None:
        """Set the frame's titles: the measure's, and the depth of the token under the cursor."""
        self.set_titles(measure, at_token)

    def prepare(self) -> None:
        depths = self.depths()
        n_tokens, n_layers = len(self.drawn_result.tokens), self.drawn_result.model.n_layers
        self._depths = np.full(n_tokens, np.nan) if depths is None else depths.astype(float)
        self._rolling_means = rolling_mean(self._depths, ROLLING)
        plot, at = Plot(self.room, 0, n_layers), np.arange(n_tokens) / max(1, self._span - 1)
        # A gap after each point keeps the points apart.
        apart = np.stack([self._depths, np.full(n_tokens, np.nan)], axis=1).ravel()
        mean = Curve(at, self._rolling_means, self.pane_styles.strong)
        dots = plot.curve(np.repeat(at, 2), apart)
        self.panels = [
            CurvePanel("", "", plot, [mean], behind=dots, behind_style=self._dot_style),
        ]
        self._update_titles()

    def move_cursor(self, old: Cursor, new: Cursor) -> None:
        self._update_titles()
        super().move_cursor(old, new)

    def _update_titles(self) -> None:
        depth, mean = self._depths[self._token], self._rolling_means[self._token]
        self.show_titles(
            sentence_case(self.depth_title),
            f"token {self._token}: {depth_words(depth)} · last {ROLLING}: {number(mean)}",
        )

    # Geometry ---------------------------------------------------------------

    @property
    def _token(self) -> int:
        return min(max(self.cursor.token, 0), len(self._depths) - 1)

    @property
    def _span(self) -> int:
        """Tokens across the plot; a short text leaves room at the right."""
        return max(len(self._depths), 2 * self.room.width)

    @property
    def share(self) -> float:
        return self._token / max(1, self._span - 1)

    def axis(self, area: PlotArea) -> ChartAxis:
        tokens = range(0, len(self._depths), _step(self._span))
        marks = [(token / max(1, self._span - 1), str(token)) for token in tokens]
        return ChartAxis("", marks, str(self._token))

    def point_at(self, share: float, panel: CurvePanel | None) -> None:
        token = min(round(share * (self._span - 1)), len(self._depths) - 1)
        self.post_message(CursorMoved(self.cursor.layer, token))

    # Drawing ----------------------------------------------------------------

    def draw_beside(self, panel: CurvePanel, line: int) -> list[Piece]:
        """The layer's number, and the colour of its depth."""
        n_layers, last = self.drawn_result.model.n_layers, panel.plot.area.lines - 1
        label = "out" if line == 0 else "0" if line == last else ""
        if line == last // 2 and last > 3:
            label = str(round(n_layers * (1 - line / last)))
        ramp = self.ramp_for(False)
        level = self._level_at(line)
        edge: Piece = (" ", ramp.written_on(level))
        if ramp.glyphs:
            edge = (ramp.glyphs[level], self.pane_styles.muted)
        styles = self.pane_styles
        return [(f"{label:>{self.MARGIN - 3}} ", styles.muted), edge, (" ", styles.text)]

    def _dot_style(self, styles: PaneStyles, line: int) -> Style:
        ramp = self.ramp_for(False)
        if ramp.glyphs:
            return styles.muted
        return styles.text + Style(color=ramp.written_on(self._level_at(line)).bgcolor)

    def _level_at(self, y: int) -> int:
        share = 1 - y / max(1, self.room.lines - 1)
        return int(ramps.levels(np.array([share]), 0, 1, len(self.ramp_for(False)))[0])


def _step(span: int) -> int:
    """Tokens between two numbers on the axis: about ten numbers, round ones."""
    return next(step for step in (10, 20, 50, 100, 200, 500, 1000, 1 << 30) if span / step <= 12)
