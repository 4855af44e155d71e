"""What a sweep says, in sentences: the answers to its questions, and what to doubt."""

from __future__ import annotations

from collections.abc import Sequence

from textual import events

from depthtui.token_text import printable_sentence
from depthtui.tui.draw.styles import Piece
from depthtui.tui.draw.text import wrap
from depthtui.tui.panes.lines_pane import LinesPane
from depthtui.tui.state.sweep_rows import Finding


class FindingsPane(LinesPane):
    """Sentences under their titles, scrolled where there are many."""

    findings: Sequence[Finding] = ()
    empty: tuple[str, str] = ("", "")
    _first = 0

    def show_findings(self, findings: Sequence[Finding], empty: tuple[str, str]) -> None:
        """Say these from now on; `empty` where there are none."""
        if (findings, empty) != (self.findings, self.empty):
            self.findings, self.empty = findings, empty
            self.redraw()

    def scroll_lines(self, step: int) -> None:
        """Show what lies further down, or up."""
        self._first += step
        self.redraw()

    def why_empty(self) -> tuple[str, str] | None:
        self.set_titles("What it says")
        return None if self.findings else self.empty

    def lay_out(self) -> list[list[Piece]]:
        lines = [line for finding in self.findings for line in self._lines_of(finding)]
        shown, count = self.area.height, len(lines)
        self._first = max(0, min(self._first, count - shown))
        last = min(self._first + shown, count)
        place = f"lines {self._first + 1}–{last} of {count}" if count > shown else ""
        self.set_titles("What it says", place)
        return lines[self._first :]

    def _lines_of(self, finding: Finding) -> list[list[Piece]]:
        styles, width = self.pane_styles, self.area.width
        text = printable_sentence(finding.text)
        if finding.kind == "title":
            gap: list[list[Piece]] = [[]] if finding is not self.findings[0] else []
            return [*gap, *([(line, styles.strong)] for line in wrap(text, width))]
        if finding.kind == "subject":
            return [[(line, styles.muted)] for line in wrap(text, width)]
        signs: dict[str, Piece] = {
            "clear": ("● ", styles.good),
            "disputed": ("? ", styles.warning),
            "unclear": ("· ", styles.muted),
            "doubt": ("! ", styles.warning),
        }
        sign = signs[finding.kind]
        style = styles.text if finding.kind in ("clear", "disputed") else styles.muted
        first, *rest = wrap(text, max(1, width - 2))
        return [[sign, (first, style)], *([("  ", style), (line, style)] for line in rest)]

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Show what lies further down."""
        self.scroll_lines(2)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Show what lies further up."""
        self.scroll_lines(-2)
