"""A sweep's progress on stderr: prompts done, the current stage, the time left."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from depthtui.data.protocol import Event
from depthtui.report.progress_bars import ProgressBars
from depthtui.sweep.eta import Waiting, time_words
from depthtui.sweep.folder import model_title
from depthtui.sweep.plan import Cell
from depthtui.sweep.records import Record
from depthtui.sweep.state import SweepState
from depthtui.sweep.work import Item
from depthtui.token_text import printable_line


class SweepDisplay(ProgressBars):
    """Two lines on stderr where stderr is a terminal, else a line for each finished prompt.

    Args:
        notify: gets the engine's messages for people, and finished prompts.
        is_plain: whether it is never two lines.
    """

    def __init__(self, notify: Callable[[str], None], is_plain: bool = False) -> None:
        super().__init__(notify, is_plain=is_plain)
        self._engine.has_time_left = False
        self._sweep = self._progress.add_task("", total=None, amount="")
        self._now = self._progress.add_task("", total=None, amount="", visible=False)
        self._state: SweepState | None = None
        self._waiting = Waiting()
        self._now_at = ""

    def emit(self, event: Event) -> None:
        self._waiting.clock(event, monotonic())
        super().emit(event)

    def sweep_begins(self, state: SweepState) -> None:
        """Existing records have been found; the other prompts begin."""
        self._state = state
        self._waiting = Waiting(state.waiting, state.work)
        self._progress.update(self._sweep, description="sweep")
        self._show_sweep()
        # Libraries take seconds before the engine reports anything.
        cell = next(iter(state.missing_items), None)
        if cell is not None:
            self._show(f"Opening {model_title(cell.model)}", 0, 0, "")

    def prompt_begins(self, item: Item) -> None:
        """The engine's next events are of this prompt."""
        self._waiting.prompt_begins()
        cell = item.cell
        prompt = f"{model_title(cell.model)} · {cell.task.title} · prompt {item.number + 1}"
        self._show(prompt, 0, 0, "")

    def prompt_ends(self, cell: Cell, record: Record | None, seconds: float) -> None:
        """A prompt was run, or failed."""
        self._waiting.prompt_ends(cell, record, seconds)
        self._show_sweep()
        if not self._has_terminal:
            took = f"{seconds:.1f} s" if record is not None else "failed"
            where = f"{model_title(cell.model)} · {cell.task.title}"
            self._notify(f"{self._words()}: {where}, {took}")

    def cell_ends(self, cell: Cell) -> None:
        """A cell has ended."""
        self._waiting.cell_ends(cell)
        self._show_sweep()

    def _show_sweep(self) -> None:
        self._progress.update(
            self._sweep, completed=self._n_done, total=self._n_total, amount=self._words()
        )

    @property
    def _n_done(self) -> int:
        return 0 if self._state is None else self._state.n_done

    @property
    def _n_total(self) -> int:
        return self._n_done + len(self._waiting)

    def _words(self) -> str:
        """Number of prompts done, and the time for the others at the rate so far."""
        seconds = self._waiting.seconds
        words = f"{self._n_done} of {self._n_total} prompts"
        if seconds is not None and self._waiting:
            words += f", {time_words(seconds)} left"
        return words

    def _show(self, stage: str, done: int, total: int, amount: str) -> None:
        self._progress.update(
            self._now,
            description=printable_line(stage) if stage else None,
            completed=done,
            # The time until the next event is unknown: a full bar would stand still.
            total=total if done < total else None,
            amount=amount,
            visible=True,
        )
        self._now_at = stage or self._now_at
        self._log.report(self._now_at, amount)
