"""The progress of a command, on stderr."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

from rich.progress import ProgressColumn, Task, TaskID, TimeElapsedColumn
from rich.text import Text

from depthtui.cli.output import is_plain
from depthtui.data import protocol
from depthtui.metrics.registry import METRIC_BY_NAME
from depthtui.report.progress_bars import ProgressBars
from depthtui.sizes import about
from depthtui.token_text import printable_line

_SHORTEST = 5.0
"""Seconds; longer work is announced before it begins."""


class _TimeLeft(ProgressColumn):
    """The time left for a stage, at the rate of its steps so far."""

    def render(self, task: Task) -> Text:
        seconds = task.time_remaining
        if seconds is None or seconds < _SHORTEST:
            return Text("")
        return Text(f"{about(seconds)} left")


class ProgressDisplay(ProgressBars):
    """One bar, for the current stage.

    Attributes:
        n_prompts: the number of prompts; with several, messages name the prompt.
        steps: names of the long steps of a command, in their order. Each begins with `begin`, or
            with the engine's stage of its name; stages are shown with its number.
    """

    def __init__(self, notify: Callable[[str], None]) -> None:
        super().__init__(notify, TimeElapsedColumn(), _TimeLeft(), is_plain=is_plain())
        self.n_prompts = 0
        self.steps: Sequence[str] = ()
        self._number = ""
        self._stage = ""
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        super().__enter__()
        # Importing torch takes seconds.
        self._show("starting", 0, 0, "")
        return self

    def emit(self, event: protocol.Event) -> None:
        if isinstance(event, protocol.MetricRows) and event.total == 0:
            self._print_time(event.metric, event.seconds_left)
        if isinstance(event, protocol.Progress) and event.stage in self.steps:
            self.begin(event.stage)
        super().emit(event)

    def _print_time(self, metric: str, seconds: float) -> None:
        """Announce how long a metric will take, where that is long."""
        if seconds >= _SHORTEST:
            prompt = f"{self._stage}: " if self.n_prompts > 1 else ""
            self._notify(f"{prompt}{METRIC_BY_NAME[metric].title} takes {about(seconds)}.")

    def begin(self, step: str) -> None:
        """Show the following stages with the number of this step."""
        self._number = f"step {self.steps.index(step) + 1} of {len(self.steps)}: "

    def prompt_begins(self, number: int) -> None:
        """Print this prompt's number before the next rows."""
        self._show(f"prompt {number + 1} of {self.n_prompts}", 0, 0, "")

    def _show(self, stage: str, done: int, total: int, amount: str) -> None:
        stage = f"{self._number}{stage}" if stage else self._stage
        if stage != self._stage or self._task is None:
            if self._task is not None:
                self._progress.remove_task(self._task)
            self._stage = stage
            self._task = self._progress.add_task(printable_line(stage), total=None, amount="")
        self._progress.update(self._task, completed=done, total=total or None, amount=amount)
        self._log.report(stage, amount)
