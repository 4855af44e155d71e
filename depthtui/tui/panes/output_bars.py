"""The model's next token, clean against changed: two bars in one line."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from rich.style import Style

from depthtui.data.explanation import Explanation
from depthtui.data.lens import LogitLens
from depthtui.data.lens_view import lens_of
from depthtui.report.answers import ScoredOption, options_of
from depthtui.token_text import fit, fit_shown, printable, printable_sentence
from depthtui.tui.draw.block_lines import cut_lines
from depthtui.tui.draw.styles import Piece, probability
from depthtui.tui.panes.answers_pane import RIGHT
from depthtui.tui.panes.lines_pane import LinesPane
from depthtui.tui.panes.pane import Cursor, lens_values

_WIDEST_TOKEN = 14
_NUMBERS_CELLS = 12
_LEAST_BOUND = 0.01

OUTPUT = Explanation(
    "Output, clean and changed",
    "The probabilities of the next token after the one under the cursor, clean and changed.",
    "softmax of the model's logits, without a lens",
    "The upper half of a bar is the clean run, the lower half the changed one; the clean run's "
    "first choice stands out.",
    "A first choice that changes: there the layers that are off were needed.",
)


OPTIONS = Explanation(
    "Options, clean and changed",
    "The chance of each option of the question among all of them, clean and changed.",
    "softmax over the options' log-likelihoods at the output",
    "The upper half of a bar is the clean run, the lower half the changed one; ✓ is the right one.",
    "The layers without which another option leads.",
)


class OutputBars(LinesPane):
    """The output distribution at one token; `result` is changed, `other_result` is clean.

    The upper half of a line is the clean probability, the lower half the changed one. A token that
    a run does not list has the run's least listed probability as a bound.
    """

    def explains(self) -> tuple[Explanation, ...]:
        return (OUTPUT,)

    def why_empty(self) -> tuple[str, str] | None:
        self.set_titles("Output")
        if self.result is None or self.other_result is None:
            return "The next token's probabilities, clean against changed.", ""
        if any(lens_of(run, self.view.lens) is None for run in (self.result, self.other_result)):
            return self.no_lens()
        return None

    def lay_out(self) -> list[list[Piece]]:
        lenses = [lens_values(run, self.view.lens) for run in (self.other_result, self.result)]
        token = min(max(self.cursor.token, 0), len(self.drawn_result.tokens) - 1)
        text = printable(self.drawn_result.tokens.readable_texts[token][:80])
        self.set_titles(f'Output after "{fit_shown(text, 20).rstrip()}"', "▀ clean ▄ changed")
        clean, changed = (_probabilities(lens, token) for lens in lenses)
        self._texts = {id_: text for lens in lenses for id_, text in lens.vocabulary.items()}
        self._final = next(iter(clean), -1)
        self._bounds = [min(shares.values(), default=math.nan) for shares in (clean, changed)]
        listed = list(dict.fromkeys([*clean, *changed]))
        listed.sort(key=lambda id_: -max(clean.get(id_, 0), changed.get(id_, 0)))
        self._high = max([*clean.values(), *changed.values()], default=1.0) or 1.0
        shown = listed[: self.area.height]
        return [self._row(id_, clean.get(id_), changed.get(id_)) for id_ in shown]

    def move_cursor(self, old: Cursor, new: Cursor) -> None:
        if old.token != new.token:
            self.redraw_content()

    def _row(self, token: int, clean: float | None, changed: float | None) -> list[Piece]:
        numbers = tuple(
            _share(share, bound)
            for share, bound in zip((clean, changed), self._bounds, strict=True)
        )
        style = self.pane_styles.accent if token == self._final else self.pane_styles.text
        name = fit(self._texts.get(token, ""), self.name_cells)
        return self.paired_row(name, style, (clean or 0.0, changed or 0.0), numbers)

    @property
    def name_cells(self) -> int:
        """The cells of a row's name."""
        return max(4, min(_WIDEST_TOKEN, self.area.width // 3))

    def paired_row(
        self, name: str, style: Style, shares: tuple[float, float], numbers: tuple[str, ...]
    ) -> list[Piece]:
        """A name, the clean share over the changed one as bars, and both as numbers."""
        cells = max(0, self.area.width - self.name_cells - 1 - _NUMBERS_CELLS)
        before, after = numbers
        return [
            (f"{name} ", style),
            *self._draw_bars(*shares, cells),
            (f" {before:>4}", self.pane_styles.muted),
            (f" → {after:<4}", self.pane_styles.text),
        ]

    def _draw_bars(self, clean: float, changed: float, cells: int) -> list[Piece]:
        styles = self.pane_styles
        upper, lower = (round(share / self._high * cells) for share in (clean, changed))
        common = min(upper, lower)
        clean_colour, changed_colour = styles.muted.color, styles.text.color
        # Without colours, a cell of both bars is a solid block.
        two = Style(color=clean_colour, bgcolor=changed_colour)
        shared = ("█", styles.text) if self.ramp_for(False).glyphs else ("▀", two)
        longer = ("▀", styles.muted) if upper > lower else ("▄", styles.text)
        return [
            (shared[0] * common, shared[1]),
            (longer[0] * (max(upper, lower) - common), longer[1]),
            (" " * (cells - max(upper, lower)), styles.text),
        ]


class OptionBars(OutputBars):
    """The options of a question, in place of the next token: their chances among each other."""

    def explains(self) -> tuple[Explanation, ...]:
        return (OPTIONS,)

    def why_empty(self) -> tuple[str, str] | None:
        self.set_titles("Options")
        if any(options_of(run) for run in (self.result, self.other_result) if run is not None):
            return None
        return "The options' chances, clean against changed.", "x leaves a layer out."

    def lay_out(self) -> list[list[Piece]]:
        self.set_titles("Options", "▀ clean ▄ changed")
        clean, changed = (
            {} if run is None else {option.text: option for option in options_of(run)}
            for run in (self.other_result, self.result)
        )
        self._high = 1.0
        rows = [self._option_row(name, clean, changed) for name in clean or changed]
        return cut_lines(rows, self.area.height, self.pane_styles)

    def _option_row(
        self, name: str, clean: Mapping[str, ScoredOption], changed: Mapping[str, ScoredOption]
    ) -> list[Piece]:
        pair = [options.get(name) for options in (clean, changed)]
        numbers = tuple("–" if option is None else probability(option.chance) for option in pair)
        before, after = (0.0 if option is None else option.chance for option in pair)
        is_right = any(option.is_right for option in pair if option is not None)
        mark, style = (RIGHT, self.pane_styles.good) if is_right else (" ", self.pane_styles.text)
        shown = fit_shown(f"{mark} {printable_sentence(name)}", self.name_cells)
        return self.paired_row(shown, style, (before, after), numbers)

    def move_cursor(self, old: Cursor, new: Cursor) -> None:
        """Do nothing: the options are those of the question, wherever the cursor is."""


def _share(share: float | None, bound: float) -> str:
    """A probability, or its bound where it is not listed, or a sign that it is not known yet."""
    if share is not None:
        return probability(share)
    return "…" if math.isnan(bound) else f"<{probability(max(bound, _LEAST_BOUND))}"


def _probabilities(lens: LogitLens, token: int) -> dict[int, float]:
    """Probabilities at the output by token id, the most probable first."""
    ids, shares = lens.top_ids[-1, token], lens.top_probabilities[-1, token]
    has_value = (ids >= 0) & np.isfinite(shares)
    return dict(zip(ids[has_value].tolist(), shares[has_value].tolist(), strict=True))
