"""The depth of each token of a run, along its text."""

from __future__ import annotations

import numpy as np
from textual.reactive import reactive

from depthtui.data.explanation import Explanation
from depthtui.data.lens_view import through_words
from depthtui.depth.spans import spans_of_run
from depthtui.metrics import settling
from depthtui.metrics.token_depths import (
    DECIDED,
    NAME,
    TOKEN_DEPTHS,
    TokenDepthMeasure,
    first_counted,
)
from depthtui.report.explanations import of_metrics
from depthtui.report.token_depths import span_means
from depthtui.tui.draw.styles import Piece, number
from depthtui.tui.draw.text import not_computed
from depthtui.tui.panes.page import DIAL_KEYS, Page, as_many_as_fit
from depthtui.tui.panes.token_depth_curve import TokenDepthCurve

_PURPOSE = "The depth of each token, read at the token before it, which predicts it."
_FEWEST_LINES = 4


class TokenDepthsPane(TokenDepthCurve, Page):
    """Depth by token, by the dial's measure, over the means of prompt, thinking and answer.

    Attributes:
        place: the place of the dial's measure in `TOKEN_DEPTHS`.
    """

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
        if self.depth_measure.name == "settling":
            return self.computed_for(settling.NAME)
        return self.lens_to_compute()

    def explains(self) -> tuple[Explanation, ...]:
        return of_metrics(NAME)

    def why_empty(self) -> tuple[str, str] | None:
        self.title_with_dial(through_words(f"{self.depth_measure.title} by token", self.view.lens))
        if reason := self.why_no_lens(_PURPOSE):
            return reason
        depths = self.depths()
        if depths is not None and np.isfinite(depths).any():
            return None
        if self.depth_measure.name == "settling":
            return not_computed(self.drawn_result, settling.METRIC, self.view.pace)
        return f"No token has a depth here: {self.depth_measure.meaning}.", ""

    def prepare(self) -> None:
        has_room = self.area.height >= _FEWEST_LINES
        self.legend = [as_many_as_fit(self._means(), self.area.width)] if has_room else []
        super().prepare()

    def depths(self) -> np.ndarray | None:
        assert self.reading is not None
        depths = self.reading.token_depths(self.drawn_result)
        return None if depths is None else getattr(depths, self.depth_measure.name)

    @property
    def depth_title(self) -> str:
        return f"{self.depth_measure.title} by token"

    def show_titles(self, measure: str, at_token: str) -> None:
        title = through_words(measure, self.view.lens)
        self.set_titles(title, f"{at_token} · {DIAL_KEYS} {self.dial}")

    def _means(self) -> list[Piece]:
        """The means of all tokens and of each span."""
        run, reading, styles = self.drawn_result, self.reading, self.pane_styles
        assert reading is not None
        depths = reading.token_depths(run)
        assert depths is not None
        spans = {self.depth_measure.title: slice(0, len(run.tokens)), **spans_of_run(run)}
        means = span_means(depths, spans, first_counted(reading.settings))
        layers = f" of {run.model.n_layers}"
        pieces: list[Piece] = []
        for name, mean in means.items():
            pieces += [
                (f"{' · ' * bool(pieces)}{name} ", styles.muted),
                (f"{number(mean[self.depth_measure.name])}{layers}", styles.strong),
            ]
            layers = ""
        return pieces
