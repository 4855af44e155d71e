"""What is left of the model as layers leave, with a dial for the number of layers kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from textual.reactive import reactive

from depthtui.data.explanation import Explanation
from depthtui.data.pieces import NumberedParts
from depthtui.data.run_settings import RunSettings, Skip
from depthtui.data.selection import numbers_text
from depthtui.depth.left_out import KNOWLEDGE, LeftOut
from depthtui.metrics import accuracy, kept, speed
from depthtui.metrics.estimates import about_time
from depthtui.metrics.kept.curve import SHARE
from depthtui.metrics.layer_order import MODEL_ORDER
from depthtui.metrics.registry import METRIC_BY_NAME
from depthtui.report.blocks import Figure
from depthtui.report.explanations import of_metrics
from depthtui.report.left_out import key_words, left_out_figures, left_out_table
from depthtui.token_text import printable_sentence
from depthtui.tui.draw.block_lines import Lines, lines_of
from depthtui.tui.draw.plot import Curve
from depthtui.tui.draw.share_plot import share_plot
from depthtui.tui.draw.styles import Piece
from depthtui.tui.draw.text import not_computed, wrap
from depthtui.tui.panes.page import DIAL_KEYS, Page, as_many_as_fit
from depthtui.tui.panes.verdict_page import title_within
from depthtui.tui.state.next_measures import is_quick

_ORDERS = {"model": "in the model's order", "own": "in an order of other tokens"}
_LONGEST_LINE = 110
_FEWEST_ROWS, _MANY_ROWS, _LEAST_CURVE = 3, 9, 5


class LeftOutPane(Page):
    """A row for each number of layers kept, around the dial's; that row in words above.

    Attributes:
        kept_count: the layers kept in the dial's row; negative for the verdict's count.
    """

    dial = "layers kept"
    footer = ("turn_page", "what_if", "compute", "export", "explain")
    kept_count: reactive[int] = reactive(-1, repaint=False)

    def turn_dial(self, steps: int) -> None:
        if (left_out := self._left_out) is not None:
            place = left_out.stays.index(self._stay(left_out)) - steps
            self.kept_count = left_out.stays[min(max(place, 0), len(left_out.stays) - 1)]

    def watch_kept_count(self) -> None:
        self.redraw()

    @property
    def _left_out(self) -> LeftOut | None:
        return None if self.reading is None else self.reading.left_out

    def _stay(self, left_out: LeftOut) -> int:
        """The layers kept in the dial's row, among those that are known."""
        stay = self.kept_count
        if stay < 0:
            least = left_out.least(KNOWLEDGE, SHARE)
            stay = left_out.n_pieces - 1 if least is None else least
        return min(left_out.stays, key=lambda count: abs(count - stay))

    def what_if_settings(self, settings: RunSettings) -> RunSettings:
        left_out = self._left_out
        if left_out is None:
            return settings
        skipped = tuple(Skip(layer, "layer") for layer in left_out.leaving(self._stay(left_out)))
        return replace(settings, skipped=skipped, repeated=(), patched=())

    # What it lacks ----------------------------------------------------------

    def computes(self) -> tuple[str, ...]:
        """What is kept; then the other columns, the quick ones first; then the model's order."""
        result = self.result
        if result is None or not result.has_all(kept.NAME):
            return (kept.NAME,)
        missing = [
            metric
            for metric in (accuracy.METRIC, speed.METRIC)
            if not (result.has_all(metric.name) or metric.name in result.unavailable)
            and not metric.why_unavailable(result)
        ]
        quick = [metric for metric in missing if is_quick(metric, result)]
        return tuple(metric.name for metric in quick or missing) or (kept.NAME,)

    def computes_with(self) -> Mapping[str, Any]:
        has_all = self.drawn_result.has_all(kept.NAME) and not self._is_own
        return {} if has_all or kept.NAME not in self.computes() else MODEL_ORDER

    @property
    def _is_own(self) -> bool:
        """Whether the order is one of the prompt's own tokens."""
        return (left_out := self._left_out) is not None and left_out.kind == "own"

    def _key_words(self) -> str:
        """What the key computes, and how long it takes; empty where nothing is missing."""
        names, result = self.computes(), self.drawn_result
        has_all = all(map(result.has_all, names))
        is_busy = self.view.is_live and set(names) <= {*result.settings.metrics}
        if not self.view.can_compute or is_busy or (has_all and not self._is_own):
            return ""
        metrics = [METRIC_BY_NAME[name] for name in names]
        times = [about_time(metric, self.computed, self.view.pace) for metric in metrics]
        time = f", {times[0]}" if len(times) == 1 and times[0] else ""
        words = f"computes {' and '.join(map(title_within, metrics))}"
        words = "finds the model's order" if has_all else words
        return f"{self.compute_key} {words}{time}"

    # What it shows ----------------------------------------------------------

    def explains(self) -> tuple[Explanation, ...]:
        return (*of_metrics(kept.NAME), *of_metrics(accuracy.NAME, speed.NAME))

    def figures(self) -> Sequence[Figure]:
        left_out = self._left_out
        return () if left_out is None else [*left_out_figures(left_out)]

    def why_empty(self) -> tuple[str, str] | None:
        self.set_titles("Left out")
        if self.result is None or self.reading is None:
            return kept.METRIC.description, self.hint
        if self._left_out is None:
            return not_computed(self.computed, kept.METRIC, self.view.pace, self.compute_key)
        return None

    def lay_out(self) -> Lines:
        left_out = self._left_out
        assert left_out is not None
        subtitle = [f"{DIAL_KEYS} {self.dial}", "x runs without these", _ORDERS[left_out.kind]]
        while len(subtitle) > 1 and len(" · ".join(subtitle)) > self.area.width - 2:
            subtitle.pop()
        self.set_titles("Left out", " · ".join(subtitle))
        stay, styles = self._stay(left_out), self.pane_styles
        sentence = wrap(
            printable_sentence(left_out.sentence(stay)), min(_LONGEST_LINE, self.area.width)
        )
        lines: Lines = [[(line, styles.strong)] for line in sentence]
        head, *rows = self._table(left_out, stay)
        notes = self._notes(left_out)
        room = self.area.height - len(lines) - 1
        key = [[(line, styles.muted)] for line in wrap(key_words(left_out), self.area.width)]
        if room - len(notes) - len(key) < _MANY_ROWS:
            key = []
        notes = key + notes
        if room - len(notes) < _FEWEST_ROWS:
            notes = []
        room -= len(notes)
        first = left_out.stays.index(stay) - room // 2
        first = max(0, min(first, len(rows) - room))
        lines += [head, *rows[first : first + room], *notes]
        spare = self.area.height - len(lines) - 3
        return [*lines, [], *self._curves(left_out, stay, spare)] if spare > _LEAST_CURVE else lines

    def _table(self, left_out: LeftOut, stay: int) -> Lines:
        """The heads and a row for each number of layers, the dial's marked."""
        table, styles = left_out_table(left_out, left_out.stays), self.pane_styles
        head, *rows = lines_of([table], self.area.width - 2, styles)
        lines: Lines = [[("  ", styles.faint), *head]]
        for count, row in zip(left_out.stays, rows, strict=True):
            if count == stay:
                lines.append([("▸ ", styles.accent), *((text, styles.accent) for text, _ in row)])
            else:
                lines.append([("  ", styles.text), *row])
        return lines

    def _notes(self, left_out: LeftOut) -> Lines:
        """The parts that would do, layers without effect, what stands in, what a key computes."""
        styles, reading = self.pane_styles, self.reading
        assert reading is not None
        words: list[Piece] = []
        if key_words := self._key_words():
            words.append((key_words, styles.text))
        parts = reading.parts_left_out
        if parts is not None and (count := parts.least(KNOWLEDGE, SHARE)) is not None:
            staying = NumberedParts.of(parts.staying(count)).words
            words.append((f"by parts {staying} keep {SHARE:.0%}", styles.text))
        if reading.idle:
            words.append((f"layers {numbers_text(reading.idle)} write nothing", styles.muted))
        if reading.stand_in:
            words.append((reading.stand_in, styles.accent))
        if not words:
            return []
        joined = [words[0], *((f" · {text}", style) for text, style in words[1:])]
        return [as_many_as_fit(joined, self.area.width)]

    def _curves(self, left_out: LeftOut, stay: int, lines: int) -> Lines:
        """The shares of the table against the layers kept, all layers at the left."""
        styles, count = self.pane_styles, left_out.n_pieces
        shares = [column for column in left_out.columns.values() if column.falls]
        curves = [
            Curve(np.linspace(0, 1, count + 1), column.values, self.line_style(place))
            for place, column in enumerate(shares)
        ]
        legend: list[Piece] = []
        for place, column in enumerate(shares):
            legend.append((f"{'  ' if place else ''}── {column.title}", self.line_style(place)))
        step = 5 if count <= 40 else 10 * (1 + count // 80)
        marks = [(1.0, "0 kept"), (0.0, str(count))]
        marks += [(1 - n / count, str(n)) for n in range(step * ((count - 1) // step), 0, -step)]
        cursor = 1 - stay / count, f"▴{stay}"
        size = self.area.width, lines
        return [legend, *share_plot(curves, SHARE, size, styles, marks, cursor)]
