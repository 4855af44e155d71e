"""The runs of a session, as plain Python: the panes show one, the list shows all."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from typing import Any

from depthtui.data.arrays import MetricResult, arrays_of
from depthtui.data.declared import check_declared, check_sizes
from depthtui.data.model import ModelInfo
from depthtui.data.protocol import (
    Event,
    Failed,
    Halted,
    MetricRows,
    Rows,
    RunFinished,
    RunStarted,
    TokensWritten,
)
from depthtui.data.remarks import Remarks
from depthtui.data.run import Prompt, RunResult, without
from depthtui.data.run_settings import RunSettings, Writing
from depthtui.data.saved_session import PASS, SHIPPED, SavedRun, shipped_key
from depthtui.metrics import logit_lens
from depthtui.metrics.estimates import TimeLeft
from depthtui.metrics.registry import (
    METRIC_BY_NAME,
    OF_THE_PASS,
    ON_DEMAND,
    depending_on,
    empty_result,
)
from depthtui.tui.state.next_measures import key_that_helps


class RunState(Enum):
    """The state of a run; the value is the word that people read."""

    WAITING = "waiting"
    RUNNING = "running"
    HALTED = "halted"
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"
    UNOPENED = "not opened"
    """The run is of a saved session: its result is read from the cache, or computed again."""

    @property
    def is_live(self) -> bool:
        return self in (RunState.WAITING, RunState.RUNNING, RunState.HALTED)


@dataclass(frozen=True)
class Work:
    """The progress of a metric of a run: `done` of `total` units.

    `seconds_left` is negative where unknown.
    """

    metric: str
    done: int
    total: int
    seconds_left: float = -1.0


@dataclass(eq=False)
class SessionRun:
    """One run of the session.

    Attributes:
        number: 1, 2, … in the order they were started; 0 for a run that is not listed.
        engine_id: the engine's `run_id`; a new one each time that the engine works on the run.
        model, prompt, settings: those requested.
        started: local time.
        result: None until the prompt is tokenised, then filled row by row.
        state: its state.
        seconds: time in the engine so far, without the waits of a halted run.
        reported_at: when `seconds` was reported, by the monotonic clock.
        halted_at: the layer after which a stepped run waits, or -1.
        problem: why it ended early, in words; may be empty.
        work: the metric that is being computed after the layers, or None.
        former_result: the result before more metrics were requested, or None.
        set_aside: metrics of former settings and their cache keys, by metric and settings.
        remarks: the user's marks and notes.
        writing: how the model writes its answer; None for a given one, and once it is measured
            further.
        saved_run: the run in the saved session that it comes from, or None.
        keys: cache keys of the parts of the result, as in `SavedRun`.
        recalled: names of slower metrics that were not requested in this session: those from the
            cache, and those that began by themselves.
        lens_time_left: how long the lens still takes, while it is computed after the last layer.
    """

    number: int
    engine_id: int
    model: ModelInfo
    prompt: Prompt
    settings: RunSettings
    started: datetime
    result: RunResult | None = None
    state: RunState = RunState.WAITING
    seconds: float = 0.0
    reported_at: float = field(default_factory=time.monotonic)
    halted_at: int = -1
    problem: str = ""
    work: Work | None = None
    former_result: RunResult | None = None
    set_aside: dict[tuple[object, ...], tuple[MetricResult, str]] = field(default_factory=dict)
    remarks: Remarks = field(default_factory=Remarks)
    lens_time_left: TimeLeft | None = None
    writing: Writing | None = None
    saved_run: SavedRun | None = None
    keys: dict[str, str] = field(default_factory=dict)
    recalled: tuple[str, ...] = ()

    @property
    def origin(self) -> str:
        """Where a finished result is from: `computed`, `cached` or `shipped`; else empty."""
        if self.state is not RunState.FINISHED:
            return ""
        if self.keys.get(PASS) == shipped_key(PASS):
            return SHIPPED
        provenance = self.result.provenance if self.result else None
        return "cached" if provenance is not None and provenance.cached else "computed"

    def reported(self, result: RunResult) -> RunResult:
        """A result of the run for a report: with the user's remarks, and the run's number."""
        return replace(result, remarks=self.remarks, number=self.number)

    @property
    def is_being_written(self) -> bool:
        """Whether the model still writes its answer."""
        is_answered = self.writing is None or self.prompt.written is not None
        return self.state.is_live and not is_answered and not self.layers_done

    @property
    def n_written(self) -> int:
        """The number of tokens that the model has written so far."""
        return 0 if self.result is None else len(self.result.tokens) - self.result.answer_start

    @property
    def layers_done(self) -> int:
        """How many layers have run."""
        return self.result.layers_done if self.result else 0

    def answers(
        self,
        model: ModelInfo,
        prompt: Prompt,
        settings: RunSettings,
        write: Writing | None = None,
    ) -> bool:
        """Whether this is the finished run of this model, prompt and settings but for metrics.

        With `write`, the prompt is a question, and its answer is written so.
        """
        written, own_prompt = self.prompt.written, self.prompt
        if write is not None:
            if written is None or written.writing != write:
                return False
            own_prompt = self.prompt.unanswered
        own = (self.model, own_prompt, replace(self.settings, metrics=settings.metrics))
        has_all = set(settings.metrics) <= set(self.settings.metrics)
        return self.state is RunState.FINISHED and has_all and own == (model, prompt, settings)

    def changed_by(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """The changes that differ from the run's settings."""
        return {
            name: value for name, value in changes.items() if getattr(self.settings, name) != value
        }

    def to_compute(
        self, names: Sequence[str], changes: Mapping[str, Any] | None = None
    ) -> tuple[list[str], str]:
        """The metrics among these that can be requested, or else why none can; untrusted text.

        Both are empty where nothing is missing.

        Metrics that were stopped half-way are requested again, as are those that failed and those
        computed with settings that `changes` would change.
        """
        result = self.result
        unavailable = result.unavailable if result else {}
        failed = result.failed if result else ()
        changed = {metric.name for metric in depending_on(*self.changed_by(changes or {}))}
        missing = [
            name
            for name in names
            if result is None or not result.has_all(name) or name in failed or name in changed
        ]
        requested = [name for name in missing if name not in unavailable or name in failed]
        if not requested and self.state is RunState.STOPPED:
            requested = [name for name in names if METRIC_BY_NAME[name].on_demand]
        if requested:
            return requested, ""
        if missing:
            metric = METRIC_BY_NAME[missing[0]]
            reason = unavailable[metric.name]
            words = f"{metric.title} is unavailable: {reason}.", key_that_helps(metric, reason)
            return [], " ".join(filter(None, words))
        return [], ""


@dataclass
class Session:
    """Every run since the explorer was started, of any model.

    Attributes:
        runs: the runs with something to show, oldest first, and the live one.
        current: the run on the screen.
        marked: the run to compare with the current one.
        asides: live runs that are not listed, such as what-ifs; whoever starts one keeps it.
    """

    runs: list[SessionRun] = field(default_factory=list)
    current: SessionRun | None = None
    marked: SessionRun | None = None
    asides: list[SessionRun] = field(default_factory=list)
    _last_number: int = 0
    _last_id: int = 0

    @property
    def live(self) -> SessionRun | None:
        """The run that the engine works on or will next."""
        live = (run for run in [*self.runs, *self.asides] if run.state.is_live)
        return max(live, key=lambda run: run.engine_id, default=None)

    def start(
        self,
        model: ModelInfo,
        prompt: Prompt,
        settings: RunSettings,
        writing: Writing | None = None,
    ) -> SessionRun:
        """Add a run; it becomes current once it has tokens to show."""
        self._last_number += 1
        run = SessionRun(self._last_number, self.next_id(), model, prompt, settings, datetime.now())
        run.writing = writing
        self.runs.append(run)
        return run

    def start_aside(self, model: ModelInfo, prompt: Prompt, settings: RunSettings) -> SessionRun:
        """Add a run that is neither listed nor shown."""
        run = SessionRun(0, self.next_id(), model, prompt, settings, datetime.now())
        self.asides.append(run)
        return run

    def begin(self, saved_runs: Sequence[SavedRun]) -> list[SessionRun]:
        """Replace the runs by those of a saved session, not opened yet.

        A run of both sessions stays as it is.
        """
        former_runs, self.runs = self.runs, []
        self.current, self.marked, self._last_number = None, None, 0
        return [self._add_saved(run, former_runs) for run in saved_runs]

    def _add_saved(self, saved_run: SavedRun, former_runs: Sequence[SessionRun]) -> SessionRun:
        metrics = tuple(name for name in saved_run.settings.metrics if name in METRIC_BY_NAME)
        run = self.start(
            saved_run.model, saved_run.prompt, replace(saved_run.settings, metrics=metrics)
        )
        run.state, run.saved_run = RunState.UNOPENED, saved_run
        run.started, run.remarks = datetime.fromisoformat(saved_run.started), saved_run.remarks
        same = (
            other for other in former_runs if other.answers(run.model, run.prompt, run.settings)
        )
        if (opened := next(same, None)) is not None and opened.result is not None:
            self.open_run(run, opened.result)
            run.keys = opened.keys or run.keys
        return run

    def open_run(self, run: SessionRun, result: RunResult) -> None:
        """Set the result of a saved session's run."""
        run.result, run.settings, run.state = result, result.settings, RunState.FINISHED
        run.keys = run.saved_run.keys if run.saved_run is not None else {}
        if result.provenance is not None:
            run.seconds = result.provenance.seconds

    def adopt(self, model: ModelInfo) -> None:
        """Make runs of the same weights, dtype and device runs of this loaded model."""
        for run in self.runs:
            if run.model != model and run.model.is_same_as(model):
                run.model = model
                if run.result is not None:
                    run.result.model = model

    def recall(self, run: SessionRun, model: ModelInfo) -> None:
        """Prepare a saved session's run to be computed, with its model as it is loaded now."""
        run.engine_id, run.model, run.state = self.next_id(), model, RunState.WAITING
        run.reported_at = time.monotonic()
        # Slower metrics come from the cache, or are requested again.
        metrics = tuple(name for name in run.settings.metrics if name in OF_THE_PASS)
        run.settings = replace(run.settings, metrics=metrics)

    def extend(self, run: SessionRun, settings: RunSettings) -> None:
        """Request more metrics of a run: its rows stay, events of its former work are ignored."""
        run.engine_id, run.settings, run.former_result = self.next_id(), settings, run.result
        run.writing = None
        run.state, run.halted_at, run.work, run.problem = RunState.WAITING, -1, None, ""
        run.seconds, run.reported_at = 0.0, time.monotonic()
        if run.result is not None:
            run.result = replace(run.result, settings=settings)
            # A failed metric is tried again: until then it is not marked as unavailable.
            retried = set(run.result.failed) & set(settings.metrics)
            unavailable = without(run.result.unavailable, retried)
            run.result = replace(run.result, unavailable=unavailable, failed=())

    def withdraw(self, run: SessionRun) -> None:
        """Cancel at once the further metrics requested of a run; it is as it was before."""
        run.engine_id = self.next_id()
        self._end(run, RunState.STOPPED, "")

    def keep(self, run: SessionRun) -> SessionRun:
        """List a finished run that was started aside; returns the same run if already listed."""
        for other in self.runs:
            if other.answers(run.model, run.prompt, run.settings):
                return other
        self._last_number += 1
        run.number = self._last_number
        self.runs.append(run)
        return run

    def clean_of(self, run: SessionRun) -> SessionRun | None:
        """The run with every layer on for a run that skips some; None where it is gone."""
        if run.settings.is_clean:
            return run
        clean = (run.model, run.prompt, run.settings.chat_template, True)
        for other in self.runs:
            settings = other.settings
            candidate = (other.model, other.prompt, settings.chat_template, settings.is_clean)
            if candidate == clean and other.layers_done == other.model.n_layers:
                return other
        return None

    def mark_answer(self, run: SessionRun, start: int) -> None:
        """Set the token at which the answer begins, or -1 for the prompt's own answer.

        Metrics computed for another answer are dropped.
        """
        self._change(run, answer_start=start)

    def choose(self, run: SessionRun, **settings: Any) -> None:
        """Change the settings of slower metrics.

        Computed metrics are set aside, and come back when their settings are chosen again.
        """
        former, aside = run.settings, run.set_aside
        settings = run.changed_by(settings)
        measured = run.result.measured if run.result is not None else {}
        changed = depending_on(*settings)
        for metric in changed:
            if metric.name in measured:
                value, key = measured[metric.name], run.keys.get(metric.name, "")
                aside[metric.name, *metric.variant(former)] = value, key
        self._change(run, **settings)
        for metric in changed:
            back = aside.pop((metric.name, *metric.variant(run.settings)), None)
            if back is not None and run.result is not None:
                value, key = back
                run.settings = replace(run.settings, metrics=(*run.settings.metrics, metric.name))
                run.keys = {**run.keys, metric.name: key}
                run.result.put(metric.name, value)
                run.result.settings = run.settings

    def _change(self, run: SessionRun, **settings: Any) -> None:
        """Change settings of a run, and drop the metrics that depend on these."""
        changed = {metric.name for metric in depending_on(*settings)}
        metrics = tuple(name for name in run.settings.metrics if name not in changed)
        run.settings = replace(run.settings, metrics=metrics, **settings)
        run.keys = without(run.keys, changed)
        if run.result is not None:
            run.result = replace(run.result, settings=run.settings)
            run.result.drop(changed)

    def next_id(self) -> int:
        """A new id for the engine's next work."""
        self._last_id += 1
        return self._last_id

    def apply(self, event: Event) -> SessionRun | None:
        """Update a run with an event; returns the run, or None for an event of no run here."""
        run = self.find(getattr(event, "run_id", -1))
        if run is None:
            return None
        match event:
            case RunStarted(tokens=tokens):
                run.state, run.reported_at = RunState.RUNNING, time.monotonic()
                if run.result is None:
                    run.result = empty_result(run.model, run.prompt, run.settings, tokens)
                    self._show(run)
            case TokensWritten(seconds=seconds, stopped_by=stopped_by):
                text = self._result_at(run, seconds)
                _write_on(text, event)
                if stopped_by and run.writing is not None:
                    text.end_writing(run.writing, stopped_by)
                    run.prompt = text.prompt
            case Rows(metric=metric, first=first, rows=rows, seconds=seconds):
                result = self._result_at(run, seconds)
                result.measured[metric].put(first, rows, event.from_token)
                result.layers_done = max(result.layers_done, event.layers_done)
                if metric == logit_lens.METRIC.name and result.layers_done == run.model.n_layers:
                    run.work = _lens_work(run, event)
            case MetricRows(metric=metric, value=value, seconds=seconds):
                result_so_far = self._result_at(run, seconds)
                if value is not None:
                    result_so_far.put(metric, value)
                run.work = Work(metric, event.done, event.total, event.seconds_left)
            case Halted(layer=layer):
                run.state, run.halted_at = RunState.HALTED, layer
            case RunFinished(result=result, keys=keys):
                run.keys = {**run.keys, **keys}
                self._finish(run, result)
            case Failed(message=message):
                self._end(run, RunState.FAILED, message)
        return run

    def run_of(self, result: RunResult | None) -> SessionRun | None:
        """The run with this result."""
        if result is None:
            return None
        return next((run for run in [*self.runs, *self.asides] if run.result is result), None)

    def find(self, engine_id: int) -> SessionRun | None:
        """The run that the engine knows by this id, or None."""
        runs = [*self.runs, *self.asides]
        return next((run for run in runs if run.engine_id == engine_id), None)

    def resume(self, run: SessionRun) -> None:
        """Mark a halted run as continued."""
        if run.state is RunState.HALTED:
            run.state, run.halted_at = RunState.RUNNING, -1
            run.reported_at = time.monotonic()

    def engine_died(self, reason: str) -> None:
        """End the live runs; their results so far stay."""
        for run in [run for run in [*self.runs, *self.asides] if run.state.is_live]:
            self._end(run, RunState.STOPPED, reason)

    def select(self, run: SessionRun) -> None:
        """Show a run."""
        self.current = run
        if self.marked is run:
            self.marked = None

    def mark(self, run: SessionRun) -> None:
        """Choose the run to compare with, or undo the choice."""
        self.marked = None if self.marked is run else run

    def delete(self, run: SessionRun) -> None:
        """Forget a run; its neighbour is shown in its place."""
        index = self.runs.index(run)
        self.runs.remove(run)
        if self.marked is run:
            self.marked = None
        if self.current is run:
            remaining = list(self.runs_with_result())
            self.current = remaining[min(index, len(remaining) - 1)] if remaining else None
            if self.marked is self.current:
                self.marked = None

    def neighbour_of(self, run: SessionRun | None) -> SessionRun | None:
        """The run before this one, or the one after where this is the first."""
        others = [other for other in self.runs_with_result() if other is not run]
        earlier = [other for other in others if run is not None and other.number < run.number]
        return earlier[-1] if earlier else others[0] if others else None

    def runs_with_result(self) -> Iterator[SessionRun]:
        """The runs that have a result, oldest first."""
        return (run for run in self.runs if run.result is not None)

    def listed(self) -> Iterator[SessionRun]:
        """The runs that can be shown, at once or once they are opened; oldest first."""
        return (
            run for run in self.runs if run.result is not None or run.state is RunState.UNOPENED
        )

    @property
    def results(self) -> list[RunResult]:
        """The results of the session's runs, oldest first."""
        return [run.result for run in self.runs if run.result is not None]

    def with_remarks(self, results: Sequence[RunResult]) -> list[RunResult]:
        """The results as in reports, where they are of runs of the session."""
        runs = {id(run.result): run for run in self.runs}
        return [
            run.reported(result) if (run := runs.get(id(result))) else result for result in results
        ]

    def _result_at(self, run: SessionRun, seconds: float) -> RunResult:
        assert run.result is not None, "rows of a run that has not started"
        run.seconds, run.reported_at = seconds, time.monotonic()
        return run.result

    def _finish(self, run: SessionRun, result: RunResult) -> None:
        if run.result is None:
            self._show(run)
        stopped = not result.complete and run.former_result is not None
        run.result = _with_added_metrics(run.result, result) if stopped and run.result else result
        run.prompt = run.result.prompt
        run.state = RunState.FINISHED if run.result.complete else RunState.STOPPED
        more = [name for name in result.settings.metrics if name not in run.settings.metrics]
        run.recalled = (*run.recalled, *more)
        # What is recalled may have been computed with other settings than were requested.
        run.settings = replace(result.settings, metrics=(*run.settings.metrics, *more))
        if stopped:
            _cancel_requests(run)
        if run.state is RunState.STOPPED and run.halted_at >= 0:
            self._leave_steps(run)
        run.halted_at, run.work, run.former_result, run.lens_time_left = -1, None, None, None
        self._forget_aside(run)
        if result.provenance is not None:
            run.seconds = result.provenance.seconds

    def _leave_steps(self, run: SessionRun) -> None:
        """Show the whole run again in place of the one that was stepped through and stopped."""
        for other in self.runs:
            if other.answers(run.model, run.prompt, run.settings):
                self.delete(run)
                self.select(other)
                return

    def _end(self, run: SessionRun, state: RunState, problem: str) -> None:
        if run.former_result is not None and run.former_result.complete:
            # The result before the request is still complete.
            state = RunState.FINISHED
            _cancel_requests(run)
        if run.writing is not None and run.result is not None and not run.prompt.written:
            run.result.end_writing(run.writing, "user")
            run.prompt = run.result.prompt
        run.state, run.problem, run.halted_at = state, problem, -1
        run.work, run.former_result = None, None
        if run.result is None and run.saved_run is not None:
            run.state = RunState.UNOPENED
        elif run.result is None and run in self.runs:
            self.runs.remove(run)
        self._forget_aside(run)

    def _show(self, run: SessionRun) -> None:
        if run in self.runs:
            self.current = run

    def _forget_aside(self, run: SessionRun) -> None:
        if run in self.asides:
            self.asides.remove(run)


def _write_on(result: RunResult, event: TokensWritten) -> None:
    """Append tokens to a result, which stays as it is where they do not fit.

    Raises:
        CodecError, ValueError: they do not fit.
    """
    text = replace(result)
    text.write_on(event.ids, event.texts, event.readings)
    check_declared(text.tokens)
    check_sizes(text)
    result.tokens, result.measured = text.tokens, text.measured


def _lens_work(run: SessionRun, rows: Rows) -> Work:
    """The progress of the lens: one part of the prompt after another, each from the output down."""
    assert run.result is not None
    depths, tokens = run.model.n_layers + 1, len(run.result.tokens)
    n_part = next(values.shape[1] for _, values in arrays_of(rows.rows))
    done_depths = 1 if rows.first == depths - 1 else min(1 + rows.stop, depths)
    done, total = rows.from_token * depths + n_part * done_depths, depths * tokens
    if run.lens_time_left is None:
        run.lens_time_left = TimeLeft(rows.seconds, None)
    return Work(rows.metric, done, total, run.lens_time_left.at(rows.seconds, done / total))


def _cancel_requests(run: SessionRun) -> None:
    """Cancel the requested metrics that a run has no values of."""
    result = run.result
    assert result is not None
    metrics = tuple(
        name
        for name in run.settings.metrics
        if not METRIC_BY_NAME[name].on_demand
        or name in result.measured
        or name in result.unavailable
    )
    run.settings = replace(run.settings, metrics=metrics)
    run.result = replace(result, settings=run.settings)


def _with_added_metrics(former: RunResult, stopped: RunResult) -> RunResult:
    """A result with the slower metrics that were partly computed when stopped."""
    on_demand = {metric.name for metric in ON_DEMAND}
    later = {name: value for name, value in stopped.measured.items() if name in on_demand}
    unavailable = former.unavailable | stopped.unavailable
    failed = tuple(dict.fromkeys((*former.failed, *stopped.failed)))
    measured = {**former.measured, **later}
    return replace(former, measured=measured, unavailable=unavailable, failed=failed)
