"""A command of one's own while it runs: a shell in a process group of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping

from depthtui.data.own_commands import OwnCommand, variable_of
from depthtui.tui.process_logs import ProcessLog
from depthtui.tui.signals import end_group

_SHELL = "/bin/sh"


class OwnProcess:
    """A command of one's own, which runs without input and without a terminal.

    Args:
        command: the command.
        values: the value of each of its placeholders.

    Attributes:
        log: its output.
        status: its exit status, negative for a signal; None while it runs.
    """

    def __init__(self, command: OwnCommand, values: Mapping[str, str]) -> None:
        self.command = command
        self.log = ProcessLog()
        self.status: int | None = None
        self._values = values
        self._was_stopped = False
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, ended: Callable[[], object]) -> None:
        """Start it; `ended` is called at its end, in another thread.

        Raises:
            OSError, ValueError: it cannot be started with these values.
        """
        variables = {variable_of(name): value for name, value in self._values.items()}
        output = self.log.open()
        try:
            self._process = subprocess.Popen(
                [_SHELL, "-c", self.command.shell_line],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=os.environ | variables,
                # Without a terminal, programs neither draw over the screen nor read its keys.
                start_new_session=True,
            )
        finally:
            os.close(output)
        arguments = self._process, ended
        threading.Thread(target=self._wait, args=arguments, name="own-command", daemon=True).start()

    def _wait(self, process: subprocess.Popen[bytes], ended: Callable[[], object]) -> None:
        status = process.wait()
        self.log.wait_for_end()
        self.status = status
        ended()

    # How it is going ----------------------------------------------------------

    @property
    def line(self) -> str:
        """Its line with its values, for people."""
        return self.command.shown(self._values)

    @property
    def state(self) -> str:
        """Whether it runs, or how it has ended, as the end of a sentence."""
        if self.status is None:
            return "is being stopped" if self._was_stopped else "is running"
        if self._was_stopped:
            return "was stopped"
        if self.status < 0:
            return f"was ended by signal {-self.status}"
        return f"ended with status {self.status}" if self.status else "has ended"

    @property
    def has_failed(self) -> bool:
        """Whether it has ended by a failure."""
        return bool(self.status) and not self._was_stopped

    @property
    def was_silent(self) -> bool:
        """Whether it has ended well, and printed nothing."""
        return self.status == 0 and not self.log.lines()

    @property
    def end_words(self) -> str:
        """How it has ended, with its last words, as a sentence."""
        last_line = self.log.last_line().rstrip(".")
        return f"It {self.state}{f': {last_line}' if last_line else ', and printed nothing'}."

    # Ending it ----------------------------------------------------------------

    def stop(self) -> None:
        """Ask it and its process group to end; a second call ends them for certain.

        One that has ended keeps its end. What has left the group, as by `setsid`, goes on.
        """
        if self.status is not None:
            return
        self._signal(signal.SIGKILL if self._was_stopped else signal.SIGTERM)
        self._was_stopped = True

    def kill(self) -> None:
        """End it and its process group at once."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        process = self._process
        # Once it was waited for, its number may be another process's.
        if process is not None and process.returncode is None:
            end_group(process, number)
