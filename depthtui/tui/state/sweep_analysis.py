"""What a sweep says, worked out in a thread as its records come."""

from __future__ import annotations

from dataclasses import dataclass, replace

from depthtui.sweep.state import Outcome
from depthtui.tui.state.sweep_rows import Grouping, Row, Survey, Surveyor
from depthtui.tui.state.sweeping import Sweeping


@dataclass(frozen=True)
class Request:
    """A sweep as it was at one moment, to be worked out.

    Attributes:
        version: the sweep's, which grows with all that changes in it.
        grouping: what the rows are.
        outcome: its records.
        is_live: whether it goes on.
    """

    version: int
    grouping: Grouping
    outcome: Outcome
    is_live: bool


class SweepAnalysis:
    """The rows and sentences of one sweep, as far as they are known.

    `rows` and `survey_of` take their time and may be called in a thread, the rest may not.

    Args:
        sweep: the sweep.

    Attributes:
        survey: what it says, as far as that has been worked out.
        is_busy: whether something is being worked out.
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
        """What to work out now; None where something is under way or nothing changed."""
        if self.is_busy or self.is_current(grouping):
            return None
        self.is_busy = True
        sweep = self.sweep
        return Request(sweep.version, grouping, sweep.outcome, sweep.is_live)

    def rows(self, request: Request) -> tuple[Row, ...]:
        """The rows alone, which take less time than the comparisons."""
        return self._surveyor.rows(request.outcome, request.grouping)

    def survey_of(self, request: Request) -> Survey:
        """Rows and sentences."""
        is_session, is_live = self.sweep.is_session, request.is_live
        return self._surveyor.survey(request.outcome, request.grouping, is_session, is_live)

    def take_rows(self, rows: tuple[Row, ...]) -> None:
        """Show these beside the sentences of before."""
        self.survey = replace(self.survey, rows=rows)

    def finish(self, request: Request, survey: Survey) -> None:
        """This is what the sweep says, and something else may be worked out."""
        self.survey, self.is_busy = survey, False
        self._known = (request.version, request.grouping)
