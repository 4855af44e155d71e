"""What the engine's reader thread tells the app."""

from __future__ import annotations

from textual.message import Message

from depthtui.data.protocol import Event


class EngineEvent(Message):
    """The engine said something."""

    def __init__(self, event: Event) -> None:
        super().__init__()
        self.event = event


class EngineDied(Message):
    """The engine process ended without being asked to.

    Attributes:
        code: its exit code; negative for a signal.
        last_line: the last line of its log, untrusted text, may be empty.
        log: the path of its log.
    """

    def __init__(self, code: int, last_line: str, log: str) -> None:
        super().__init__()
        self.code = code
        self.last_line = last_line
        self.log = log

    @property
    def reason(self) -> str:
        """What happened, in words."""
        if self.code == -9:
            return "It was killed (SIGKILL), most likely because memory ran out."
        if self.code < 0:
            return f"It was ended by {_signal_name(-self.code)}."
        return f"It exited with status {self.code}."


def _signal_name(number: int) -> str:
    import signal

    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
