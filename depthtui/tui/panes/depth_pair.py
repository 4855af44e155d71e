"""The effective depths of two runs in one table, with their difference and published depths."""

from __future__ import annotations

from textual.geometry import Size

from depthtui.data.explanation import Explanation
from depthtui.data.lens_view import through_words
from depthtui.data.run import RunResult
from depthtui.depth.reading import Reading
from depthtui.report.blocks import Note
from depthtui.report.compared import compared_table
from depthtui.report.depths import depth_remarks, paper_blocks
from depthtui.report.explanations import of_rules
from depthtui.tui.draw.block_lines import Lines, cut_lines, lines_of
from depthtui.tui.panes.lines_pane import LinesPane
from depthtui.tui.panes.pane import nothing_pooled
from depthtui.tui.panes.view import View


class DepthPair(LinesPane):
    """Each rule's layer and ratio in both runs, and the first run's minus the second's.

    Beneath: the paper's depths where a model is one of its own, and why a rule's layer is missing
    or doubtful.

    Args:
        sides: the two runs, in a word each.
        where: the pane's name and id.
    """

    def __init__(self, sides: tuple[str, str] = ("A", "B"), **where: str) -> None:
        super().__init__(**where)
        self._names = sides

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
        return cut_lines(self._lines_at(a, b, self.area.width), self.area.height, self.pane_styles)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """The number of lines, for `height: auto`."""
        if self.reading is None or self.other_reading is None:
            return 3
        return len(self._lines_at(self.reading, self.other_reading, width))

    def _lines_at(self, a: Reading, b: Reading, width: int) -> Lines:
        of_a, of_b = depth_remarks(a), depth_remarks(b)
        doubts = {
            remark: " and ".join(
                name
                for name, remarks in zip(self._names, (of_a, of_b), strict=True)
                if remark in remarks
            )
            for remark in [*of_a, *of_b]
        }
        notes = [Note(f"! {names}: {remark}") for remark, names in doubts.items()]
        sides = zip(self._names, self._sides, strict=True)
        models = {name: run.model for name, (run, _) in sides if run is not None}
        blocks = [compared_table([a, b], self._names), *paper_blocks(models), *notes]
        return lines_of(blocks, width, self.pane_styles, gaps=False)
