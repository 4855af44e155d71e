"""The reading and the verdict of a run on the screen, made again where they may be others."""

from __future__ import annotations

from depthtui.data.run import RunResult
from depthtui.data.run_settings import SummarySettings
from depthtui.data.verdict import Verdict
from depthtui.depth.reading import Reading, reading_of


class LastReading:
    """Keeps one reading, and how far its run was."""

    def __init__(self) -> None:
        self._made_of: list[object] = []
        self._state: tuple[object, ...] = ()
        self._reading: Reading | None = None

    def of(
        self, result: RunResult | None, settings: SummarySettings, is_live: bool
    ) -> Reading | None:
        """The reading of a run: the same one as long as the run did not grow.

        One that the engine works on may have grown at any time.
        """
        made_of = [] if result is None else [result, *result.measured.values()]
        state = (settings, is_live, _how_far(result))
        if is_live or state != self._state or not _are_same(made_of, self._made_of):
            self._made_of, self._state = made_of, state
            self._reading = None if result is None else reading_of([result], settings)
        return self._reading


class LastVerdict:
    """Keeps one verdict, and what it was made of."""

    def __init__(self) -> None:
        self._made_of: list[object] = []
        self._state: tuple[object, ...] = ()
        self._verdict: Verdict | None = None

    def of(self, reading: Reading | None) -> Verdict | None:
        """The verdict of the reading of a run that may have grown since."""
        if reading is None:
            return None
        (result,) = reading.runs
        made_of = [result, *result.measured.values()]
        state = (reading.settings, *_how_far(result))
        if state != self._state or not _are_same(made_of, self._made_of):
            self._made_of, self._state = made_of, state
            self._verdict = reading.verdict
        return self._verdict


def _how_far(result: RunResult | None) -> tuple[object, ...]:
    if result is None:
        return ()
    unavailable = tuple(result.unavailable.items())
    return result.settings, result.layers_done, result.complete, unavailable


def _are_same(objects: list[object], others: list[object]) -> bool:
    """Whether these are the same objects: rows of a run are added in place, metrics replaced."""
    pairs = zip(objects, others, strict=False)
    return len(objects) == len(others) and all(a is b for a, b in pairs)
