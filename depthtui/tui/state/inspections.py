"""Layers inspected at a token: requested from the engine, one at a time, and kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from depthtui.data.inspection import Inspection
from depthtui.data.model import ModelInfo
from depthtui.data.protocol import InspectLayer, LayerInspected
from depthtui.tui.state.engine_life import EngineLife
from depthtui.tui.state.session import RunState, SessionRun

MOST_INSPECTIONS = 512
"""Inspections that are kept; one takes some kilobytes, and a key requests one."""

WHAT_IF = "A layer is opened on clean runs, not in a what-if."
UNFINISHED = "The layer opens once the run is through."
NOT_YET = "This layer has not run yet: space runs the next one."
OTHER_MODEL = "The parts of a layer need the model of this run, which is not loaded: esc, then m."
BUSY = "The engine is busy: the layer opens once it is free."


class _InspectionKey(NamedTuple):
    """A layer at a token of a run, read through a lens."""

    run: int
    answer_start: int
    layer: int
    token: int
    lens: str


@dataclass(eq=False)
class Inspections:
    """Requests pages from the engine; a new request replaces the one that waits.

    Attributes:
        free_engine: the engine, where it can answer now.
        model: the loaded model, or None.
    """

    free_engine: Callable[[], EngineLife | None]
    model: Callable[[], ModelInfo | None]
    _answers: dict[_InspectionKey, LayerInspected] = field(default_factory=dict, init=False)
    _pending: _InspectionKey | None = field(default=None, init=False)

    def request(self, run: SessionRun, layer: int, token: int, lens: str) -> None:
        """Request a page, unless it is here or cannot be computed."""
        place = _place(run, layer, token, lens)
        engine = self.free_engine()
        if place in self._answers or place == self._pending or engine is None:
            return
        if not self.why_not(run, layer):
            self._pending = place
            engine.send(InspectLayer(run.engine_id, run.prompt, run.settings, layer, token, lens))

    def why_not(self, run: SessionRun, layer: int) -> str:
        """Why no page of a run's layer can be computed now; empty where it can."""
        if not run.settings.is_clean:
            return WHAT_IF
        if run.state is RunState.HALTED and layer > run.halted_at:
            return NOT_YET
        if (run.state.is_live and run.state is not RunState.HALTED) or run.result is None:
            return UNFINISHED
        if run.model != self.model():
            return OTHER_MODEL
        return "" if self.free_engine() is not None else BUSY

    def of(self, run: SessionRun, layer: int, token: int, lens: str) -> Inspection | None:
        """A page; None where it is not here."""
        answer = self._answers.get(_place(run, layer, token, lens))
        return None if answer is None else answer.inspection

    def problem(self, run: SessionRun, layer: int, token: int, lens: str) -> str:
        """Why a page is not here; empty where it is, or is being computed."""
        answer = self._answers.get(_place(run, layer, token, lens))
        return self.why_not(run, layer) if answer is None else answer.problem

    def answered(self, event: LayerInspected) -> None:
        """Keep a page."""
        place = self._pending
        if place is None or (place.layer, place.token) != (event.layer, event.token):
            return
        self._pending = None
        self._answers[place] = event
        while len(self._answers) > MOST_INSPECTIONS:
            del self._answers[next(iter(self._answers))]

    def drop_requests(self) -> None:
        """Forget the requests: the engine is another one, or was stopped."""
        self._pending = None


def _place(run: SessionRun, layer: int, token: int, lens: str) -> _InspectionKey:
    return _InspectionKey(run.number, run.settings.answer_start, layer, token, lens)
