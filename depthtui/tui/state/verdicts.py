"""The reading and the verdict of the run that is shown, computed again where they may change."""

from __future__ import annotations

from depthtui.data.lens import LogitLens
from depthtui.data.run import RunResult
from depthtui.data.run_settings import SummarySettings
from depthtui.data.verdict import Verdict
from depthtui.depth.reading import Reading, reading_of


class LastReading:
    """Keeps the reading and the verdict of a run, and the objects that they were computed from.

    A reading begins as a draft, whose intervals are to be computed in a thread: `begin` returns the
    draft, `finish` puts the complete reading in its place. Without these two it stays a draft.

    Attributes:
        reading: the last one; None where there was no run.
    """

    reading: Reading | None = None

    def __init__(self) -> None:
        self._sources: list[object] = []
        self._state: tuple[object, ...] = ()
        self._grew = True
        self._is_busy = False
        self._begun: Reading | None = None
        self._verdict: Verdict | None = None
        self._has_verdict = False

    def of(
        self, result: RunResult | None, settings: SummarySettings, is_live: bool
    ) -> Reading | None:
        """The reading of a run: the same one as long as the run did not grow.

        The pass of a live run may have grown at any time. A new verdict is computed once metrics
        or layers change.
        """
        sources: list[object] = [] if result is None else [result, *result.measured.values()]
        state = (settings, result and _how_far(result))
        is_same = state == self._state and _are_same(sources, self._sources)
        may_grow = is_live and result is not None and grows(result)
        if may_grow or self._grew or not is_same:
            self.reading = None if result is None else self._draft(result, settings)
        self._sources, self._state, self._grew = sources, state, may_grow
        self._has_verdict = self._has_verdict and is_same
        return self.reading

    def _draft(self, result: RunResult, settings: SummarySettings) -> Reading:
        """A draft, with the last complete reading of the same run."""
        draft, former = reading_of([result], settings, is_draft=True), self.reading
        if former is not None and former.is_draft:
            former = former.former
        if former is not None and former.runs[0] is result and former.settings == settings:
            draft.former = former
        return draft

    @property
    def verdict(self) -> Verdict | None:
        """The verdict of the reading, computed when it is first used."""
        if not self._has_verdict:
            self._verdict = self.reading.verdict if self.reading is not None else None
            self._has_verdict = True
        return self._verdict

    def begin(self) -> Reading | None:
        """The draft to complete now; None where there is none, it grows, or another is begun.

        A draft that could not be completed is not begun again.
        """
        draft = self.reading
        if draft is None or not draft.is_draft or draft is self._begun:
            return None
        if self._is_busy or self._grew:
            return None
        self._is_busy, self._begun = True, draft
        return draft

    def finish(self, draft: Reading, complete: Reading | None) -> None:
        """Put a complete reading in its draft's place, unless another reading is there by now."""
        self._is_busy = False
        if complete is not None and self.reading is draft:
            self.reading = complete
            self._has_verdict = False


def _how_far(result: RunResult) -> tuple[object, ...]:
    unavailable = tuple(result.unavailable.items())
    return result.settings, result.layers_done, result.complete, unavailable


def grows(result: RunResult) -> bool:
    """Whether rows may still be added in place: those of the pass; other metrics are replaced."""
    lens = result.get(LogitLens)
    is_finished = lens is None or lens.is_finished
    return result.layers_done < result.model.n_layers or not is_finished


def _are_same(objects: list[object], others: list[object]) -> bool:
    """Whether these are the same objects: rows of a run are added in place, metrics replaced."""
    pairs = zip(objects, others, strict=False)
    return len(objects) == len(others) and all(a is b for a, b in pairs)
