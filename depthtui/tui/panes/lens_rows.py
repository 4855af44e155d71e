"""The lens at a token, a line a depth: the base of the lens panes."""

from __future__ import annotations

from rich.style import Style

from depthtui.data.explanation import Explanation
from depthtui.data.lens import LogitLens
from depthtui.data.lens_view import lens_heading
from depthtui.report.explanations import LENS_TABLE
from depthtui.token_text import fit, fit_shown, printable
from depthtui.tui.draw.styles import Piece, probability
from depthtui.tui.panes.layer_rows import LayerRows
from depthtui.tui.panes.under_cursor import LensRow, Target

WIDEST_TOKEN = 14
PROBABILITY_CELLS = 3
GAP = "  "
AROUND_TOKEN = 1 + PROBABILITY_CELLS + len(GAP)
"""Cells that a token takes beside its text."""

_LIKELY = 0.1


class LensRows(LayerRows):
    """A pane of the most probable tokens at each depth, for the token at the cursor."""

    def explains(self) -> tuple[Explanation, ...]:
        return (LENS_TABLE,)

    @property
    def token(self) -> int:
        """The token at the cursor."""
        return min(max(self.cursor.token, 0), len(self.drawn_result.tokens) - 1)

    def under_cursor(self) -> Target | None:
        if self.result is None or not self.is_ready:
            return None
        return LensRow(min(self.cursor.layer, self.depths - 1), self.token)

    @property
    def title(self) -> str:
        """The lens and its token."""
        text = printable(self.drawn_result.tokens.readable_texts[self.token][:80])
        return f'{lens_heading(self.view.lens)} at "{fit_shown(text, 20).rstrip()}"'

    @property
    def final_style(self) -> Style:
        """The style of the model's own most probable token."""
        style = self.pane_styles.accent
        return style + Style(underline=True) if self.ramp_for(False).glyphs else style

    def draw_top(
        self, lens: LogitLens, layer: int, final: int, size: tuple[int, int], is_faint: bool = False
    ) -> list[Piece]:
        """The most probable tokens at a depth, each with its probability and a gap.

        Args:
            lens: a run's lens.
            layer: the depth.
            final: id of the token that stands out.
            size: the number of tokens, and the cells of each one's text.
            is_faint: whether all tokens are faint.
        """
        styles, (count, cells) = self.pane_styles, size
        row = (layer, self.token)
        tokens = lens.top_ids[row][:count].tolist()
        shares = lens.top_probabilities[row][:count].tolist()
        if tokens[0] < 0:
            return [("·", styles.faint)]
        pieces: list[Piece] = []
        for token, share in zip(tokens, shares, strict=True):
            if token < 0:
                break
            style = styles.faint if is_faint else styles.text if share >= _LIKELY else styles.muted
            stands_out = token == final and not is_faint
            word = fit(lens.vocabulary.get(token, ""), cells)
            bare = word.rstrip(" ")
            pieces += [
                (bare, self.final_style if stands_out else style),
                (word[len(bare) :] + " ", styles.text),
                (f"{probability(share):>{PROBABILITY_CELLS}}", style),
                (GAP, styles.text),
            ]
        return pieces
