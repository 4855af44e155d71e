"""The layers that keep what the model knows: the number, the sentence, and the curve behind it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.segment import Segment
from rich.style import Style
from textual.reactive import reactive
from textual.renderables.digits import Digits

from depthtui.data.explanation import Explanation
from depthtui.data.lens_view import through_words
from depthtui.metrics import kept
from depthtui.metrics.kept import share_so_far
from depthtui.metrics.kept.curve import AT_NINE_TENTHS, SHARE, KeptCurve, KeptLimit
from depthtui.metrics.kept.pool import PooledKept
from depthtui.report.blocks import Figure
from depthtui.report.explanations import of_metrics, of_verdict
from depthtui.report.left_out import kept_figure
from depthtui.token_text import printable_sentence
from depthtui.tui.draw.block_lines import cut_lines, with_head
from depthtui.tui.draw.plot import Curve
from depthtui.tui.draw.share_plot import share_plot
from depthtui.tui.draw.styles import Piece
from depthtui.tui.draw.text import wrap
from depthtui.tui.panes.page import DIAL_KEYS, as_many_as_fit
from depthtui.tui.panes.under_cursor import PageBehind, Target
from depthtui.tui.panes.verdict_page import VerdictPage

DIAL = (
    *map(KeptLimit, (0.5, 0.6, 0.7, 0.8, SHARE, 0.95, 0.99)),
    *(KeptLimit(nats, is_share=False) for nats in (0.25, 0.1, 0.05)),
)
"""The stops of the dial: shares, then nats a token above the whole model's loss."""

_LONGEST_LINE = 110
_ROOM_FOR_BIG = 14
"""Lines of a page that has a big number."""

_LEAST_CURVE, _LEAST_BESIDE_BIG = 2, 4
"""Lines of the curve that clauses of the sentence make way for."""

_LEAST_WITH_RANDOM = 8
"""Lines of a curve with those of random orders behind it."""

_NAMED = 5
"""The layers of the order that are named."""

_STEP = 5
"""Layers between two marks of the axis."""

Lines = list[list[Piece]]


class VerdictPane(VerdictPage):
    """The headline as a number and a sentence, and the curve that it is read from.

    The curve is the share of what the model knows that is kept with fewer and fewer layers.
    It grows while it is counted, and is faint where the model knows too little for a count.

    Attributes:
        stop: the limit at which layers are counted, one of `DIAL` or the headline's.
    """

    dial = "share"
    footer = ("turn_page", "compute", "session", "export", "explain")
    stop: reactive[KeptLimit] = reactive(AT_NINE_TENTHS, repaint=False)

    def turn_dial(self, steps: int) -> None:
        place = DIAL.index(self.stop) + steps
        self.stop = DIAL[min(max(place, 0), len(DIAL) - 1)]

    def watch_stop(self) -> None:
        self.redraw()

    @property
    def sentence(self) -> str:
        """The verdict in words, its warnings first; empty where there is none."""
        return self.view.verdict.text if self.view.verdict is not None else ""

    def under_cursor(self) -> Target | None:
        return PageBehind("evidence") if self.view.verdict is not None else None

    def computes(self) -> tuple[str, ...]:
        """Knowledge kept, by itself; once it is known, what the evidence lacks."""
        names = super().computes()
        is_asked = kept.NAME in names and self.result is not None
        if is_asked and self.result and not self.result.has_all(kept.NAME):
            return (kept.NAME,)
        return names

    def watch_has_focus(self, has_focus: bool) -> None:
        super().watch_has_focus(has_focus)
        # The description of the key depends on the focus.
        self.redraw()

    def figures(self) -> Sequence[Figure]:
        knowledge = self._knowledge
        return [] if knowledge is None else [kept_figure(knowledge, knowledge.curve)]

    def explains(self) -> tuple[Explanation, ...]:
        return (*of_metrics(kept.NAME), *of_verdict(self.view.verdict))

    def why_empty(self) -> tuple[str, str] | None:
        reason = self.why_no_verdict()
        if reason is not None:
            self.set_titles(through_words("Verdict", self.view.lens))
        return reason

    # The lines --------------------------------------------------------------

    def lay_out(self) -> Lines:
        keys = [f"{DIAL_KEYS} {self.dial}"] if self._counted is not None else []
        more = [self.key_words(every="more evidence")] if self._knowledge is not None else []
        subtitle = " · ".join([*keys, "⏎ evidence", *filter(None, more)])
        if len(subtitle) > self.area.width:
            subtitle = " · ".join([*keys, "⏎ evidence"])
        self.set_titles(through_words("Verdict", self.view.lens), subtitle)
        sentence = [*self._sentence(), *self._state_line()]
        number = self._number()
        sentence = sentence[: self.area.height - len(number)]
        room = self.area.height - len(number) - len(sentence)
        if not self._has_plot or room <= _LEAST_CURVE:
            return [*number, *sentence]
        below: Lines = []
        for lines in (self._order_line(), self._controls()):
            if len(lines) < room - self._curve_lines - len(below):
                below += lines
        # The lines but the axis.
        room -= len(below) + 1
        gaps = min(max(0, room - self._curve_lines), 2 if self._is_big else 1)
        gap: Lines = [[]]
        under, above = gap * (gaps - 1), gap * min(gaps, 1)
        return [*number, *under, *sentence, *above, *self._plot(room - gaps), *below]

    @property
    def _is_big(self) -> bool:
        """Whether the number has big digits."""
        return self._counted is not None and self.area.height >= _ROOM_FOR_BIG

    @property
    def _curve_lines(self) -> int:
        """The lines of the curve that clauses of the sentence make way for."""
        return _LEAST_BESIDE_BIG if self._is_big else _LEAST_CURVE

    def _sentence(self) -> Lines:
        """The sentence in lines, its warnings first; without its last clauses where they exceed."""
        styles, verdict = self.pane_styles, self.shown_verdict
        width = min(_LONGEST_LINE, self.area.width)
        cautions: Lines = [
            [(line, styles.warning)]
            for warning in verdict.cautions
            for line in wrap(printable_sentence(warning), width)
        ]
        words, head = verdict.words, len(printable_sentence(verdict.words.headline))
        room = self.area.height - len(self._number())
        beside_curve = room - (self._curve_lines + 1 if self._has_plot else 0)
        lines: Lines = []
        for count in range(len(words.clauses), -1, -1):
            text = printable_sentence(words.headline + " ".join(words.clauses[:count]))
            sentence = with_head(wrap(text, width), head, styles.strong, styles.text)
            lines = [*cautions, *sentence]
            # The curve says more than the last clauses, and less than the brackets.
            if len(lines) <= (beside_curve if count > 1 else room):
                break
        return cut_lines(lines, room, styles)

    def _state_line(self) -> Lines:
        """The state of a count that is missing: at work, or the key that begins it."""
        if self._knowledge is not None:
            return []
        words = ", ".join(filter(None, ["Counting", self.view.time_left])) + " …"
        if kept.NAME not in self.being_computed:
            words = self.key_words()
            if words and self.why_kept_waits:
                words += f". It starts by key alone: {self.why_kept_waits}."
        return [[(line, self.pane_styles.muted)] for line in wrap(words, self.area.width)]

    # The number -------------------------------------------------------------

    @property
    def _knowledge(self) -> PooledKept | None:
        """What is kept, where it was measured."""
        return self.reading.get(kept.METRIC) if self.reading is not None else None

    @property
    def _counted(self) -> KeptCurve | None:
        """The headline's curve, where the verdict has a count."""
        knowledge, headline = self._knowledge, self.shown_verdict.headline
        has_count = headline is not None and headline.count is not None
        return knowledge.curve if knowledge is not None and has_count else None

    @property
    def _reliability(self) -> Piece:
        """How sure the headline's count is, which may be at another share than the dial's."""
        styles = self.pane_styles
        rows = [row for row in self.shown_verdict.evidence if row.measure == kept.NAME]
        if not rows:
            return "", styles.muted
        (row,) = rows
        at = "" if self.stop == AT_NINE_TENTHS else f"{AT_NINE_TENTHS.words}: "
        return at + row.reliability, styles.warning if row.is_fragile else styles.muted

    @property
    def _meaning(self) -> str:
        """The number's meaning, where the dial is turned: the sentence is of nine tenths."""
        if self.stop == AT_NINE_TENTHS:
            return ""
        return (
            f" keep {self.stop.words} of it" if self.stop.is_share else f" cost {self.stop.words}"
        )

    def _number(self) -> Lines:
        """The number of layers, in big digits where there is room, and how sure it is."""
        curve = self._counted
        if curve is None:
            return []
        if self._is_big:
            return self._big_number(curve.count(self.stop))
        styles, (sure, style) = self.pane_styles, self._reliability
        count, n_layers = curve.count(self.stop), self.shown_verdict.n_layers
        left: list[Piece] = [
            (f"{count} of {n_layers} layers", styles.strong),
            (self._meaning, styles.text),
        ]
        return [self._with_right(left, (sure, style))]

    def _big_number(self, count: int) -> Lines:
        """The number of layers in big digits."""
        styles, n_layers = self.pane_styles, self.shown_verdict.n_layers
        digits = Digits(str(count)).render(Style(bold=True))
        drawn = [part for part in digits if isinstance(part, Segment)]
        first, second, third = "".join(part.text for part in drawn).splitlines()
        beside: list[Piece] = [
            (third, styles.accent),
            (f" of {n_layers} layers{self._meaning}", styles.text),
        ]
        lines: Lines = [[(first, styles.accent)], [(second, styles.accent)]]
        return [*lines, self._with_right(beside, self._reliability)]

    def _with_right(self, left: list[Piece], right: Piece) -> list[Piece]:
        """A line with a piece at its right end, where there is room."""
        used = sum(len(text) for text, _ in left)
        gap = self.area.width - used - len(right[0])
        return [*left, (" " * gap, right[1]), right] if gap > 1 else left

    # The curve --------------------------------------------------------------

    @property
    def _has_plot(self) -> bool:
        """Whether there is a curve, or one will come into the empty axes."""
        coming = (*self.being_computed, *self.next_metrics)
        return self._knowledge is not None or (self._has_evidence and kept.NAME in coming)

    @property
    def _has_evidence(self) -> bool:
        """Whether the run allows a verdict; too few tokens, for example, do not."""
        return bool(self.shown_verdict.evidence)

    def _curves(self) -> list[Curve]:
        """The share kept against the layers kept; empty if unknown."""
        styles, knowledge = self.pane_styles, self._knowledge
        if knowledge is None:
            share = share_so_far(self.drawn_result)
            return [] if share is None else [_curve(share, styles.text)]
        curve = knowledge.curve
        style = styles.faint if self._counted is None else styles.text
        return [_curve(curve.shares[curve.best(self.stop)], style)]

    def _random_curves(self) -> list[Curve]:
        """The share kept in random orders, of a count."""
        shares = [] if self._counted is None else self._counted.random_shares
        return [_curve(share, self.pane_styles.faint, dotted=True) for share in shares]

    def _plot(self, lines: int) -> Lines:
        """The curves in so many lines, and the axis of layers kept."""
        n_layers, counted, styles = self.shown_verdict.n_layers, self._counted, self.pane_styles
        step = next((size for size in (_STEP, 10, 20, 50) if n_layers <= 8 * size), 100)
        # The name of the axis comes first: a number that would touch it is left out.
        marks = [(1.0, "0 kept")]
        kept_counts = [n_layers, *range(step * ((n_layers - 1) // step), 0, -step)]
        marks += [(1 - count / n_layers, str(count)) for count in kept_counts]
        cursor = None
        if counted is not None:
            count = counted.count(self.stop)
            cursor = 1 - count / n_layers, f"▴{count}"
        has_dashes = bool(counted) or self._knowledge is None
        threshold = self.stop.share_of(counted.gain if counted else 0.0)
        random = self._random_curves() if lines >= _LEAST_WITH_RANDOM else []
        words = [[("     dotted: random orders", styles.muted)]] if random else []
        curves, size = [*self._curves(), *random], (self.area.width, lines - len(words))
        return [*share_plot(curves, threshold, size, styles, marks, cursor, has_dashes), *words]

    # Below ------------------------------------------------------------------

    def _order_line(self) -> Lines:
        """The layers that go first in the order, and those that stay longest."""
        knowledge, styles = self._knowledge, self.pane_styles
        if knowledge is None or knowledge.n_pieces <= _NAMED or not self._has_evidence:
            return []
        best = knowledge.curve.best(self.stop)
        order = list(map(str, knowledge.orders[best] or knowledge.order))
        of = "" if knowledge.order_name(best) == "model" else "in its own order, "
        words: list[Piece] = [(f"{of}layers {' '.join(order[:_NAMED])} go first", styles.muted)]
        if len(order) > 2 * _NAMED:
            words.append((f" · {' '.join(order[-4:])} stay longest", styles.muted))
        return [as_many_as_fit(words, self.area.width)]

    def _controls(self) -> Lines:
        """The model's controls in lines."""
        width = min(_LONGEST_LINE, self.area.width)
        lines = wrap(printable_sentence(self.view.controls), width)
        return [[(line, self.pane_styles.muted)] for line in lines]


def _curve(share: np.ndarray, style: Style, dotted: bool = False) -> Curve:
    """A curve of a share, from all layers at the left to none."""
    return Curve(np.linspace(0, 1, len(share)), share, style, dotted)
