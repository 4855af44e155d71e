"""The progress of a download, a conversion or a load."""

from __future__ import annotations

from rich.cells import cell_len

from depthtui.data.protocol import Progress
from depthtui.sizes import format_size
from depthtui.token_text import fit_shown, printable_sentence
from depthtui.tui.draw.styles import Piece, bar
from depthtui.tui.panes.lines_pane import LinesPane
from depthtui.tui.panes.status_line import duration
from depthtui.tui.state.stage import Stage, next_stage

_WIDEST = 64

MOST_STAGES = 50
"""Most stages that are kept: more than any load has, or any window lines."""


class ProgressPane(LinesPane):
    """The stages of preparing a model: those done, and a bar for the current one."""

    _stages: tuple[Stage, ...] = ()
    _heading = ""

    def start(self, heading: str) -> None:
        """Forget earlier stages; `heading` names the thing that is prepared."""
        self._heading = printable_sentence(heading)
        self._stages = ()
        self.redraw()

    def advance(self, progress: Progress) -> None:
        """Show this progress; a new stage completes the one before it."""
        former, last = self._stages[:-1], next(iter(self._stages[-1:]), None)
        stage = next_stage(last, progress)
        if last is not None and last.progress.stage != progress.stage:
            former = self._stages
        self._stages = (*former, stage)[-MOST_STAGES:]
        self.redraw()

    def why_empty(self) -> tuple[str, str] | None:
        self.set_titles("Getting ready")
        return None

    def lay_out(self) -> list[list[Piece]]:
        width = self.area.width
        margin = (" " * ((width - min(_WIDEST, width)) // 2), self.pane_styles.text)
        return [[margin, *line] for line in self._stage_lines()]

    def _stage_lines(self) -> list[list[Piece]]:
        styles, cells = self.pane_styles, min(_WIDEST, self.area.width)
        lines: list[list[Piece]] = []
        if self._heading:
            lines += [[(fit_shown(self._heading, cells), styles.strong)], []]
        if not self._stages:
            return [*lines, [("the engine is starting", styles.muted)]]
        for stage in self._stages[:-1]:
            name = printable_sentence(stage.progress.stage)
            total = (
                _amount(stage.progress.total, stage.progress.unit) if stage.progress.total else ""
            )
            lines.append(
                _between(("✓ ", styles.good), (name, styles.muted), (total, styles.muted), cells)
            )
        return lines + self._current(self._stages[-1], cells)

    def _current(self, stage: Stage, cells: int) -> list[list[Piece]]:
        styles, progress = self.pane_styles, stage.progress
        name = printable_sentence(progress.stage)
        if not progress.total:
            amount = _amount(progress.done, progress.unit) if progress.done else ""
            return [
                _between(("▸ ", styles.text), (name, styles.strong), (amount, styles.text), cells)
            ]
        share = progress.done / progress.total
        full, empty = bar(share, cells - 6)
        is_size = progress.unit == "B"
        done = _amount(progress.done, "B") if is_size else f"{progress.done:,}"
        sizes = f"{done} of {_amount(progress.total, progress.unit)}"
        return [
            _between(("▸ ", styles.text), (name, styles.strong), (sizes, styles.text), cells),
            [(full, styles.good), (empty, styles.faint), (f"{share:>6.0%}", styles.text)],
            [(self._speed(stage), styles.muted)],
        ]

    def _speed(self, stage: Stage) -> str:
        """The time left, and bytes a second, once they are known."""
        if not stage.speed:
            return ""
        words = f"{duration(round(stage.seconds_left))} left"
        is_size = stage.progress.unit == "B"
        return f"{format_size(stage.speed)}/s · {words}" if is_size else words


def _amount(count: int, unit: str) -> str:
    return format_size(count) if unit == "B" else f"{count:,} {printable_sentence(unit)}"


def _between(mark: Piece, left: Piece, right: Piece, cells: int) -> list[Piece]:
    """A line with texts at both ends."""
    room = max(0, cells - cell_len(mark[0]) - cell_len(right[0]) - 1)
    return [mark, (fit_shown(left[0], room), left[1]), (" ", left[1]), right]
