"""How deep tokens are decided as the text goes on: every token a dot, and their rolling mean."""

from __future__ import annotations

import numpy as np
from textual import events
from textual.strip import Strip

from depthtui import palette
from depthtui.report.generation import rolling_mean
from depthtui.tui.draw.braille import Canvas
from depthtui.tui.draw.styles import Piece, number, ruler
from depthtui.tui.panes.generated_text import depth_words
from depthtui.tui.panes.pane import CursorMoved, Pane

ROLLING = 16
"""Tokens that the rolling mean is over."""

_MARGIN = 6
_BLANK = 0x2800


class TokenDepthCurve(Pane):
    """Depth against the token, layer 0 at the bottom whatever the layer order.

    A dot's colour is its token's in the text; the edge of the plot is the scale.
    """

    def why_empty(self) -> tuple[str, str] | None:
        if self.result is None or not len(self.result.tokens):
            self.set_titles("Depth")
            return "How deep each token is decided, as the text goes on.", self.hint
        return None

    def prepare(self) -> None:
        values = self.measure.values(self.shown)
        n_tokens = len(self.shown.tokens)
        self._depths = np.full(n_tokens, np.nan) if values is None else values[0].astype(float)
        self._means = rolling_mean(self._depths, ROLLING)
        x, n_layers = self._places(), self.shown.model.n_layers
        dots, line = (Canvas(self._plot_width, self._plot_height) for _ in range(2))
        # A gap after each point, so that they are not joined.
        apart = np.stack([self._depths / n_layers, np.full(n_tokens, np.nan)], axis=1)
        dots.plot(np.repeat(x, 2), apart.ravel())
        line.plot(x, self._means / n_layers)
        self._dots, self._line = dots.lines(), line.lines()
        self._update_titles()

    def move_cursor(self, old: object, new: object) -> None:
        self._update_titles()
        self.refresh(self.area.region)

    def _update_titles(self) -> None:
        depth, mean = self._depths[self._token], self._means[self._token]
        title = self.measure.title
        self.set_titles(
            f"{title[:1].upper()}{title[1:]}",
            f"token {self._token}: {depth_words(depth)} · last {ROLLING}: {number(mean)}",
        )

    # Geometry ---------------------------------------------------------------

    @property
    def _token(self) -> int:
        return min(max(self.cursor.token, 0), len(self._depths) - 1)

    @property
    def _plot_width(self) -> int:
        return max(1, self.area.width - _MARGIN)

    @property
    def _plot_height(self) -> int:
        return max(1, self.area.height - 1)

    @property
    def _span(self) -> int:
        """Tokens across the plot; a short text leaves room on its right."""
        return max(len(self._depths), 2 * self._plot_width)

    def _places(self) -> np.ndarray:
        """Where each token is, 0 at the left end of the plot and 1 at its right."""
        return np.arange(len(self._depths)) / max(1, self._span - 1)

    def _column_of(self, token: int) -> int:
        return round(token / max(1, self._span - 1) * (2 * self._plot_width - 1)) // 2

    # Drawing ----------------------------------------------------------------

    def draw_line(self, y: int) -> Strip:
        if y >= self._plot_height:
            return self._draw_axis()
        return self.line(*self._draw_edge(y), *self._draw_plot(y))

    def _draw_edge(self, y: int) -> list[Piece]:
        """The layer's number, and the colour of its depth."""
        n_layers, last = self.shown.model.n_layers, self._plot_height - 1
        label = "out" if y == 0 else "0" if y == last else ""
        if y == last // 2 and last > 3:
            label = str(round(n_layers * (1 - y / last)))
        ramp = self.ramp_for(False)
        level = self._level_at(y)
        edge: Piece = (" ", ramp.written_on(level))
        if ramp.glyphs:
            edge = (ramp.glyphs[level], self.pane_styles.muted)
        return [
            (f"{label:>{_MARGIN - 3}} ", self.pane_styles.muted),
            edge,
            (" ", self.pane_styles.text),
        ]

    def _level_at(self, y: int) -> int:
        share = 1 - y / max(1, self._plot_height - 1)
        return int(palette.levels(np.array([share]), 0, 1, len(self.ramp_for(False)))[0])

    def _draw_plot(self, y: int) -> list[Piece]:
        ramp, cursor = self.ramp_for(False), self._column_of(self._token)
        dot = self.pane_styles.muted
        if not ramp.glyphs:
            colour = ramp.written_on(self._level_at(y)).bgcolor
            dot = self.pane_styles.text + type(dot)(color=colour)
        pieces: list[Piece] = []
        for column, (mark, mean) in enumerate(zip(self._dots[y], self._line[y], strict=True)):
            if mean != " ":
                both = ord(mean) | (ord(mark) if mark != " " else _BLANK)
                pieces.append((chr(both), self.pane_styles.strong))
            elif column == cursor and mark == " ":
                pieces.append(("│", self.pane_styles.accent))
            else:
                pieces.append((mark, dot))
            if column == cursor and pieces[-1][0] != "│":
                pieces[-1] = (pieces[-1][0], self.pane_styles.accent)
        return pieces

    def _draw_axis(self) -> Strip:
        tokens = range(0, len(self._depths), _step(self._span))
        marks = [(self._column_of(token), str(token)) for token in tokens]
        here = (self._column_of(self._token), str(self._token))
        return self.line(
            (" " * _MARGIN, self.pane_styles.text),
            *ruler(marks, here, self._plot_width, self.pane_styles),
        )

    def on_click(self, event: events.Click) -> None:
        """Put the cursor on the token under the mouse."""
        offset = event.get_content_offset(self)
        if offset is not None and self.is_ready and offset.x >= _MARGIN:
            share = (2 * (offset.x - _MARGIN)) / max(1, 2 * self._plot_width - 1)
            self.post_message(CursorMoved(self.cursor.layer, round(share * (self._span - 1))))


def _step(span: int) -> int:
    """Tokens between two numbers on the axis: some ten of them, at round numbers."""
    return next(step for step in (10, 20, 50, 100, 200, 500, 1000, 1 << 30) if span / step <= 12)
