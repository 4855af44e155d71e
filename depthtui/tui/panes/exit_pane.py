"""The gain of leaving early, with a dial for the confidence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from textual.reactive import reactive

from depthtui.data.explanation import Explanation
from depthtui.data.lens_view import through_words
from depthtui.metrics.early_exit import CONFIDENCE, METRIC, EarlyExit, early_exit
from depthtui.report.blocks import Bar, Column, Table
from depthtui.report.explanations import of_metrics
from depthtui.report.tables import ValueTable, exit_table
from depthtui.token_text import fit_shown, printable
from depthtui.tui.draw.block_lines import lines_of
from depthtui.tui.draw.plot import Curve, CurvePanel, Plot, PlotArea
from depthtui.tui.draw.styles import Piece, number, ruler
from depthtui.tui.panes.page import Page, as_many_as_fit

DIAL = (*(round(0.05 * step, 2) for step in range(1, 20)), 0.99)
"""The confidences of the dial and of the curves."""

_MOST_AGREE = 0.95
"""The agreement whose price is shown at any confidence."""

_PURPOSE = "How many layers early exit saves at a confidence, and how many tokens it changes."
_NAME_CELLS = 15
_COLUMNS = (
    Column("", style="soft", width=_NAME_CELLS),
    Column("", style="strong"),
    Column("", rank=1),
)
_LEAST_PLOT = 2


class ExitPane(Page):
    """Agreement with the output and layers saved, at the dial's confidence and over all of them.

    Attributes:
        confidence: the probability that the lens's first choice must exceed, one of `DIAL`.
    """

    dial = "confidence"
    follows_cursor = True
    confidence: reactive[float] = reactive(CONFIDENCE, repaint=False)

    def turn_dial(self, steps: int) -> None:
        place = DIAL.index(self.confidence) + steps
        self.confidence = DIAL[min(max(place, 0), len(DIAL) - 1)]

    def watch_confidence(self) -> None:
        self.redraw()

    def computes(self) -> tuple[str, ...]:
        return self.lens_to_compute()

    def explains(self) -> tuple[Explanation, ...]:
        return of_metrics(METRIC.name)

    def why_empty(self) -> tuple[str, str] | None:
        self.title_with_dial(through_words("Early exit", self.view.lens))
        return self.why_no_lens(_PURPOSE)

    def table(self) -> ValueTable | None:
        if self.why_no_lens(_PURPOSE) is not None:
            return None
        self._read()
        return exit_table(dict(zip(DIAL, self._counted, strict=True)))

    def prepare(self) -> None:
        self._read()
        super().prepare()

    def _read(self) -> None:
        """Read the exits of each confidence."""
        lens = self.lens()
        exits = [early_exit(lens, confidence) for confidence in DIAL]
        self._exit = exits[DIAL.index(self.confidence)]
        self._counted = [self._of_counted(exit_) for exit_ in exits]

    def _of_counted(self, exit_: EarlyExit) -> EarlyExit:
        """An early exit for the tokens that count."""
        return replace(exit_, depths=exit_.depths[self.tokens], agrees=exit_.agrees[self.tokens])

    def lay_out(self) -> list[list[Piece]]:
        styles, layers = self.pane_styles, self._exit.n_layers
        now = self._counted[DIAL.index(self.confidence)]
        saved = f"{number(now.layers_saved)} of {layers} layers"
        rows = [
            ("confidence over", f"{self.confidence:g}", Bar(self.confidence)),
            ("agreement", f"{number(100 * now.agreement)}%", Bar(now.agreement)),
            ("saved", saved, Bar(now.layers_saved / layers)),
        ]
        lines = [
            *lines_of([Table(_COLUMNS, rows, has_head=False)], self.area.width, styles),
            as_many_as_fit(self._agreement_line(), self.area.width),
            as_many_as_fit(self._token_line(), self.area.width),
        ]
        room = self.area.height - len(lines) - 1
        if room < _LEAST_PLOT:
            return lines
        if room >= 2 * _LEAST_PLOT + 1:
            lines.append([])
            room -= 1
        shares = {
            "agreement": [exit_.agreement for exit_ in self._counted],
            "saved": [exit_.layers_saved / layers for exit_ in self._counted],
        }
        has_both = room >= 2 * _LEAST_PLOT
        heights = [(room + 1) // 2, room // 2] if has_both else [room]
        for (name, values), count in zip(shares.items(), heights, strict=False):
            lines += self._plot(name, np.array(values), count)
        width = self.area.width - _NAME_CELLS
        marks = [(self._column(share), f"{share:g}") for share in (0, 0.25, 0.5, 0.75)]
        cursor = (self._column(self.confidence), f"▴{self.confidence:g}")
        name = fit_shown("confidence", _NAME_CELLS)
        return [*lines, [(name, styles.faint), *ruler(marks, cursor, width, styles)]]

    def _agreement_line(self) -> list[Piece]:
        """The layers saved at the lowest confidence from which on nearly all tokens agree."""
        styles, goal = self.pane_styles, (f"{_MOST_AGREE:.0%} agreement: ", self.pane_styles.muted)
        misses = [n for n, exit_ in enumerate(self._counted) if exit_.agreement < _MOST_AGREE]
        place = max(misses, default=-1) + 1
        if place == len(DIAL):
            return [goal, ("at no confidence", styles.text)]
        saved, layers = self._counted[place].layers_saved, self._exit.n_layers
        return [
            goal,
            (f"over {DIAL[place]:g}", styles.strong),
            (f", {number(saved)} of {layers} layers saved", styles.text),
        ]

    def _token_line(self) -> list[Piece]:
        """The depth at which the token under the cursor leaves, and its prediction there."""
        styles, lens = self.pane_styles, self.lens()
        token = min(self.cursor.token, len(self._exit.depths) - 1)
        depth = int(self._exit.depths[token])
        word = printable(lens.vocabulary.get(int(lens.top_ids[depth, token, 0]), "?"))
        if depth == self._exit.n_layers:
            return [(f"token {token} ", styles.accent), ("runs every layer", styles.muted)]
        end, style = ", as the output", styles.good
        if not self._exit.agrees[token]:
            final = printable(lens.vocabulary.get(int(lens.top_ids[-1, token, 0]), "?"))
            end, style = f', not "{final}"', styles.warning
        return [
            (f"token {token} ", styles.accent),
            (f"leaves before layer {depth}", styles.muted),
            (f': "{word}"', styles.text),
            (end, style),
        ]

    def _column(self, confidence: float) -> int:
        """The cell of a confidence in the plot."""
        width = self.area.width - _NAME_CELLS
        return round(confidence * (2 * width - 1)) // 2

    def _plot(self, name: str, shares: np.ndarray, lines: int) -> list[list[Piece]]:
        """A curve over the confidence, in percent, with a line at the dial."""
        area = PlotArea(0, 0, max(1, self.area.width - _NAME_CELLS), lines)
        curve = Curve(np.array(DIAL), 100 * shares, self.pane_styles.text)
        panel = CurvePanel(name, "%", Plot(area, 0, 100), [curve])
        return panel.rows(_NAME_CELLS, self.pane_styles, self.confidence)
