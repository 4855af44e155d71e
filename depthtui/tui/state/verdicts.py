"""The reading and the verdict of the run that is shown, computed again where they may change."""

from __future__ import annotations

from depthtui.data.run import RunResult
from depthtui.data.run_settings import SummarySettings
from depthtui.data.verdict import Verdict
from depthtui.depth.reading import Reading, reading_of


class LastReading:
    """Keeps the reading and the verdict of a run, and the objects that they were computed from.

    Attributes:
        reading: the last one; None where there was no run.
    """

    reading: Reading | None = None

    def __init__(self) -> None:
        self._sources: list[object] = []
        self._state: tuple[object, ...] = ()
        self._was_live = True
        self._verdict: Verdict | None = None
        self._has_verdict = False

    def of(
        self, result: RunResult | None, settings: SummarySettings, is_live: bool
    ) -> Reading | None:
        """The reading of a run: the same one as long as the run did not grow.

        A live run may have grown at any time. A new verdict is computed once metrics or layers
        change.
        """
        sources: list[object] = [] if result is None else [result, *result.measured.values()]
        state = (settings, result and _how_far(result))
        is_same = state == self._state and _are_same(sources, self._sources)
        if is_live or self._was_live or not is_same:
            self.reading = None if result is None else reading_of([result], settings)
        self._sources, self._state, self._was_live = sources, state, is_live
        self._has_verdict = self._has_verdict and is_same
        return self.reading

    @property
    def verdict(self) -> Verdict | None:
        """The verdict of the reading, computed when it is first used."""
        if not self._has_verdict:
            self._verdict = self.reading.verdict if self.reading is not None else None
            self._has_verdict = True
        return self._verdict


def _how_far(result: RunResult) -> tuple[object, ...]:
    unavailable = tuple(result.unavailable.items())
    return result.settings, result.layers_done, result.complete, unavailable


def _are_same(objects: list[object], others: list[object]) -> bool:
    """Whether these are the same objects: rows of a run are added in place, metrics replaced."""
    pairs = zip(objects, others, strict=False)
    return len(objects) == len(others) and all(a is b for a, b in pairs)
