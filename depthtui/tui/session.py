"""The runs of a session, as plain Python: what the panes show and the list holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from depthtui.engine.protocol import (
    ContributionRows,
    Event,
    Failed,
    Halted,
    LensRows,
    RunFinished,
    RunStarted,
)
from depthtui.engine.results import ModelInfo, Prompt, RunResult, RunSettings


class RunState(Enum):
    """How far a run is; the value is the word that people read."""

    WAITING = "waiting"
    RUNNING = "running"
    HALTED = "halted"
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"

    @property
    def is_live(self) -> bool:
        return self in (RunState.WAITING, RunState.RUNNING, RunState.HALTED)


@dataclass(eq=False)
class Run:
    """One run of the session.

    Attributes:
        number: 1, 2, … in the order they were started; the engine's `run_id`.
        model, prompt, settings: what was asked for.
        started: local time.
        result: None until the prompt is tokenised, then filled row by row.
        state: how far it is.
        seconds: time in the engine so far.
        halted_at: the layer after which a stepped run waits, or -1.
        problem: why it ended early, in words; may be empty.
    """

    number: int
    model: ModelInfo
    prompt: Prompt
    settings: RunSettings
    started: datetime
    result: RunResult | None = None
    state: RunState = RunState.WAITING
    seconds: float = 0.0
    halted_at: int = -1
    problem: str = ""

    @property
    def cached(self) -> bool:
        """Whether the result came from the disk cache."""
        provenance = self.result.provenance if self.result else None
        return provenance is not None and provenance.cached

    @property
    def layers_done(self) -> int:
        """How many layers have run."""
        return self.result.layers_done if self.result else 0

    def answers(self, model: ModelInfo, prompt: Prompt, settings: RunSettings) -> bool:
        """Whether this is the finished run of exactly this."""
        asked = (self.model, self.prompt, self.settings)
        return self.state is RunState.FINISHED and asked == (model, prompt, settings)


@dataclass
class Session:
    """Every run since the explorer was started, whatever model it used.

    Attributes:
        runs: those with something to show, oldest first, and the live one.
        current: the run on the screen.
        marked: the run it is compared with.
    """

    runs: list[Run] = field(default_factory=list)
    current: Run | None = None
    marked: Run | None = None
    _last_number: int = 0

    @property
    def live(self) -> Run | None:
        """The run that the engine works on."""
        return next((run for run in reversed(self.runs) if run.state.is_live), None)

    def start(self, model: ModelInfo, prompt: Prompt, settings: RunSettings) -> Run:
        """Add a run; it becomes current once it has tokens to show."""
        self._last_number += 1
        run = Run(self._last_number, model, prompt, settings, datetime.now())
        self.runs.append(run)
        return run

    def apply(self, event: Event) -> Run | None:
        """Bring a run up to date; returns it, or None for an event of no known run."""
        run = self.find(getattr(event, "run_id", -1))
        if run is None:
            return None
        match event:
            case RunStarted(tokens=tokens):
                run.result = RunResult.empty(run.model, run.prompt, run.settings, tokens)
                run.state = RunState.RUNNING
                self.current = run
            case ContributionRows(first=first, rows=rows, seconds=seconds):
                self._put(run, seconds).put_contributions(first, rows)
            case LensRows(first=first, rows=lens_rows, seconds=seconds):
                self._put(run, seconds).put_lens(first, lens_rows)
            case Halted(layer=layer):
                run.state, run.halted_at = RunState.HALTED, layer
            case RunFinished(result=result):
                self._finish(run, result)
            case Failed(message=message):
                self._end(run, RunState.FAILED, message)
        return run

    def find(self, number: int) -> Run | None:
        """The run with this number, or None."""
        return next((run for run in self.runs if run.number == number), None)

    def resume(self, run: Run) -> None:
        """A halted run goes on."""
        if run.state is RunState.HALTED:
            run.state, run.halted_at = RunState.RUNNING, -1

    def engine_died(self, reason: str) -> None:
        """End what was live; what it had computed stays."""
        for run in [run for run in self.runs if run.state.is_live]:
            self._end(run, RunState.STOPPED, reason)

    def select(self, run: Run) -> None:
        """Put a run on the screen."""
        self.current = run
        if self.marked is run:
            self.marked = None

    def mark(self, run: Run) -> None:
        """Choose the run to compare with, or take the choice back."""
        self.marked = None if self.marked is run else run

    def delete(self, run: Run) -> None:
        """Forget a run; its neighbour takes its place on the screen."""
        index = self.runs.index(run)
        self.runs.remove(run)
        if self.marked is run:
            self.marked = None
        if self.current is run:
            shown = list(self.shown())
            self.current = shown[min(index, len(shown) - 1)] if shown else None
            if self.marked is self.current:
                self.marked = None

    def before(self, run: Run | None) -> Run | None:
        """The run shown before this one, or the one after where it is the first."""
        others = [each for each in self.shown() if each is not run]
        earlier = [each for each in others if run is not None and each.number < run.number]
        return earlier[-1] if earlier else others[0] if others else None

    def shown(self) -> Iterator[Run]:
        """The runs that have something to show, oldest first."""
        return (run for run in self.runs if run.result is not None)

    @property
    def results(self) -> list[RunResult]:
        """What the session's runs hold, oldest first."""
        return [run.result for run in self.runs if run.result is not None]

    def _put(self, run: Run, seconds: float) -> RunResult:
        assert run.result is not None, "rows of a run that has not started"
        run.seconds = seconds
        return run.result

    def _finish(self, run: Run, result: RunResult) -> None:
        if run.result is None:
            self.current = run
        run.result = result
        run.state = RunState.FINISHED if result.complete else RunState.STOPPED
        run.halted_at = -1
        if result.provenance is not None:
            run.seconds = result.provenance.seconds

    def _end(self, run: Run, state: RunState, problem: str) -> None:
        run.state, run.problem, run.halted_at = state, problem, -1
        if run.result is None:
            self.runs.remove(run)
