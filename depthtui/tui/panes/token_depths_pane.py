"""The depth of each token of a run: along its text, and how many tokens have each depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from rich.style import Style
from textual.reactive import reactive

from depthtui import ramps
from depthtui.data.explanation import Explanation
from depthtui.data.lens_view import through_words
from depthtui.depth.spans import spans_of
from depthtui.metrics import settling
from depthtui.metrics.token_depths import (
    DECIDED,
    NAME,
    TOKEN_DEPTHS,
    TokenDepthMeasure,
    first_counted,
)
from depthtui.report.blocks import Bars, Figure
from depthtui.report.explanations import of_metrics
from depthtui.report.phrases import sentence_case
from depthtui.report.token_depths import ROLLING, depth_figures, rolling_mean, span_means
from depthtui.tui.draw.plot import Curve, CurvePanel, Plot, PlotArea
from depthtui.tui.draw.styles import PaneStyles, Piece, number
from depthtui.tui.draw.text import not_computed
from depthtui.tui.panes.chart import Chart, ChartAxis
from depthtui.tui.panes.page import DIAL_KEYS, Page, as_many_as_fit
from depthtui.tui.panes.pane import Cursor, CursorMoved

_PURPOSE = "The depth of each token, read at the token before it, which predicts it."
_FEWEST_LINES = 4
_NARROW, _BAR_CELLS = 48, 14
"""Cells of a pane without bars, and the most cells of a bar and the gap before it."""


class TokenDepthsPane(Chart, Page):
    """Depth by token, by the dial's measure, over the means of prompt, thinking and answer.

    Layer 0 is at the bottom whatever the layer order. A dot is a token, in the colour of its depth;
    the edge of the plot is the scale. At the right a bar has the number of tokens at the depths of
    its line; depths at which tokens settle late have a warning colour.

    Attributes:
        place: the place of the dial's measure in `TOKEN_DEPTHS`.
    """

    footer = ("turn_page", "write", "open", "export", "explain")
    MARGIN = 6
    ALONG = "token"
    dial = "measure"
    place: reactive[int] = reactive(TOKEN_DEPTHS.index(DECIDED), repaint=False)

    @property
    def depth_measure(self) -> TokenDepthMeasure:
        """The measure of depth that is drawn."""
        return TOKEN_DEPTHS[self.place]

    def turn_dial(self, steps: int) -> None:
        self.place = (self.place + steps) % len(TOKEN_DEPTHS)

    def watch_place(self) -> None:
        self.redraw()

    def computes(self) -> tuple[str, ...]:
        if self.depth_measure.name == settling.NAME:
            return self.computed_for(settling.NAME)
        return self.lens_to_compute()

    def explains(self) -> tuple[Explanation, ...]:
        return of_metrics(NAME)

    def why_empty(self) -> tuple[str, str] | None:
        reason = self._why_empty()
        if reason is not None:
            self.title_with_dial(self._title)
        return reason

    def _why_empty(self) -> tuple[str, str] | None:
        depths = self.depths() if self.reading is not None and self.result is not None else None
        if depths is not None and np.isfinite(depths).any():
            return None
        if reason := self.why_no_lens(_PURPOSE):
            return reason
        if self.depth_measure.name == settling.NAME:
            return not_computed(self.drawn_result, settling.METRIC, self.view.pace)
        return f"No token has a depth here: {self.depth_measure.meaning}.", ""

    def figures(self) -> Sequence[Figure]:
        if self.reading is None or self._why_empty() is not None:
            return ()
        depths = self.reading.token_depths(self.drawn_result)
        if depths is None:
            return ()
        n_layers, measure = self.drawn_result.model.n_layers, self.depth_measure
        counts = np.bincount(self._counted().astype(int), minlength=n_layers + 1).astype(float)
        title = f"{sentence_case(measure.title)}, tokens at each depth"
        bars = Bars(counts, title, "tokens", across=f"depth, {n_layers} is the output")
        return [*depth_figures(depths, n_layers, [measure.name]), Figure(title, bars)]

    def prepare(self) -> None:
        has_room = self.area.height >= _FEWEST_LINES
        self.legend = [as_many_as_fit(self._means(), self.area.width)] if has_room else []
        depths = self.depths()
        n_tokens, n_layers = len(self.drawn_result.tokens), self.drawn_result.model.n_layers
        self._depths = np.full(n_tokens, np.nan) if depths is None else depths.astype(float)
        self._rolling_means = rolling_mean(self._depths)
        plot, at = Plot(self.room, 0, n_layers), np.arange(n_tokens) / max(1, self._span - 1)
        values, counts = np.unique(self._counted(), return_counts=True)
        lines = [plot.line_of(depth) for depth in values.tolist()]
        self._counts = np.bincount(lines, counts, self.room.lines).astype(int)
        # A gap after each point keeps the points apart.
        apart = np.stack([self._depths, np.full(n_tokens, np.nan)], axis=1).ravel()
        mean = Curve(at, self._rolling_means, self.pane_styles.strong)
        dots = plot.curve(np.repeat(at, 2), apart)
        self.panels = [
            CurvePanel("", "", plot, [mean], behind=dots, behind_style=self._dot_style),
        ]
        self._update_titles()

    @property
    def _title(self) -> str:
        return through_words(f"{self.depth_measure.title} by token", self.view.lens)

    def depths(self) -> np.ndarray | None:
        assert self.reading is not None
        depths = self.reading.token_depths(self.drawn_result)
        return None if depths is None else getattr(depths, self.depth_measure.name)

    def _counted(self) -> np.ndarray:
        """The depths of the tokens that have one and count in means."""
        depths = self.depths()
        assert depths is not None
        assert self.reading is not None
        counted = depths[first_counted(self.reading.settings) :]
        return counted[np.isfinite(counted)]

    @property
    def _late(self) -> float:
        """The depth from which on a token settles late; infinite for other measures."""
        is_settling = self.depth_measure.name == settling.NAME
        return settling.LATE * self.drawn_result.model.n_layers if is_settling else np.inf

    def _means(self) -> list[Piece]:
        """The means of all tokens and of each span, and the share of tokens that settle late."""
        run, reading, styles = self.drawn_result, self.reading, self.pane_styles
        assert reading is not None
        depths = reading.token_depths(run)
        assert depths is not None
        spans = {self.depth_measure.title: slice(0, len(run.tokens)), **spans_of(run)}
        means = span_means(depths, spans, first_counted(reading.settings))
        layers = f" of {run.model.n_layers}"
        pieces: list[Piece] = []
        for name, mean in means.items():
            joint = " · " if pieces else ""
            pieces += [
                (f"{joint}{name} ", styles.muted),
                (f"{number(mean[self.depth_measure.name])}{layers}", styles.strong),
            ]
            layers = ""
        counted = self._counted()
        if np.isfinite(self._late) and len(counted):
            late = float(np.mean(counted >= self._late))
            pieces.insert(2, (f" · {late:.0%} late", styles.warning))
        return pieces

    def move_cursor(self, old: Cursor, new: Cursor) -> None:
        self._update_titles()
        super().move_cursor(old, new)

    def _update_titles(self) -> None:
        depth, mean = self._depths[self._token], self._rolling_means[self._token]
        words = "–" if np.isnan(depth) else f"{depth:.0f}"
        self.set_titles(
            sentence_case(self._title),
            f"token {self._token}: {words} · last {ROLLING}: {number(mean)} "
            f"· {DIAL_KEYS} {self.dial}",
        )

    # Geometry ---------------------------------------------------------------

    @property
    def room(self) -> PlotArea:
        """The area of the dots, left of the bars."""
        bars = _BAR_CELLS if self.area.width >= _NARROW else 0
        return replace(super().room, width=max(1, super().room.width - bars))

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

    def draw_panel(self, panel: CurvePanel, line: int) -> list[Piece]:
        """The dots of a line and the number of its tokens as a bar."""
        pieces, styles = super().draw_panel(panel, line), self.pane_styles
        count = int(self._counts[line])
        if self.area.width < _NARROW or not count:
            return pieces
        depth = self._depths[self._token]
        is_at_cursor = np.isfinite(depth) and panel.plot.line_of(float(depth)) == line
        lowest = panel.plot.line_of(self._late) if np.isfinite(self._late) else -1
        style = styles.accent if is_at_cursor else styles.warning if line <= lowest else styles.text
        digits = len(str(self._counts.max()))
        cells = max(1, round(count / self._counts.max() * (_BAR_CELLS - 2 - digits)))
        return [*pieces, (f" {'━' * cells}", style), (f" {count}", styles.muted)]

    def draw_axis(self, area: PlotArea) -> list[Piece]:
        has_bars = self.area.width >= _NARROW
        heading = [(" tokens", self.pane_styles.faint)] if has_bars else []
        return [*super().draw_axis(area), *heading]

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
