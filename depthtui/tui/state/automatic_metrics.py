"""Knowledge kept is measured by itself behind a finished run, where its first count comes soon."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Protocol

from depthtui.data.model import ModelInfo
from depthtui.data.protocol import Pace
from depthtui.data.run import RunResult
from depthtui.data.saved_session import SHIPPED
from depthtui.metrics.estimates import seconds_of
from depthtui.metrics.kept import METRIC, NAME
from depthtui.metrics.layer_order import MODEL_ORDER, OWN_ORDER
from depthtui.metrics.pooling import FEWEST_TOKENS
from depthtui.tui.state.engine_life import EngineLife
from depthtui.tui.state.phase import Phase
from depthtui.tui.state.run_pair import RunPair
from depthtui.tui.state.session import Session, SessionRun

MOST_SECONDS = 120.0
"""Longest time until the first count of work that begins by itself, by the measured pace."""


class WorkOwner(Protocol):
    """The owner of the session, of its engine and of a comparison."""

    session: Session
    engine: EngineLife
    pair: RunPair

    @property
    def phase(self) -> Phase:
        """The engine's activity."""

    def compute(self, *metrics: str, run: SessionRun | None = None, **changes: Any) -> None:
        """Add metrics to a run; None for the one on the screen."""

    def run(self) -> None:
        """Run the current prompt."""

    def stop(self) -> None:
        """Stop the live run."""


class AutomaticWork:
    """Measures knowledge kept behind a finished run, unless something else comes.

    Args:
        owner: computes them.

    Attributes:
        run: the run for which they are computed, or None.
        most_seconds: the longest time until the first count of work that begins by itself.
    """

    def __init__(self, owner: WorkOwner) -> None:
        self.run: SessionRun | None = None
        self.most_seconds = MOST_SECONDS
        self._owner = owner

    def follow(self, run: SessionRun) -> None:
        """Handle a run that has finished: measure knowledge kept, if it comes soon.

        A text whose writing was stopped is first measured, once, as far as it was written.
        """
        if run is self.run:
            self.run = None
        owner, result = self._owner, run.result
        is_shown = run is owner.session.current and not owner.pair.is_expected
        if result is None or not (is_shown and owner.phase is Phase.READY):
            return
        written = run.prompt.written
        if run.writing is not None and written is not None and written.stopped_by == "user":
            owner.compute(run=run)
            return
        self.begin(run)

    def follow_shown(self, model: ModelInfo) -> None:
        """Go on behind the run on the screen, whose model has been loaded.

        A shipped run is computed afresh where the model has another dtype or device here.
        """
        run = self._owner.session.current
        if run is not None and run.model != model and run.origin == SHIPPED:
            self._owner.run()
        elif run is not None:
            self.follow(run)

    def begin(self, run: SessionRun) -> bool:
        """Measure knowledge kept of a run, if its model is loaded and idle, and it comes soon."""
        owner, result = self._owner, run.result
        is_ready = owner.phase is Phase.READY and run.model == owner.engine.model
        if result is None or not is_ready:
            return False
        begins = begins_by_itself(result, owner.engine.pace, self.most_seconds)
        if begins:
            owner.compute(NAME, run=run, **MODEL_ORDER)
            self.run, run.recalled = run, (*run.recalled, NAME)
        return begins

    def make_way(self) -> None:
        """Stop it; its run is as it was before."""
        run, self.run = self.run, None
        if run is not None and run is self._owner.session.live:
            self._owner.stop()
            self._owner.session.withdraw(run)

    def call_off(self) -> None:
        """Stop the engine's work at the user's wish; none begins by itself where this did."""
        if self.run is not None and self.run is self._owner.session.live:
            self.most_seconds = 0.0
        self._owner.stop()


def begins_by_itself(result: RunResult, pace: Pace, most_seconds: float = MOST_SECONDS) -> bool:
    """Whether knowledge kept is measured without a key.

    Args:
        result: the run's result.
        pace: the pace of its model.
        most_seconds: the longest time that its first count may take.
    """
    if not result.complete or NAME in result.settings.metrics:
        return False
    if len(result.tokens) < FEWEST_TOKENS:
        return False
    return _seconds(result, pace) <= most_seconds


def why_it_waits(result: RunResult, pace: Pace) -> str:
    """Why knowledge kept waits for a key behind a complete run; empty where it does not."""
    seconds = _seconds(result, pace)
    if not result.complete or seconds <= MOST_SECONDS:
        return ""
    return "not timed yet" if math.isinf(seconds) else f"over {MOST_SECONDS / 60:g} min"


def _seconds(result: RunResult, pace: Pace) -> float:
    """How long the first count takes; infinite where there is no estimate.

    It is a draft in the prompt's own order, where the prompt has one.
    """
    in_models_order, in_own_order = (
        replace(result, settings=replace(result.settings, **order))
        for order in (MODEL_ORDER, OWN_ORDER)
    )
    ordered = in_own_order if METRIC.has_draft(in_models_order) else in_models_order
    seconds = seconds_of(METRIC, ordered, pace)
    return math.inf if seconds is None else seconds
