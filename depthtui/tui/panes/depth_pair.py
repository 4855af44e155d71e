"""The effective depths of two runs in one table, with their difference and the published ones."""

from __future__ import annotations

from textual.geometry import Size

from depthtui.data.depth import DepthEstimate
from depthtui.data.explanation import Explanation
from depthtui.data.lens_view import through_words
from depthtui.data.run import RunResult
from depthtui.depth.published import DATASETS
from depthtui.depth.reading import Reading
from depthtui.report.explanations import of_rules
from depthtui.report.phrases import rule_title
from depthtui.token_text import fit_shown, printable_sentence
from depthtui.tui.draw.styles import Piece, fit_right
from depthtui.tui.draw.text import wrap
from depthtui.tui.panes.depth_table import published_row
from depthtui.tui.panes.lines_pane import LinesPane
from depthtui.tui.panes.pane import nothing_pooled
from depthtui.tui.panes.view import View

_NAME_CELLS = 7
_RATIO_CELLS = (5, 5, 6)
_HEADS = ("A", "B", "A-B", "A", "B", "A-B")
_MOST_SPARE = 3
"""Cells that a column gets at most beyond those it needs."""
_NOTHING = "–"


class DepthPair(LinesPane):
    """Each rule's layer and ratio in both runs, and A less B.

    Beneath: what the paper reports where a model is one of its own, and why a rule
    gave no layer or a doubtful one.
    """

    def show(self, view: View) -> None:
        is_new = view != self.view
        super().show(view)
        # Other depths may take more lines.
        self.refresh(layout=is_new)

    def explains(self) -> tuple[Explanation, ...]:
        return of_rules()

    def why_empty(self) -> tuple[str, str] | None:
        self.set_titles("Effective depth")
        for result, summary in self._sides:
            if summary is None:
                return nothing_pooled(result, "How many layers do new work, by each rule.", "")
        if not any(summary.depths for _, summary in self._sides if summary):
            return "Neither run has contributions or a logit lens.", ""
        return None

    @property
    def _sides(self) -> tuple[tuple[RunResult | None, Reading | None], ...]:
        return (self.result, self.reading), (self.other, self.other_reading)

    def lay_out(self) -> list[list[Piece]]:
        a, b = self.reading, self.other_reading
        assert a is not None
        assert b is not None
        counts = f"{a.n_tokens}" if a.n_tokens == b.n_tokens else f"{a.n_tokens} and {b.n_tokens}"
        first = a.settings.where_left_out(", token 0 out")
        title = through_words("Effective depth", a.settings.lens)
        self.set_titles(f"{title} · layers, ratio", f"{counts} tokens{first}")
        return self._lines_at(a, b, self.area.width)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """As many lines as there are, for `height: auto`."""
        if self.reading is None or self.other_reading is None:
            return 3
        return len(self._lines_at(self.reading, self.other_reading, width))

    def _lines_at(self, a: Reading, b: Reading, width: int) -> list[list[Piece]]:
        rules = list(dict.fromkeys(found.rule for side in (a, b) for found in side.depths))
        cells = _column_cells(width - _NAME_CELLS, len(str(max(a.n_layers, b.n_layers))))
        return [
            self._head(cells),
            *(self._rule_row(rule, a.depth(rule), b.depth(rule), cells) for rule in rules),
            *self._published_lines(rules),
            *self._doubts("A", a, width),
            *self._doubts("B", b, width),
        ]

    def _head(self, cells: list[int]) -> list[Piece]:
        styles = self.pane_styles
        runs = {"A": self.line_style(0), "B": self.line_style(1)}
        heads = zip(_HEADS, cells, strict=True)
        return [
            (" " * _NAME_CELLS, styles.muted),
            *((fit_right(head, width), runs.get(head, styles.muted)) for head, width in heads),
        ]

    def _rule_row(
        self, rule: str, ours: DepthEstimate | None, theirs: DepthEstimate | None, cells: list[int]
    ) -> list[Piece]:
        styles = self.pane_styles
        layers = [None if estimate is None else estimate.count for estimate in (ours, theirs)]
        ratios = [None if estimate is None else estimate.ratio for estimate in (ours, theirs)]
        texts = [*_three(layers[0], layers[1], ""), *_three(ratios[0], ratios[1], ".2f")]
        row_styles = [styles.text, styles.text, styles.strong] * 2
        name = fit_shown(rule_title(rule), _NAME_CELLS)
        pieces: list[Piece] = [(name, styles.strong)]
        for text, style, width in zip(texts, row_styles, cells, strict=True):
            pieces.append((fit_right(text, width), style))
        return pieces

    def _published_lines(self, rules: list[str]) -> list[list[Piece]]:
        """What the paper reports of each model, a line a rule; nothing of other models."""
        styles = self.pane_styles
        rows = [None if run is None else published_row(run.model) for run, _ in self._sides]
        if not any(rows):
            return []
        lines: list[list[Piece]] = [[(f"published, {'/'.join(DATASETS.values())}", styles.faint)]]
        for rule in (rule for rule in rules if any(row and rule in row.depths for row in rows)):
            pieces: list[Piece] = [(fit_shown(rule_title(rule), _NAME_CELLS), styles.muted)]
            for letter, row in zip("AB", rows, strict=True):
                values = "/".join(map(str, row.counts(rule))) if row else _NOTHING
                pieces += [(f"  {letter} ", styles.faint), (values, styles.muted)]
            lines.append(pieces)
        return lines

    def _doubts(self, letter: str, summary: Reading, width: int) -> list[list[Piece]]:
        """Why a run's rules gave no layer, or one to doubt."""
        styles = self.pane_styles
        lines: list[list[Piece]] = []
        for estimate in summary.depths:
            doubt = estimate.reason if estimate.layer is None else estimate.warning
            style = styles.muted if estimate.layer is None else styles.warning
            if doubt:
                lines += [
                    [(part, style)]
                    for part in wrap(f"! {letter}: {printable_sentence(doubt)}", width)
                ]
        return lines


def _column_cells(width: int, digits: int) -> list[int]:
    """Cells of the layers A, B and A - B, and of their ratios, which stand apart."""
    least = [digits + 1, digits + 1, digits + 2, *_RATIO_CELLS]
    room = max(0, width - sum(least))
    spare = min(_MOST_SPARE, room // len(least))
    cells = [needed + spare for needed in least]
    cells[3] += min(_MOST_SPARE, room - spare * len(least))
    return cells


def _three(a: float | None, b: float | None, form: str) -> tuple[str, str, str]:
    """Two values and the first less the second, as texts."""
    first, second = (_NOTHING if value is None else f"{value:{form}}" for value in (a, b))
    if a is None or b is None:
        return first, second, _NOTHING
    return first, second, f"{a - b:+{form}}" if a != b else f"{0:{form}}"
