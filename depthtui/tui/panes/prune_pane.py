"""The block of n layers that a model would miss least, with a dial for n."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.style import Style
from textual.reactive import reactive

from depthtui.data.explanation import Explanation
from depthtui.errors import DepthError
from depthtui.metrics import speed
from depthtui.metrics.similarity import (
    METRIC,
    Similarity,
    best_block,
    block_distances,
    pruned_share,
)
from depthtui.report.blocks import Bars, Figure, Line, Panel
from depthtui.report.explanations import of_metrics
from depthtui.tui.draw.bars import layer_ruler, upright_bars
from depthtui.tui.draw.styles import Piece, number
from depthtui.tui.draw.text import not_computed
from depthtui.tui.panes.page import Page, as_many_as_fit

_BLOCK_LINES = 3
"""The least lines of a block: a title, bars in one line, a ruler."""


class PrunePane(Page):
    """The angular distance over every block of n layers, the least one for every n, and the gains.

    Attributes:
        n: layers of the block; 0 for a tenth of the model.
    """

    footer = ("turn_page", "what_if", "compute", "export", "explain")
    dial = "layers"
    follows_cursor = True
    n: reactive[int] = reactive(0, repaint=False)

    def computes(self) -> tuple[str, ...]:
        # The block alone takes a second: times are measured by a second key.
        has_block = self.result is not None and self.result.get(Similarity) is not None
        return (speed.NAME,) if has_block else (METRIC.name,)

    def explains(self) -> tuple[Explanation, ...]:
        return of_metrics(METRIC.name, speed.NAME)

    def turn_dial(self, steps: int) -> None:
        if self.result is not None:
            self.n = min(max(self.block + steps, 1), self._longest)

    def watch_n(self) -> None:
        self.redraw()

    @property
    def _longest(self) -> int:
        """The longest block that leaves one layer."""
        return max(1, self.drawn_result.model.n_layers - 1)

    @property
    def block(self) -> int:
        """The number of layers in the block."""
        return min(self.n or pruned_share(self.drawn_result.model.n_layers), self._longest)

    def why_empty(self) -> tuple[str, str] | None:
        self.title_with_dial("Best block to prune")
        if self.result is None:
            return "The block of n layers that turns the residual stream least.", self.hint
        similarity = self.result.get(Similarity)
        if similarity is None:
            return not_computed(self.result, METRIC, self.view.pace, self.compute_key)
        try:
            best_block(similarity.distances(self.tokens), 1)
        except DepthError as error:
            return error.message, ""
        return None

    def figures(self) -> Sequence[Figure]:
        if self.why_empty() is not None:
            return ()
        self._read()
        meaning = METRIC.look_for
        block = f"{self.block} layer{'s' * (self.block > 1)}"
        title = f"Angular distance over {block}"
        bars = Bars(self._distances, f"{title}, from each layer on", "angular distance")
        # No block has no layers.
        least = Line(np.concatenate([[np.nan], self._least]), "mean")
        by_length = Panel(
            [least], len(least.values), up="least angular distance", across="layers of the block"
        )
        return [
            Figure(title, bars, meaning),
            Figure("Least angular distance by length of the block", by_length, meaning),
        ]

    def prepare(self) -> None:
        self._read()
        super().prepare()

    def _read(self) -> None:
        """Read the distances over the blocks."""
        similarity = self.drawn_result.get(Similarity)
        assert similarity is not None
        distances = similarity.distances(self.tokens)
        self._first, self._distance = best_block(distances, self.block)
        self._distances = block_distances(distances, self.block)
        lengths = range(1, self._longest + 1)
        self._least = np.array([best_block(distances, n)[1] for n in lengths])

    def lay_out(self) -> list[list[Piece]]:
        lines = [as_many_as_fit(self._words(), self.area.width)]
        lines += self._gains()[: max(0, self.area.height - len(lines) - _BLOCK_LINES)]
        room = self.area.height - len(lines)
        has_both = room >= 2 * _BLOCK_LINES + 1
        if room > 2 * _BLOCK_LINES + 2:
            lines.append([])
            room -= 1
        lines += self._by_first_layer((room + 1) // 2 if has_both else room)
        if has_both:
            lines += self._by_length(room // 2)
        return lines

    def _words(self) -> list[Piece]:
        styles, last = self.pane_styles, self._first + self.block - 1
        layers = f"layer {last}" if self.block == 1 else f"layers {self._first} to {last}"
        return [
            (f"n = {self.block}  ", styles.accent),
            (f"without {layers}", styles.strong),
            (f" · angular distance {number(self._distance)}", styles.muted),
        ]

    def _gains(self) -> list[list[Piece]]:
        """Time, memory and drafts with n layers fewer; a line about the key where not measured."""
        styles, width = self.pane_styles, self.area.width
        gains = None if self.reading is None else self.reading.get(speed.METRIC)
        if gains is None:
            reason, help_text = not_computed(
                self.drawn_result, speed.METRIC, self.view.pace, self.compute_key
            )
            is_asked = speed.NAME in self.drawn_result.settings.metrics
            words = f"speed: {help_text}" if help_text and not is_asked else reason
            return [as_many_as_fit([(words, styles.muted)], width)]
        share, *others = speed.gains(gains, self.drawn_result.model.n_layers - self.block)
        first = [("a token: ", styles.muted), (share, styles.strong)]
        rows = [first + [(f" · {clause}", styles.muted) for clause in others]]
        for name, draft in gains.drafts.items():
            result, how = draft.words
            row = [(f"draft, {name.lower()}: ", styles.muted), (result, styles.strong)]
            rows.append([*row, *((f" · {clause}", styles.muted) for clause in how.split(", "))])
        return [as_many_as_fit(row, width) for row in rows]

    def _by_first_layer(self, lines: int) -> list[list[Piece]]:
        """The distance over the block from each layer on; the least one stands out."""
        width, count = self.area.width, len(self._distances)
        most = number(float(np.nanmax(self._distances)))
        title = f"distance over {self.block} layers from each on · max {most}"
        bars = self._bars(self._distances, lines, self._first, self.pane_styles.good)
        cursor_layer = min(self.cursor.layer, count - 1)
        ruler = layer_ruler(count, cursor_layer, width, self.pane_styles)
        return [[(title, self.pane_styles.muted)], *bars, ruler]

    def _by_length(self, lines: int) -> list[list[Piece]]:
        """The least distance for every n; the dial's n stands out."""
        title = f"least distance by n · max {number(float(np.nanmax(self._least)))}"
        bars = self._bars(self._least, lines, self.block - 1, self.pane_styles.accent)
        ruler = layer_ruler(
            len(self._least), self.block, self.area.width, self.pane_styles, 1, "▴n "
        )
        return [[(title, self.pane_styles.muted)], *bars, ruler]

    def _bars(self, values: np.ndarray, lines: int, marked: int, mark: Style) -> list[list[Piece]]:
        styles = self.pane_styles

        def style_of(_value: float, at: range) -> Style:
            return mark if marked in at else styles.text

        return upright_bars(values, self.area.width, max(1, lines - 2), styles, style_of)
