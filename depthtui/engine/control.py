"""How a person steers a run that goes on in another thread."""

from __future__ import annotations

import threading

from depthtui.errors import RunStopped


class Control:
    """Stops a run at its next checkpoint, or halts it after each layer.

    Args:
        step: whether the run halts after each layer until `step` or `go_on`.
    """

    def __init__(self, step: bool = False) -> None:
        self.stepping = step
        self._changed = threading.Condition()
        self._stopped = False
        self._allowed = 0

    def stop(self) -> None:
        """End the run; a halted one too."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def step(self) -> None:
        """Let a halted run compute one more layer."""
        with self._changed:
            self._allowed += 1
            self._changed.notify_all()

    def go_on(self) -> None:
        """Let the run go to its end."""
        with self._changed:
            self.stepping = False
            self._changed.notify_all()

    def checkpoint(self) -> None:
        """Called often by the run.

        Raises:
            RunStopped: `stop` was called.
        """
        if self._stopped:
            raise RunStopped

    def wait(self) -> None:
        """Called by the run after each layer: returns at once unless it is in step mode.

        Raises:
            RunStopped: `stop` was called.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or not self.stepping or self._allowed > 0)
            if self.stepping and not self._stopped:
                self._allowed -= 1
        self.checkpoint()
