"""The view of a sweep, computed in a thread as its records come."""

from __future__ import annotations

from dataclasses import dataclass, replace

from depthtui.sweep.state import Outcome
from depthtui.tui.state.sweep_rows import Grouping, SweepRow, SweepView, SweepViewBuilder
from depthtui.tui.state.sweeping import Sweeping


@dataclass(frozen=True)
class Request:
    """A sweep as it was at one moment, to be analysed.

    Attributes:
        version: the sweep's, which grows with every change.
        grouping: the contents of a row.
        outcome: its records.
        is_live: whether it is running.
    """

    version: int
    grouping: Grouping
    outcome: Outcome
    is_live: bool


class SweepAnalysis:
    """The rows and sentences of one sweep, as far as they are computed.

    `rows` and `view_of` are slow and may be called in a thread, the rest may not.

    Args:
        sweep: the sweep.

    Attributes:
        view: the last computed view.
        is_busy: whether an analysis is running.
    """

    def __init__(self, sweep: Sweeping) -> None:
        self.sweep = sweep
        self.view = SweepView()
        self.is_busy = False
        self._view_key: tuple[int, Grouping] | None = None
        self._builder = SweepViewBuilder()

    def is_current(self, grouping: Grouping) -> bool:
        """Whether the view is of the sweep as it is now."""
        return self._view_key == (self.sweep.version, grouping)

    def begin(self, grouping: Grouping) -> Request | None:
        """The analysis to compute now; None where one is running or nothing changed."""
        if self.is_busy or self.is_current(grouping):
            return None
        self.is_busy = True
        sweep = self.sweep
        return Request(sweep.version, grouping, sweep.outcome, sweep.is_live)

    def rows(self, request: Request) -> tuple[SweepRow, ...]:
        """Compute the rows alone, which takes less time than the comparisons."""
        return self._builder.rows(request.outcome, request.grouping)

    def view_of(self, request: Request) -> SweepView:
        """Compute rows and sentences."""
        is_session, is_live = self.sweep.is_session, request.is_live
        return self._builder.build(request.outcome, request.grouping, is_session, is_live)

    def show_rows(self, rows: tuple[SweepRow, ...]) -> None:
        """Show these rows beside the former sentences."""
        self.view = replace(self.view, rows=rows)

    def finish(self, request: Request, view: SweepView) -> None:
        """Set the view, and allow the next analysis."""
        self.view, self.is_busy = view, False
        self._view_key = (request.version, request.grouping)
