"""Each rule's effective depth: layers used, their share of the model, and why to doubt it."""

from __future__ import annotations

from depthtui.data.depth import DepthEstimate
from depthtui.data.explanation import Explanation
from depthtui.data.lens_view import through_words
from depthtui.data.model import ModelInfo
from depthtui.depth import rules
from depthtui.depth.published import DATASETS, PublishedModel, published_for
from depthtui.depth.reading import Reading
from depthtui.metrics import rankings_for, rankings_of
from depthtui.report.explanations import of_metrics, of_rules
from depthtui.report.phrases import criterion, rule_title
from depthtui.token_text import fit_shown, printable_sentence
from depthtui.tui.draw.styles import Piece, bar, fit_right
from depthtui.tui.draw.text import wrap
from depthtui.tui.panes.layer_bars import bar_lines
from depthtui.tui.panes.page import DIAL_KEYS, ThresholdPage, dial_rule
from depthtui.tui.panes.pane import nothing_pooled

_NAME_CELLS = 9
_LONGEST_BAR = 40
_WORDS_CELLS = 15
_LAYER_CELLS = 18
_EXPLAINED = (("tells", "formula", "reading"), ("tells", "reading"), ("tells",))
"""What is said of each rule, the most first."""


class DepthTable(ThresholdPage):
    """The effective depths of a run, the compared run's and the published ones beneath.

    Published values are shown where the model is one of the paper's.
    """

    def why_empty(self) -> tuple[str, str] | None:
        title = through_words("Effective depth", self.view.lens)
        self.set_titles(title)
        if self.reading is None:
            purpose = "How many layers do new work, by each rule."
            return nothing_pooled(self.result, purpose, self.hint)
        if not self.reading.depths:
            if self.lens_to_compute():
                return self.no_lens()
            return "This run has neither contributions nor a logit lens.", ""
        return None

    def lay_out(self) -> list[list[Piece]]:
        assert self.reading is not None
        count = self.reading.n_tokens
        token_words = f"{count} token{'s' if count != 1 else ''}"
        first = self.reading.settings.where_left_out(", token 0 left out")
        title = through_words("Effective depth", self.view.lens)
        # On a screen without pages no key turns them.
        keys = f"{DIAL_KEYS} {dial_rule().title} · " if self.pages else ""
        self.set_titles(title, f"{keys}mean over {token_words}{first}")
        self._published = None if self.result is None else published_row(self.result.model)
        blocks = [self._rule_lines(estimate, self.reading) for estimate in self.reading.depths]
        height = self.area.height
        bars = self._bars()
        beneath = sum(map(len, bars)) + bool(bars)
        spare = height - (sum(map(len, blocks)) + len(blocks) - 1 + beneath)
        gaps = spare >= 0
        blocks = self._explained(blocks, spare - 2 * (self._published is not None))
        lines: list[list[Piece]] = []
        for block in blocks:
            if gaps and lines:
                lines.append([])
            lines += block
        if self._published is not None:
            datasets = "/".join(DATASETS.values())
            lines += [[], [(f"published: {datasets}", self.pane_styles.faint)]]
        for index, bar_block in enumerate(bars):
            block = bar_block if index else [[], *bar_block]
            if len(lines) + len(block) <= height:
                lines += block
        return lines

    def _explained(self, blocks: list[list[list[Piece]]], spare: int) -> list[list[list[Piece]]]:
        """The rules' lines with as much of their explanations as so many spare lines hold."""
        assert self.reading is not None
        indent, style = " " * _NAME_CELLS, self.pane_styles.muted
        for names in _EXPLAINED:
            notes = [
                [
                    [(indent, style), (line, style)]
                    for name in names
                    for line in wrap(
                        getattr(rules.named(estimate.rule).explained, name).replace("`", ""),
                        self.area.width - _NAME_CELLS,
                    )
                ]
                for estimate in self.reading.depths
            ]
            if sum(map(len, notes)) <= spare:
                return [[*block, *note] for block, note in zip(blocks, notes, strict=True)]
        return blocks

    def computes(self) -> tuple[str, ...]:
        return self.lens_to_compute() or rankings_for(self.result)

    def explains(self) -> tuple[Explanation, ...]:
        return (*of_rules(), *of_metrics(*self.computes()))

    def _bars(self) -> list[list[list[Piece]]]:
        """How useful each layer is, where no other pane says so."""
        has_a_pane = self.screen.has_class("-wide")
        if self.result is None or self.other_reading is not None or has_a_pane:
            return []
        measured = rankings_of(self.result)
        return [
            bar_lines(part, self.tokens, self.area.width, 2, self.pane_styles) for part in measured
        ]

    def _rule_lines(self, estimate: DepthEstimate, summary: Reading) -> list[list[Piece]]:
        lines, muted = [self._main_line(estimate, summary)], self.pane_styles.muted
        indent = " " * _NAME_CELLS
        room = self.area.width - _NAME_CELLS
        if not self._has_words_beside:
            lines.append([(indent, muted), (criterion(estimate, short=True), muted)])
        doubts = [(estimate.reason, muted)] if estimate.layer is None else []
        doubts.append((estimate.warning and f"! {estimate.warning}", self.pane_styles.warning))
        for text, style in doubts:
            for part in wrap(printable_sentence(text), room):
                lines.append([(indent, style), (part, style)])
        compared = self.other_reading
        if compared is not None and (other := compared.depth(estimate.rule)) is not None:
            lines.append(self._other_line(other, compared))
        if self._published is not None and estimate.rule in self._published.depths:
            layers = "/".join(map(str, self._published.counts(estimate.rule)))
            lines.append([(f"{indent}published ", self.pane_styles.faint), (layers, muted)])
        return lines

    @property
    def _has_words_beside(self) -> bool:
        """Whether the threshold stands beside the ratio, and not beneath."""
        return self.area.width >= _NAME_CELLS + _WORDS_CELLS + 30

    def _main_line(self, estimate: DepthEstimate, summary: Reading) -> list[Piece]:
        styles = self.pane_styles
        name = fit_shown(rule_title(estimate.rule), _NAME_CELLS)
        return [(name, styles.strong), *self._depth_pieces(estimate, summary, faint=False)]

    def _other_line(self, estimate: DepthEstimate, summary: Reading) -> list[Piece]:
        pieces = self._depth_pieces(estimate, summary, faint=True)
        _, other_name = self.view.names or ("", "other")
        return [(fit_shown(f"  {other_name}", _NAME_CELLS), self.pane_styles.muted), *pieces]

    def _depth_pieces(self, estimate: DepthEstimate, summary: Reading, faint: bool) -> list[Piece]:
        styles = self.pane_styles
        digits = len(str(summary.n_layers))
        depth = "–" if estimate.count is None else str(estimate.count)
        ratio = "" if estimate.ratio is None else f"{estimate.ratio:.2f}"
        words = criterion(estimate, short=True)
        depth_cells, ratio_cells = 2 * digits + 5, 6
        words_cells = _WORDS_CELLS if self._has_words_beside else 0
        if self.area.width >= _NAME_CELLS + _WORDS_CELLS + 30 + _LAYER_CELLS:
            words_cells += _LAYER_CELLS
            if estimate.layer is not None:
                words = fit_shown(f"after layer {estimate.layer}", _LAYER_CELLS - 2) + "  " + words
        used = _NAME_CELLS + depth_cells + ratio_cells + words_cells
        cells = max(0, min(_LONGEST_BAR, self.area.width - used))
        full, empty = bar(estimate.ratio or 0.0, cells)
        style = styles.muted if faint else styles.text
        return [
            (fit_right(depth, digits), style if faint else styles.strong),
            (f" / {summary.n_layers}  ", styles.muted),
            (full, style),
            (empty, styles.faint),
            (fit_right(ratio, ratio_cells), style),
            (f"  {words}" if words_cells else "", styles.muted),
        ]


def published_row(model: ModelInfo) -> PublishedModel | None:
    """What the paper reports for this model, or None."""
    row = published_for(model.spec.name) or published_for(model.name)
    return row if row is not None and row.n_layers == model.n_layers else None
