"""How useful each layer is: a row of upright bars for each ranking."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.style import Style

from depthtui.data.explanation import Explanation
from depthtui.data.model import PART_TITLES
from depthtui.depth.reading import Reading
from depthtui.metrics.choices import stand_in_words
from depthtui.metrics.ranking import Ranked, least_useful, usefulness
from depthtui.metrics.registry import ranking_names, rankings_of
from depthtui.report.blocks import Bars, Figure
from depthtui.report.explanations import of_metrics
from depthtui.report.phrases import sentence_case
from depthtui.token_text import fit_shown
from depthtui.tui.draw.bars import axis_labels, column_cells, layer_ruler, type_line, upright_bars
from depthtui.tui.draw.styles import PaneStyles, Piece, number
from depthtui.tui.panes.lines_pane import LinesPane
from depthtui.tui.panes.under_cursor import Layer, Target

_LEAST = 5


class LayerBars(LinesPane):
    """Each ranking's values by layer, and the layers to leave out first."""

    footer = ("compute", "open", "what_if", "export", "explain")
    follows_cursor = True

    def under_cursor(self) -> Target | None:
        if self.result is None:
            return None
        return Layer(min(self.cursor.layer, self.result.model.n_layers - 1))

    def computes(self) -> tuple[str, ...]:
        return ranking_names(self.result)

    def explains(self) -> tuple[Explanation, ...]:
        return of_metrics(*self.computes())

    def why_empty(self) -> tuple[str, str] | None:
        self.set_titles(self._title(), left_out_note(self.reading))
        if self.result is None:
            return "How far the loss rises without each layer.", ""
        if not rankings_of(self.result):
            words = (
                "How far the loss rises without each layer, and how little each layer turns the "
                "stream."
            )
            hint = f"{self.compute_key} computes both: L forwards, half of each."
            return words, f"{hint} L chooses what is left out."
        return None

    def _title(self) -> str:
        part = "layer" if self.result is None else self.result.settings.skip_part
        stand_in = "" if self.result is None else stand_in_words(self.result.settings)
        title = "Usefulness of layers" if part == "layer" else "Usefulness"
        without = f"without {PART_TITLES[part]}" if part != "layer" else ""
        return " · ".join(filter(None, [title, without, stand_in]))

    def figures(self) -> Sequence[Figure]:
        parts = () if self.result is None else rankings_of(self.result)
        tokens = counted_tokens(self.reading)
        pictures = {
            part.ranked_by: Bars(
                usefulness(part, tokens),
                f"{part.ranked_by}, by layer",
                ", ".join(filter(None, [part.ranked_by, part.unit])),
            )
            for part in parts
        }
        return [Figure(sentence_case(title), bars) for title, bars in pictures.items()]

    def lay_out(self) -> list[list[Piece]]:
        measured = rankings_of(self.drawn_result)
        types = type_line(self.drawn_result.model, self.area.width, self.pane_styles)
        count, spare = divmod(self.area.height - 1 - len(types), len(measured))
        tokens = counted_tokens(self.reading)
        lines: list[list[Piece]] = []
        for index, part in enumerate(measured):
            room = count + (index < spare)
            lines += bar_lines(part, tokens, self.area.width, room, self.pane_styles)
        layers = self.drawn_result.model.n_layers
        layer = min(self.cursor.layer, layers - 1)
        return [*lines, *types, layer_ruler(layers, layer, self.area.width, self.pane_styles)]


def counted_tokens(summary: Reading | None) -> slice:
    """The tokens of means."""
    return slice(0, None) if summary is None else summary.settings.tokens


def left_out_note(summary: Reading | None) -> str:
    """The note of a pane of means without token 0."""
    return "" if summary is None else summary.settings.where_left_out("token 0 left out")


def bar_lines(
    part: Ranked, tokens: slice, width: int, lines: int, styles: PaneStyles
) -> list[list[Piece]]:
    """A title and bars, in `lines` lines of at least two; negative values have the good style.

    The scale is beside the bars where there is room.
    """
    values = usefulness(part, tokens)
    bar_cells = len(values) * column_cells(len(values), width)

    def style_of(value: float, _layers: range) -> Style:
        return styles.good if value < 0 else styles.text

    title = (title_of(part, tokens, width), styles.muted)
    bars = upright_bars(values, width, max(1, lines - 1), styles, style_of)
    for line, label in zip(bars, axis_labels(values, len(bars)), strict=True):
        if label and bar_cells + 1 + len(label) <= width:
            line.append((f" {label}", styles.faint))
    return [[title], *bars]


def title_of(part: Ranked, tokens: slice, width: int) -> str:
    """The ranking, the layers to leave out first, and the scale, as far as there is room."""
    values = usefulness(part, tokens)
    finite = values[np.isfinite(values)]
    most = number(float(finite.max())) if len(finite) else "–"
    least = " ".join(map(str, least_useful(part, _LEAST, tokens)))
    name, unit = part.ranked_by, part.unit and f", {part.unit}"
    texts = (f"{name}{unit} · max {most} · least {least}", f"{name} · least {least}", name)
    return fit_shown(next((text for text in texts if len(text) <= width), name), width)
