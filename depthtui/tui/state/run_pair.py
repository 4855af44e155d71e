"""A run and its prompt's run on another model, compared once both are finished."""

from __future__ import annotations

from depthtui.tui.state.session import RunState, Session, SessionRun


class RunPair:
    """The two runs that a comparison waits for.

    Attributes:
        ready: both, once the second is finished, until a screen takes them; or None.
    """

    ready: tuple[SessionRun, SessionRun] | None = None
    _waiting: tuple[SessionRun, SessionRun] | None = None

    @property
    def is_expected(self) -> bool:
        """Whether a comparison is to open."""
        return self.ready is not None or self._waiting is not None

    def wait(self, first: SessionRun, second: SessionRun) -> None:
        """Compare these runs once the second is finished."""
        self._waiting = first, second

    def follow(self, session: Session) -> None:
        """Set `ready` when the second run is finished; forget both when it ended early."""
        if self._waiting is None or self._waiting[1].state.is_live:
            return
        (first, second), self._waiting = self._waiting, None
        if second.state is RunState.FINISHED and first in session.runs:
            self.ready = first, second

    def pop_ready(self) -> tuple[SessionRun, SessionRun] | None:
        """Return both runs if they are ready; the next call returns None."""
        pair, self.ready = self.ready, None
        return pair

    def stop_waiting(self) -> None:
        """Forget the runs whose second one will not finish."""
        self._waiting = None

    def forget(self) -> None:
        """Cancel the comparison."""
        self.ready = self._waiting = None
