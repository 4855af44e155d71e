"""The explorer's interface to an engine process, and how one ends."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from depthtui.data.protocol import DEVICE_LOST, Command

Post: TypeAlias = Callable[[Any], object]
"""Hands a message to the app; called from another thread."""


class EngineConnection(Protocol):
    """The app's interface to an engine; the tests bring a scripted one.

    Attributes:
        killed: whether `kill` ended it; its messages are ignored from then on.
    """

    killed: bool

    def start(self, post: Post) -> None:
        """Start the process; `post` receives `EngineEvent` and `EngineDied` messages."""

    def send(self, command: Command) -> None:
        """Queue a command; never blocks, and does nothing when the engine is gone."""

    def kill(self) -> None:
        """End the process at once; nothing is posted afterwards."""


@dataclass(frozen=True)
class EngineDeath:
    """How an engine process ended without being asked to.

    Attributes:
        code: its exit code; negative for a signal.
        last_line: the last line of its log, untrusted text, may be empty.
        log: the path of its log; empty where it has nothing about the end.
        problem: why it was ended, such as for its version; empty where it ended by itself.
    """

    code: int
    last_line: str
    log: str = ""
    problem: str = ""

    @property
    def reason(self) -> str:
        """The cause of the end, in words."""
        if self.problem:
            return self.problem
        if self.code == DEVICE_LOST:
            return "An error on the GPU cost this process the device; a new one gets it back."
        if self.code == -9:
            return "It was killed (SIGKILL), most likely because memory ran out."
        if self.code < 0:
            return f"It was ended by {_signal_name(-self.code)}."
        return f"It exited with status {self.code}."


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
