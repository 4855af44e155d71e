"""The survey of a sweep, computed in a thread as its records come."""

from __future__ import annotations

from dataclasses import dataclass, replace

from depthtui.sweep.state import Outcome
from depthtui.tui.state.sweep_rows import Grouping, Row, Survey, Surveyor
from depthtui.tui.state.sweeping import Sweeping


@dataclass(frozen=True)
class Request:
    """A sweep as it was at one moment, to be analysed.

    Attributes:
        version: the sweep's, which grows with every change.
        grouping: what a row is.
        outcome: its records.
        is_live: whether it is running.
    """

    version: int
    grouping: Grouping
    outcome: Outcome
    is_live: bool


class SweepAnalysis:
    """The rows and sentences of one sweep, as far as they are computed.

    `rows` and `survey_of` are slow and may be called in a thread, the rest may not.

    Args:
        sweep: the sweep.

    Attributes:
        survey: the last computed survey.
        is_busy: whether an analysis is running.
    """

    def __init__(self, sweep: Sweeping) -> None:
        self.sweep = sweep
        self.survey = Survey()
        self.is_busy = False
        self._known: tuple[int, Grouping] | None = None
        self._surveyor = Surveyor()

    def is_current(self, grouping: Grouping) -> bool:
        """Whether the survey is of the sweep as it is now."""
        return self._known == (self.sweep.version, grouping)

    def begin(self, grouping: Grouping) -> Request | None:
        """The analysis to compute now; None where one is running or nothing changed."""
        if self.is_busy or self.is_current(grouping):
            return None
        self.is_busy = True
        sweep = self.sweep
        return Request(sweep.version, grouping, sweep.outcome, sweep.is_live)

    def rows(self, request: Request) -> tuple[Row, ...]:
        """Compute the rows alone, which takes less time than the comparisons."""
        return self._surveyor.rows(request.outcome, request.grouping)

    def survey_of(self, request: Request) -> Survey:
        """Compute rows and sentences."""
        is_session, is_live = self.sweep.is_session, request.is_live
        return self._surveyor.survey(request.outcome, request.grouping, is_session, is_live)

    def take_rows(self, rows: tuple[Row, ...]) -> None:
        """Show these rows beside the former sentences."""
        self.survey = replace(self.survey, rows=rows)

    def finish(self, request: Request, survey: Survey) -> None:
        """Set the survey, and allow the next analysis."""
        self.survey, self.is_busy = survey, False
        self._known = (request.version, request.grouping)
