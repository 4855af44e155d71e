"""The effective depths of two runs in one table, with their difference and published depths."""

from __future__ import annotations

from textual.geometry import Size

from depthtui.data.explanation import Explanation
from depthtui.data.lens_view import through_words
from depthtui.data.run import RunResult
from depthtui.depth.published import PAPER, RULES, published_row
from depthtui.depth.reading import Reading
from depthtui.report.blocks import Block, Column, Note, Table
from depthtui.report.compared import compared_table
from depthtui.report.depths import depth_remarks
from depthtui.report.explanations import of_rules
from depthtui.report.phrases import published_counts, rule_title
from depthtui.tui.draw.block_lines import Lines, lines_of
from depthtui.tui.panes.lines_pane import LinesPane
from depthtui.tui.panes.pane import nothing_pooled
from depthtui.tui.panes.view import View


class DepthPair(LinesPane):
    """Each rule's layer and ratio in both runs, and A minus B.

    Beneath: the paper's depths where a model is one of its own, and why a rule's layer is missing
    or doubtful.
    """

    def show(self, view: View) -> None:
        is_new = view != self.view
        super().show(view)
        # New depths may take more lines.
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
        return (self.result, self.reading), (self.other_result, self.other_reading)

    def lay_out(self) -> Lines:
        a, b = self.reading, self.other_reading
        assert a is not None
        assert b is not None
        counts = f"{a.n_tokens}" if a.n_tokens == b.n_tokens else f"{a.n_tokens} and {b.n_tokens}"
        first = a.settings.where_left_out(", token 0 out")
        title = through_words("Effective depth", a.settings.lens)
        self.set_titles(f"{title} · layers, ratio", f"{counts} tokens{first}")
        return self._lines_at(a, b, self.area.width)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """The number of lines, for `height: auto`."""
        if self.reading is None or self.other_reading is None:
            return 3
        return len(self._lines_at(self.reading, self.other_reading, width))

    def _lines_at(self, a: Reading, b: Reading, width: int) -> Lines:
        of_a, of_b = depth_remarks(a), depth_remarks(b)
        doubts = {
            remark: " and ".join("AB"[place] for place in range(2) if remark in (of_a, of_b)[place])
            for remark in [*of_a, *of_b]
        }
        notes = [Note(f"! {names}: {remark}") for remark, names in doubts.items()]
        blocks = [compared_table([a, b]), *self._published(), *notes]
        return lines_of(blocks, width, self.pane_styles, gaps=False)

    def _published(self) -> list[Block]:
        """The paper's depths of either model; nothing for other models."""
        rows = [None if run is None else published_row(run.model) for run, _ in self._sides]
        if not any(rows):
            return []
        counts = [
            [rule_title(rule), *(published_counts(row, rule) if row else "–" for row in rows)]
            for rule in RULES
        ]
        return [
            Table([Column("paper", style="soft"), Column("A"), Column("B")], counts),
            Note(PAPER),
        ]
