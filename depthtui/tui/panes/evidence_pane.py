"""The evidence for the number of layers that a model uses: three kinds on one axis of depth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from rich.cells import cell_len
from textual import events
from textual.message import Message

from depthtui.data.depth import DepthEstimate
from depthtui.data.explanation import Explanation
from depthtui.data.lens_view import through_words
from depthtui.data.verdict import Evidence
from depthtui.depth import rules
from depthtui.depth.rule import Rule
from depthtui.depth.verdict_words import spread
from depthtui.metrics import kept
from depthtui.metrics.estimates import about_time
from depthtui.metrics.registry import METRIC_BY_NAME
from depthtui.metrics.spec import Metric
from depthtui.report.blocks import Column, Note, Table
from depthtui.report.depths import paper_blocks
from depthtui.report.evidence import KIND_WORDS
from depthtui.report.explanations import of_verdict
from depthtui.report.findings import published_sentences
from depthtui.report.layer_types import type_blocks
from depthtui.report.phrases import criterion
from depthtui.report.tables import ValueTable, depths_by_rule
from depthtui.token_text import fit_shown, printable_sentence
from depthtui.tui.draw.block_lines import cut_lines, lines_of
from depthtui.tui.draw.plot import Curve, CurvePanel, Plot, PlotArea, reach
from depthtui.tui.draw.styles import Piece, fit_right, number
from depthtui.tui.draw.text import NOT_TIMED, wrap
from depthtui.tui.draw.tracks import axis, track
from depthtui.tui.panes.curves import RuleCurve, curves_of, scale_ends
from depthtui.tui.panes.page import DIAL_KEYS
from depthtui.tui.panes.under_cursor import MeasureRow, Target
from depthtui.tui.panes.verdict_page import VerdictPage, title_within

_MOST_NAME = 16
_RELIABILITY_CELLS = 12
_RULE_CELLS = (7, 10)
"""Cells of a rule's ratio and of its crossing."""

_LEAST_TRACK = 20
"""The least cells of a track beside them."""

_WIDE = 80
_LONGEST_LINE = 110
_LEAST_CURVE, _MOST_CURVE = 2, 6
_MOST_THRESHOLDS = 8
"""The end of a curve's scale, in multiples of its threshold."""


class ThresholdTurned(Message):
    """A request to raise the threshold of a rule's option by this many steps, for all panes."""

    def __init__(self, option: str, steps: int) -> None:
        super().__init__()
        self.option, self.steps = option, steps


class _Detail(NamedTuple):
    """The details that fit besides a line for each measure.

    Attributes:
        heads: headings of the kinds of evidence.
        by_metric: a line for each missing metric instead of one for all.
        reasons: the reason beneath each measure that does not hold.
        gaps: blank lines between the kinds.
    """

    heads: bool = False
    by_metric: bool = False
    reasons: bool = False
    gaps: bool = False


_DETAILS = (
    _Detail(heads=True, by_metric=True, reasons=True, gaps=True),
    _Detail(heads=True, by_metric=True, reasons=True),
    _Detail(heads=True, by_metric=True),
    _Detail(heads=True),
    _Detail(),
)
"""Sets of details, the fullest first."""


class _Curve(NamedTuple):
    """The curve over a measure's line.

    Attributes:
        values: `[L]`.
        threshold: drawn dashed.
        low, high: the ends of its scale.
        top: the label of the upper end.
        words: the threshold in words.
    """

    values: np.ndarray
    threshold: float
    low: float
    high: float
    top: str
    words: str


def _curve(measure: Evidence, rule: RuleCurve | None, words: str) -> _Curve | None:
    """A measure's curve: of its rule, or the curve behind its count."""
    if rule is not None:
        values = rule.values[: rule.n_layers]
        ends = scale_ends(rule)
        curve = _Curve(values, rule.threshold, *ends, rule.rule.unit, words)
    elif measure.curve is not None:
        values, threshold = np.array(measure.curve.values), measure.curve.threshold
        low, high = reach(np.append(values, threshold))
        most = _MOST_THRESHOLDS * threshold
        # Without this limit, one layer that costs a hundred times as much would flatten all others.
        top = f"{number(most)} and more" if high > most > 0 else number(high)
        curve = _Curve(
            values, threshold, low, min(high, most) if most > 0 else high, top, measure.curve.words
        )
    else:
        return None
    return curve if np.isfinite(curve.values).any() else None


class EvidencePane(VerdictPage):
    """Each measure's count and range, and a rule's ratio and crossing; the dial is a threshold.

    A count that is not firm has a hollow mark; one that does not even hold here has a broken band
    and a `!`. Where there is room, a rule's curve is drawn over its line, and what others published
    of the model stands beneath. Metrics not computed yet show their cost.
    """

    dial = "threshold"
    _has_rule_cells = False
    """Whether there is room for a rule's ratio and crossing."""

    _pointed_measure = ""
    """The chosen measure."""

    _measure_of: Sequence[str] = ()
    """The measure on each line; empty where there is none."""

    def under_cursor(self) -> Target | None:
        measures = self._measures
        if not measures:
            return None
        return MeasureRow(
            self._pointed_measure if self._pointed_measure in measures else measures[0]
        )

    @property
    def _measures(self) -> list[str]:
        return [row.measure for row in self.shown_verdict.evidence] if self.view.verdict else []

    def choose(self, step: int) -> None:
        """Move the choice down by this many measures, or up."""
        measures = self._measures
        if measures:
            at = measures.index(self._pointed_measure) if self._pointed_measure in measures else -1
            self._pointed_measure = measures[min(max(at + step, 0), len(measures) - 1)]
            self.redraw_content()

    def on_click(self, event: events.Click) -> None:
        """Choose the measure under the mouse."""
        offset = event.get_content_offset(self)
        if offset is not None and self.is_ready and offset.y < len(self._measure_of):
            self._pointed_measure = self._measure_of[offset.y]
            self.redraw_content()

    def watch_has_focus(self, has_focus: bool) -> None:
        super().watch_has_focus(has_focus)
        # The description of the key depends on the focus.
        self.redraw_content()

    def turn_dial(self, steps: int) -> None:
        self.post_message(ThresholdTurned(dial_rule().threshold.option, steps))

    def title_with_dial(self, title: str) -> None:
        if self.reading is None:
            self.set_titles(title)
            return
        settings = self.reading.settings
        words = [
            f"{DIAL_KEYS} {dial_rule().threshold_in_short(settings)}",
            "u reading, changed" if self.view.thresholds_turned else "u reading",
            f"token 0 {settings.where_left_out('left out') or 'counted'}",
        ]
        while len(words) > 1 and cell_len(" · ".join(words)) >= self.size.width:
            words.pop()
        self.set_titles(title, " · ".join(words))

    def explains(self) -> tuple[Explanation, ...]:
        return of_verdict(self.view.verdict)

    def table(self) -> ValueTable | None:
        if self.reading is None or not self.reading.depths:
            return None
        return depths_by_rule(self.reading)

    def why_empty(self) -> tuple[str, str] | None:
        self.title_with_dial(through_words("Evidence", self.view.lens))
        reason = self.why_no_verdict()
        if reason is None and not self.shown_verdict.evidence:
            return printable_sentence(self.shown_verdict.sentence), ""
        return reason

    # The lines --------------------------------------------------------------

    def lay_out(self) -> list[list[Piece]]:
        lines = self._as_much_as_fits()
        names = {
            fit_shown(measure.title, self._name_cells - 1): measure.measure
            for measure in self.shown_verdict.evidence
        }
        self._measure_of = [names.get(line[0][0], "") if line else "" for line in lines]
        return lines

    def _as_much_as_fits(self) -> list[list[Piece]]:
        height = self.area.height
        self._drawn_curves: dict[str, _Curve] = {}
        titles = [measure.title for measure in self.shown_verdict.evidence]
        if self.area.width >= _WIDE:
            titles += [criterion(estimate, short=True) for estimate in self._estimates]
            evidence = self.shown_verdict.evidence
            titles += [measure.curve.words for measure in evidence if measure.curve]
        self._name_cells = min(_MOST_NAME, max(map(cell_len, titles), default=0)) + 1
        rows: list[list[Piece]] = []
        for detail in _DETAILS:
            rows = self._rows(detail)
            spare = height - len(rows)
            if spare < 0:
                continue
            return self._with_more(self._with_curves(detail, rows, spare)) if detail.gaps else rows
        return cut_lines(rows, height, self.pane_styles)

    @property
    def _estimates(self) -> tuple[DepthEstimate, ...]:
        return self.reading.depths if self.reading else ()

    def _rows(self, detail: _Detail, curve_lines: int = 0) -> list[list[Piece]]:
        """The measures by kind, the axis, and missing metrics; nothing without a verdict."""
        styles, verdict = self.pane_styles, self.shown_verdict
        if not verdict.evidence:
            return []
        lines: list[list[Piece]] = []
        kind, self._has_rule_cells = "", False
        self._has_rule_cells = detail.heads and self._track_cells >= _LEAST_TRACK + sum(_RULE_CELLS)
        for measure in verdict.evidence:
            if measure.kind != kind:
                kind = measure.kind
                if detail.gaps and lines:
                    lines.append([])
                if detail.heads:
                    lines.append(self._head(measure))
            lines += self._curve_lines(measure, curve_lines)
            lines.append(self._row(measure))
            if detail.reasons and measure.is_fragile and measure.reason:
                lines += self._reason(measure)
        track_cells = self._track_cells
        if track_cells > 0:
            words = fit_shown("layers", self._name_cells)
            lines.append([(words + axis(verdict.n_layers, track_cells), styles.faint)])
        missing_lines = self._missing_rows() if detail.by_metric else self._missing_line()
        if missing_lines:
            lines += [[]] * detail.gaps
            lines += missing_lines
        return lines

    def _with_curves(
        self, detail: _Detail, rows: list[list[Piece]], spare: int
    ) -> list[list[Piece]]:
        """The measures with curves, of all or of the rules, where enough lines are spare."""
        evidence, curves = self.shown_verdict.evidence, self._curves()
        for kinds in (set(KIND_WORDS), {"readable", "geometric"}, {"readable"}):
            names = [measure.measure for measure in evidence if measure.kind in kinds]
            self._drawn_curves = {name: curve for name, curve in curves.items() if name in names}
            lines = min(_MOST_CURVE, spare // len(self._drawn_curves)) if self._drawn_curves else 0
            if lines >= _LEAST_CURVE:
                return self._rows(detail, lines)
        return rows

    def _with_more(self, rows: list[list[Piece]]) -> list[list[Piece]]:
        """The rows, and as much beneath as fits of what is known of the model's layers."""
        if self.reading is None:
            return rows
        model, height = self.drawn_result.model, self.area.height
        notes = map(Note, published_sentences(self.reading))
        for blocks in (type_blocks(self.reading), paper_blocks({"layers": model}), notes):
            lines = lines_of(blocks, self.area.width, self.pane_styles, gaps=False)
            if lines and len(rows) + 1 + len(lines) <= height:
                rows = [*rows, [], *lines]
        return rows

    # A measure --------------------------------------------------------------

    def _head(self, measure: Evidence) -> list[Piece]:
        """The heading of a kind of evidence, with those of the columns that only rules have."""
        head: list[Piece] = [(KIND_WORDS[measure.kind], self.pane_styles.muted)]
        if self._has_rule_cells and self._estimate(measure) is not None:
            heads = map(fit_right, ("ratio", "crossing"), _RULE_CELLS)
            gap = self.area.width - _RELIABILITY_CELLS - sum(_RULE_CELLS) - cell_len(head[0][0])
            head.append((" " * gap + "".join(heads), self.pane_styles.faint))
        return head

    def _estimate(self, measure: Evidence) -> DepthEstimate | None:
        """The effective depth behind a measure that is a rule."""
        return next((each for each in self._estimates if each.rule == measure.measure), None)

    def _rule_words(self, measure: Evidence) -> str:
        """A rule's ratio and crossing; blank for other measures."""
        if not self._has_rule_cells:
            return ""
        estimate = self._estimate(measure)
        ratio, crossing = (None, None) if estimate is None else (estimate.ratio, estimate.crossing)
        texts = (
            "" if ratio is None else f"{ratio:.2f}",
            "" if crossing is None else f"{crossing:.1f}",
        )
        return "".join(map(fit_right, texts, _RULE_CELLS))

    @property
    def _count_cells(self) -> int:
        digits = len(str(self.shown_verdict.n_layers))
        return 2 * digits + len(" of ")

    @property
    def _range_cells(self) -> int:
        digits = len(str(self.shown_verdict.n_layers))
        return 2 * digits + len("   to ") if self.area.width >= _WIDE else 0

    @property
    def _track_cells(self) -> int:
        beside = self._count_cells + self._range_cells + _RELIABILITY_CELLS + 1
        beside += sum(_RULE_CELLS) * self._has_rule_cells
        return max(0, self.area.width - self._name_cells - beside)

    def _row(self, measure: Evidence) -> list[Piece]:
        """A measure's name, its line on the axis, its count, and whether the count holds."""
        styles, n_layers = self.pane_styles, self.shown_verdict.n_layers
        is_chosen = measure.measure == self._pointed_measure
        style = styles.accent if is_chosen else styles.strong
        name: Piece = (fit_shown(measure.title, self._name_cells - 1), style)
        mark: Piece = ("▸" if is_chosen else " ", styles.accent)
        if measure.count is None:
            room = max(0, self.area.width - self._name_cells)
            return [name, mark, (fit_shown(printable_sentence(measure.reason), room), styles.muted)]
        reliability: Piece = (f"  {measure.reliability}", styles.muted)
        if measure.is_fragile:
            reliability = (f"  ! {measure.reliability}", styles.warning)
        moves = fit_right(spread(measure), self._range_cells) if self._range_cells else ""
        return [
            name,
            mark,
            *track(measure, n_layers, self._track_cells, styles),
            (f" {fit_right(str(measure.count), len(str(n_layers)))}", styles.strong),
            (f" of {n_layers}", styles.muted),
            (moves, styles.muted),
            (self._rule_words(measure), styles.muted),
            reliability,
        ]

    def _reason(self, measure: Evidence) -> list[list[Piece]]:
        styles, indent = self.pane_styles, " " * self._name_cells
        room = min(_LONGEST_LINE, self.area.width - self._name_cells)
        lines = wrap(printable_sentence(measure.reason), max(1, room))
        return [[(indent + line, styles.muted)] for line in lines]

    # Curves behind the counts ------------------------------------------------

    def _curves(self) -> dict[str, _Curve]:
        """Curves by measure; only known ones, and only over lines that are drawn."""
        rules = {curve.rule.name: curve for curve in curves_of(self.reading)}
        curves = {}
        for measure in self.shown_verdict.evidence:
            curve = _curve(measure, rules.get(measure.measure), self._threshold_of(measure))
            if curve is not None and self._track_cells > 0 and measure.count is not None:
                curves[measure.measure] = curve
        return curves

    def _curve_lines(self, measure: Evidence, lines: int) -> list[list[Piece]]:
        """The curve over a measure's line, each value at its place on the axis."""
        if not lines or measure.measure not in self._drawn_curves:
            return []
        curve, styles = self._drawn_curves[measure.measure], self.pane_styles
        n_layers = self.shown_verdict.n_layers
        # A depth is drawn after its layers, a layer between two counts.
        is_depth = measure.layers is None
        at = (np.arange(n_layers) + (1.0 if is_depth else 0.5)) / n_layers
        plot = Plot(PlotArea(0, 0, self._track_cells, lines), curve.low, curve.high)
        panel = CurvePanel("", "", plot, [Curve(at, curve.values, styles.faint)], curve.threshold)
        mark = (measure.count or 0) / n_layers if is_depth else None
        labels = {0: curve.top, lines - 1: curve.words}
        return [
            [
                (fit_shown(labels.get(line, ""), self._name_cells), styles.faint),
                *panel.line(line, styles, mark, styles.muted),
            ]
            for line in range(lines)
        ]

    def _threshold_of(self, measure: Evidence) -> str:
        estimate = self._estimate(measure)
        return "" if estimate is None else criterion(estimate, short=True)

    # Missing metrics --------------------------------------------------------

    def _missing_rows(self) -> list[list[Piece]]:
        """A heading, and a line for each missing metric."""
        styles, metrics = self.pane_styles, [METRIC_BY_NAME[name] for name in self.missing_metrics]
        if not metrics:
            return []
        key = self.key_words()
        head = [("not computed yet", styles.muted), (key and f" · {key}", styles.faint)]
        rows = [(title_within(metric), self._state_words(metric)) for metric in metrics]
        table = Table([Column("", style="soft"), Column("", style="soft")], rows, has_head=False)
        return [head, *lines_of([table], self.area.width, styles)]

    def _missing_line(self) -> list[list[Piece]]:
        """The missing metrics in a sentence."""
        if not self.missing_metrics:
            return []
        computing = [title_within(METRIC_BY_NAME[name]) for name in self.being_computed]
        key_words = self.key_words(by_name=True)
        words = f"Computing {', '.join(computing)} …" if computing else key_words
        if not computing and self.why_kept_waits:
            words += f". {kept.METRIC.title} starts by key alone: {self.why_kept_waits}."
        return [[(line, self.pane_styles.faint)] for line in wrap(words, self.area.width)]

    def _state_words(self, metric: Metric) -> str:
        """Whether a metric is being computed, or its cost."""
        if metric.name in self.drawn_result.unavailable:
            reason = printable_sentence(self.drawn_result.unavailable[metric.name])
            return f"unavailable: {reason}"
        if metric.name in self.being_computed:
            return "computing …"
        cost = about_time(metric, self.computed, self.view.pace) or NOT_TIMED
        if metric.name == kept.NAME and self.why_kept_waits:
            cost += f"; starts by key alone: {self.why_kept_waits}"
        return cost if metric.name in self.next_metrics else f"then i again: {cost}"


def dial_rule() -> Rule:
    """The rule whose threshold the dial turns."""
    return next(rule for rule in rules.by_kind() if rule.threshold.keys == DIAL_KEYS)
