"""A sweep's results in sentences: the answers to its questions, then doubts."""

from __future__ import annotations

from collections.abc import Sequence

from textual import events, on
from textual.geometry import Size

from depthtui.token_text import printable_sentence
from depthtui.tui.draw.block_lines import with_head
from depthtui.tui.draw.grid import in_sight
from depthtui.tui.draw.styles import Piece
from depthtui.tui.draw.text import wrap
from depthtui.tui.panes.lines_pane import LinesPane
from depthtui.tui.state.sweep_rows import SweepFinding

_FEWEST_LINES = 2


class FindingsPane(LinesPane):
    """Sentences under their titles, each with its claim bold; scrolled if there are many.

    Attributes:
        note: a note on the chosen sentence in the lower edge, until the next choice.
    """

    findings: Sequence[SweepFinding] = ()
    empty: tuple[str, str] = ("", "")
    note = ""
    _first = 0
    _place = 0
    _follows = True
    _of_lines: Sequence[int] = ()

    def show_findings(self, findings: Sequence[SweepFinding], empty: tuple[str, str]) -> None:
        """Show these findings; `empty` where there are none."""
        if (findings, empty) != (self.findings, self.empty):
            former = self.finding
            self.findings, self.empty = findings, empty
            self._place = findings.index(former) if former in findings else 0
            self.choose(0)
            self.refresh(layout=True)

    @property
    def finding(self) -> SweepFinding | None:
        """The sentence under the pane's own cursor."""
        return self.findings[self._place] if self._place < len(self.findings) else None

    def choose(self, step: int) -> None:
        """Move the choice down by this many sentences, or up, and bring it into view."""
        places = [place for place, finding in enumerate(self.findings) if not finding.is_head]
        if places:
            at = next((at for at, place in enumerate(places) if place >= self._place), 0)
            self._place = places[max(0, min(at + step, len(places) - 1))]
        self.note, self._follows = "", True
        self.redraw()

    def show_note(self, note: str) -> None:
        """Show a note on the chosen sentence."""
        self.note = note
        self.redraw()

    def scroll_lines(self, step: int) -> None:
        """Scroll down, or up."""
        self._first, self._follows = self._first + step, False
        self.redraw()

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """The number of lines, for `height: auto`."""
        count = sum(len(self._lines_of(place, width)) for place in range(len(self.findings)))
        return max(_FEWEST_LINES, count)

    def why_empty(self) -> tuple[str, str] | None:
        self.set_titles("Answers")
        return None if self.findings else self.empty

    def lay_out(self) -> list[list[Piece]]:
        blocks = [self._lines_of(place, self.area.width) for place in range(len(self.findings))]
        lines = [line for block in blocks for line in block]
        self._of_lines = [place for place, block in enumerate(blocks) for _ in block]
        room, count = self.area.height, len(lines)
        if self._follows:
            # The titles above are included where the sentence is the first beneath them.
            first = self._place
            while first and self.findings[first - 1].is_head:
                first -= 1
            last = sum(map(len, blocks[: self._place + 1])) - 1
            self._first = in_sight(last, self._first, room, count)
            self._first = in_sight(sum(map(len, blocks[:first])), self._first, room, count)
        self._first = max(0, min(self._first, count - room))
        last = min(self._first + room, count)
        place = f"lines {self._first + 1}–{last} of {count}" if count > room else ""
        self.set_titles("Answers", self.note or place)
        return lines[self._first :]

    def _lines_of(self, place: int, width: int) -> list[list[Piece]]:
        finding, styles = self.findings[place], self.pane_styles
        text = printable_sentence(finding.text)
        if finding.kind == "title":
            gap: list[list[Piece]] = [[]] if place else []
            return [*gap, *([(line, styles.muted)] for line in wrap(text, width))]
        if finding.kind == "subject":
            return [[(line, styles.muted)] for line in wrap(text, width)]
        signs: dict[str, Piece] = {
            "clear": ("● ", styles.good),
            "disputed": ("? ", styles.warning),
            "unclear": ("· ", styles.muted),
            "doubt": ("! ", styles.warning),
        }
        sign = signs[finding.kind]
        style = styles.muted if finding.kind == "doubt" else styles.text
        if finding.details:
            style = styles.strong
        if self.has_focus and place == self._place:
            sign, style = ("▸ ", styles.accent), styles.strong
        details = printable_sentence(finding.details)
        wrapped = wrap(f"{text} {details}", max(1, width - 2))
        # Wrapping leaves one space between words.
        first, *rest = with_head(wrapped, len(" ".join(text.split())), style, styles.text)
        return [[sign, *first], *([("  ", style), *line] for line in rest)]

    def watch_has_focus(self, has_focus: bool) -> None:
        super().watch_has_focus(has_focus)
        self.redraw()

    def on_click(self, event: events.Click) -> None:
        """Choose the sentence under the mouse."""
        offset = event.get_content_offset(self)
        line = -1 if offset is None else self._first + offset.y
        if self.is_ready and 0 <= line < len(self._of_lines):
            self._place = self._of_lines[line]
            self.choose(0)

    @on(events.MouseScrollUp)
    @on(events.MouseScrollDown)
    def _scroll(self, event: events.MouseEvent) -> None:
        self.scroll_lines(2 if isinstance(event, events.MouseScrollDown) else -2)
