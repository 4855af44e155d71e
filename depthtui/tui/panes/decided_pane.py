"""The depths at which tokens are decided, and at which they settle."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.style import Style

from depthtui.data.explanation import Explanation
from depthtui.data.lens_view import through_words
from depthtui.metrics.prediction_depth import NAME as PREDICTION_DEPTH
from depthtui.metrics.prediction_depth import prediction_depth
from depthtui.metrics.registry import MEASURE_BY_NAME
from depthtui.metrics.settling import LATE, METRIC, divergence_of, settling_depth
from depthtui.report.blocks import Bars, Figure, Note
from depthtui.report.explanations import of_metrics
from depthtui.tui.draw.bars import layer_ruler, upright_bars
from depthtui.tui.draw.block_lines import lines_of
from depthtui.tui.draw.styles import Piece, number
from depthtui.tui.draw.text import not_computed
from depthtui.tui.panes.page import Page, as_many_as_fit

_PURPOSE = "The depth from which each token's first choice is the output's."


class DecidedPane(Page):
    """How many tokens are decided at each depth, and how many settle there.

    Prediction depth needs the lens, settling depth is computed separately. The bar of the token
    under the cursor is accented; tokens that settle late have a warning colour.
    """

    follows_cursor = True

    def computes(self) -> tuple[str, ...]:
        return self.computed_for(METRIC.name)

    def explains(self) -> tuple[Explanation, ...]:
        return of_metrics(PREDICTION_DEPTH, METRIC.name)

    def why_empty(self) -> tuple[str, str] | None:
        self.title_with_dial(through_words("Where tokens are decided", self.view.lens))
        return self.why_no_lens(_PURPOSE)

    def figures(self) -> Sequence[Figure]:
        if self.why_no_lens(_PURPOSE) is not None:
            return ()
        self._read()
        depths_by_title = {MEASURE_BY_NAME[PREDICTION_DEPTH].title: self._predicted}
        if self._settled is not None:
            depths_by_title[METRIC.title] = self._settled
        across = f"depth, {self.drawn_result.model.n_layers} is the output"
        bars_by_title = {
            title: Bars(
                self._counts(depths), f"{title}, tokens at each depth", "tokens", across=across
            )
            for title, depths in depths_by_title.items()
        }
        return [Figure(title, bars) for title, bars in bars_by_title.items()]

    def _counts(self, depths: np.ndarray) -> np.ndarray:
        """The number of tokens that count at each depth, `[L+1]`."""
        layers = self.drawn_result.model.n_layers
        return np.bincount(depths[self.tokens].astype(int), minlength=layers + 1).astype(float)

    def prepare(self) -> None:
        self._read()
        super().prepare()

    def _read(self) -> None:
        """Read the depths of the tokens."""
        divergence = divergence_of(self.drawn_result, self.view.lens)
        self._predicted = prediction_depth(self.lens())
        self._settled = None if divergence is None else settling_depth(divergence)

    def lay_out(self) -> list[list[Piece]]:
        width, room = self.area.width, self.area.height - 1
        layers = self.drawn_result.model.n_layers
        lines = self._block("prediction depth", self._predicted, (room + 1) // 2)
        if self._settled is None:
            notes = map(Note, not_computed(self.drawn_result, METRIC, self.view.pace))
            if room > 3 + len(lines):
                lines += [[]]
            lines += lines_of(notes, width, self.pane_styles, gaps=False)
            lines = lines[: self.area.height - 1]
        else:
            lines += self._block("settling depth", self._settled, room // 2, layers * LATE)
        ruler = layer_ruler(layers + 1, min(self.cursor.layer, layers), width, self.pane_styles)
        return [*lines, ruler]

    def _block(
        self, name: str, depths: np.ndarray, lines: int, late: float = np.inf
    ) -> list[list[Piece]]:
        """A title and the number of tokens at each depth; depths from `late` on stand out."""
        layers, styles = self.drawn_result.model.n_layers, self.pane_styles
        counted = depths[self.tokens]
        token = min(self.cursor.token, len(depths) - 1)
        depth = int(depths[token])
        title: list[Piece] = [
            (f"{name} ", styles.muted),
            (f"{number(float(counted.mean()))} of {layers}", styles.strong),
        ]
        if np.isfinite(late):
            share = float(np.mean(counted >= late))
            title.append((f" · {number(100 * share)}% late", styles.warning))
        title.append((f" · token {token}: {depth}", styles.accent))

        def style_of(_value: float, at: range) -> Style:
            if depth in at:
                return styles.accent
            return styles.warning if at[-1] >= late else styles.text

        counts = self._counts(depths)
        counts[counts == 0] = np.nan
        bars = upright_bars(counts, self.area.width, max(1, lines - 1), styles, style_of)
        return [as_many_as_fit(title, self.area.width), *bars]
