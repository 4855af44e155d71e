"""Lets a halted run go on: by some layers, or to its end."""

from __future__ import annotations

from collections.abc import Callable

from depthtui.data.protocol import Command, Continue, Step
from depthtui.tui.state.session import RunState, Session


class Stepping:
    """Steps the live run.

    Args:
        session: the session.
        send: sends the engine a command.

    Attributes:
        is_stepping: whether a run computes layers after which it halts again.
    """

    def __init__(self, session: Session, send: Callable[[Command], None]) -> None:
        self.is_stepping = False
        self._session = session
        self._send = send
        self._further_steps = 0

    def begin(self) -> None:
        """Handle a run that begins: no steps are left of an earlier one."""
        self.is_stepping, self._further_steps = False, 0

    def step(self, layers: int = 1) -> None:
        """Let a halted run compute more layers, one by default; a stepping run, as many more."""
        if self.is_stepping:
            self._further_steps += layers
        else:
            self._further_steps, self.is_stepping = layers - 1, True
            self._resume(Step())

    def run_on(self) -> None:
        """Let a halted run continue to its end."""
        self.is_stepping = False
        self._resume(Continue())

    def halted(self) -> None:
        """Handle a run that has halted: it goes on while steps are left."""
        self.is_stepping = False
        if self._further_steps:
            self.step(self._further_steps)

    def _resume(self, command: Step | Continue) -> None:
        run = self._session.live
        if run is not None and run.state is RunState.HALTED:
            self._session.resume(run)
            self._send(command)
