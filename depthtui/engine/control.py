"""Steers a run in another thread, for a person."""

from __future__ import annotations

import threading
from collections.abc import Callable

from depthtui.errors import RunStopped
from depthtui.parallel.agreements import any_rank, first_rank
from depthtui.parallel.ending import are_in_step, interrupted
from depthtui.parallel.group import is_first, joined


class Control:
    """Stops a run at its next checkpoint, or halts it after each layer.

    Args:
        step: whether the run halts after each layer until `step` or `go_on`.
    """

    def __init__(self, step: bool = False) -> None:
        self.stepping = self._steps = step
        self._changed = threading.Condition()
        self._stopped = False
        self._steps_granted = 0
        self._waits = False
        self._work: list[Callable[[], None]] = []

    def stop(self) -> None:
        """End the run, even if it is halted."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    @property
    def is_stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped

    def step(self) -> None:
        """Let a halted run compute one more layer."""
        with self._changed:
            self._steps_granted += 1
            self._changed.notify_all()

    def go_on(self) -> None:
        """Let the run continue to its end."""
        with self._changed:
            self.stepping = False
            self._changed.notify_all()

    def checkpoint(self) -> None:
        """Raise where the run has to stop; the run calls this often.

        Raises:
            RunStopped: `stop` was called, at any of the ranks that compute together.
        """
        stops = self._stopped or interrupted()
        if any_rank("a stop", stops) if are_in_step() else stops:
            raise RunStopped

    @property
    def halts(self) -> bool:
        """Whether the run halts after a layer; the same on every rank."""
        return self._steps and first_rank("whether it halts", lambda: self.stepping)

    def do(self, work: Callable[[], None]) -> bool:
        """Let a halted run's thread do some work while it waits; False where the run is not halted.

        Always False with several ranks: the others are in the run, and can do nothing else.
        """
        if joined() is not None:
            return False
        with self._changed:
            if self._waits:
                self._work.append(work)
                self._changed.notify_all()
            return self._waits

    def wait(self, announce: Callable[[], object] = lambda: None) -> None:
        """Halt after a layer in step mode; the run calls this after each layer.

        Args:
            announce: announces the halt; work given in response is done during the halt.

        Raises:
            RunStopped: `stop` was called.
        """
        if is_first():
            with self._changed:
                self._waits = True
            announce()
            while (work := self._next_work()) is not None:
                work()
        first_rank("the end of a halt", lambda: True, patient=True)
        self.checkpoint()

    def _next_work(self) -> Callable[[], None] | None:
        """Wait for work to do while halted; None as soon as the run may continue."""
        with self._changed:
            self._changed.wait_for(lambda: self._work or self._may_go_on)
            if self._work:
                return self._work.pop(0)
            self._waits = False
            if self.stepping and not self._stopped:
                self._steps_granted -= 1
            return None

    @property
    def _may_go_on(self) -> bool:
        return self._stopped or not self.stepping or self._steps_granted > 0
