"""An engine's progress: bars on stderr where it is a terminal, else a line now and then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn

from depthtui.data import protocol
from depthtui.report.progress import EngineProgress, LogLines


class ProgressBars:
    """Progress bars, shown within a `with` block; subclasses choose the bar in `_show`.

    Args:
        notify: gets the engine's messages for people, and progress lines without a terminal.
        columns: columns after a bar and its amount.
        is_plain: whether a line now and then replaces the bars.
    """

    def __init__(
        self, notify: Callable[[str], None], *columns: ProgressColumn, is_plain: bool = False
    ) -> None:
        console = Console(stderr=True)
        self._has_terminal = console.is_terminal and not is_plain
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[amount]}", markup=False),
            *columns,
            console=console,
            transient=True,
            disable=not self._has_terminal,
        )
        self._notify = notify
        self._log = LogLines(notify, is_shown=not self._has_terminal)
        self._engine = EngineProgress()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    @contextmanager
    def out_of_the_way(self) -> Iterator[None]:
        """Hide the bars within the block, where results are printed."""
        self._progress.stop()
        try:
            yield
        finally:
            self._progress.start()

    def emit(self, event: protocol.Event) -> None:
        """Show an event of the engine."""
        if isinstance(event, protocol.Notice):
            self._notify(event.message)
        progress = self._engine.of(event)
        if progress is not None:
            self._show(progress.stage, progress.done, progress.total, progress.amount)

    def _show(self, stage: str, done: int, total: int, amount: str) -> None:
        """Show the progress of a stage; an empty stage is the one before."""
        raise NotImplementedError
