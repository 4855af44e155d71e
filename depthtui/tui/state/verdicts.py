"""The verdict of the run on the screen, worked out again only where it may be another one."""

from __future__ import annotations

from depthtui.data.verdict import Verdict
from depthtui.depth.reading import Reading


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
        state = (reading.settings, result.layers_done, result.complete, tuple(result.unavailable))
        if state != self._state or not _are_same(made_of, self._made_of):
            self._made_of, self._state = made_of, state
            self._verdict = reading.verdict
        return self._verdict


def _are_same(objects: list[object], others: list[object]) -> bool:
    """Whether these are the same objects: rows of a run are added in place, metrics replaced."""
    pairs = zip(objects, others, strict=False)
    return len(objects) == len(others) and all(a is b for a, b in pairs)
