"""A sweep with the records received so far: its plan, its records, its progress."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from depthtui.data.lens_view import LENS_METRICS
from depthtui.data.protocol import (
    Event,
    PromptDone,
    PromptFailed,
    SweepFinished,
    SweepProgress,
)
from depthtui.data.run import Prompt
from depthtui.data.run_settings import LENSES, ModelSpec, RunSettings, SummarySettings
from depthtui.depth import rules
from depthtui.errors import DepthError
from depthtui.metrics.registry import ALL
from depthtui.prompts.tasks import TASKS
from depthtui.sweep.folder import Failure, SweepFolder, model_title
from depthtui.sweep.plan import Cell, SweepPlan, TaskChoice
from depthtui.sweep.records import Record, read_record, record_of
from depthtui.sweep.state import Outcome
from depthtui.tui.state.reading_choices import ReadingChoices
from depthtui.tui.state.session import Session, SessionRun
from depthtui.tui.state.toast import Toast

Stage: TypeAlias = Literal["opened", "running", "stopped", "done", "failed"]

_KEY = re.compile("[0-9a-f]{16,64}")
"""The pattern of a record's key, which is in the name of its file."""

OWN_PROMPTS = "own prompts"
"""The name of a session's prompts that belong to no task."""


class Sweeping:
    """A sweep and its progress.

    Args:
        plan: the prompts to run.
        folder: the folder of its records; None for the runs of a session.
        sweep_id: the engine's id of the sweep; 0 for one that it does not run.
        saves: whether records are written into the folder here, as for an engine elsewhere.

    Raises:
        DepthError: the folder cannot be written.

    Attributes:
        stage: its progress.
        records: the records of each cell, by the number of the prompt.
        failures: the work that failed, and why.
        n_done, n_prompts: numbers of prompts that ran, and of all.
        seconds_left: negative where unknown.
        now: the current activity.
        problem: why it could not continue; may be empty.
        version: raised with every change.
        reading: changes how its depths are read.
    """

    def __init__(
        self, plan: SweepPlan, folder: Path | None, sweep_id: int = 0, saves: bool = False
    ) -> None:
        self.plan = plan
        self.folder = folder
        self.sweep_id = sweep_id
        self.stage: Stage = "running" if sweep_id else "opened"
        self.records: dict[Cell, dict[int, Record]] = {cell: {} for cell in plan.cells}
        self.failures: list[Failure] = []
        self.n_prompts = sum(cell.task.examples for cell in plan.cells)
        self.n_done = 0
        self.seconds_left = -1.0
        self.now = ""
        self.problem = ""
        self.version = 0
        self.reading = ReadingChoices(self)
        self._sweep_folder: SweepFolder | None = None
        if saves and folder is not None:
            self._sweep_folder = SweepFolder(folder, lambda notice: None)
            self._sweep_folder.claim()

    @classmethod
    def opened(cls, outcome: Outcome, folder: Path | None) -> Sweeping:
        """A sweep that was run before."""
        sweep = cls(outcome.plan, folder)
        for cell, records in outcome.records.items():
            sweep.records[cell] = {record.number: record for record in records}
        sweep.failures = list(outcome.failures)
        sweep.n_done = sum(map(len, sweep.records.values()))
        return sweep

    @property
    def is_live(self) -> bool:
        """Whether the engine works on the sweep."""
        return self.stage == "running"

    @property
    def is_session(self) -> bool:
        """Whether these are the runs of a session."""
        return self.folder is None

    @property
    def outcome(self) -> Outcome:
        """The sweep's records so far."""
        records = {
            cell: [by_number[number] for number in sorted(by_number)]
            for cell, by_number in self.records.items()
        }
        return Outcome(self.plan, records, list(self.failures))

    # Reading ------------------------------------------------------------------

    @property
    def settings(self) -> SummarySettings:
        """How the sweep's depths are read."""
        return self.plan.summary

    @settings.setter
    def settings(self, settings: SummarySettings) -> None:
        self.plan = replace(self.plan, summary=settings)
        self.version += 1

    def change(self, **changes: Any) -> None:
        """Change some settings of the reading."""
        self.settings = replace(self.settings, **changes)

    @property
    def _measured(self) -> set[str]:
        """The metrics that any of the sweep's prompts has."""
        every = (
            record.every for by_number in self.records.values() for record in by_number.values()
        )
        return {metric for reduced in every for metric in reduced}

    @property
    def lenses(self) -> tuple[str, ...]:
        """The lenses that read any of the sweep's prompts, and the chosen one."""
        measured, own_lens = self._measured, self.settings.lens
        return tuple(x for x in LENSES if x == own_lens or LENS_METRICS[x] in measured)

    @property
    def why_fixed(self) -> dict[str, str]:
        """Why the threshold of a rule changes nothing, by its option."""
        measured = self._measured
        curves = {name for metric in ALL if metric.name in measured for name in metric.curves}
        return {
            rule.threshold.option: "no prompt has its curve"
            for rule in rules.ALL
            if rule.threshold.option and rule.curve not in curves
        }

    def handle(self, event: Event) -> bool:
        """Update the sweep; returns whether the event was about it."""
        if not self.sweep_id or getattr(event, "sweep_id", -1) != self.sweep_id:
            return False
        match event:
            case SweepProgress(done=done, total=total):
                # The total is unknown before the engine has looked for prompts that are done.
                self.n_done, self.n_prompts = done, total or self.n_prompts
                self.seconds_left, self.now = event.seconds_left, event.now
            case PromptDone(cell=cell, record=text):
                self._add_record(self.plan.cells[cell], text)
            case PromptFailed():
                failure = Failure(event.model, event.task, event.prompt, event.message)
                self.failures.append(failure)
                self.version += 1
            case SweepFinished(stopped=stopped, problem=problem):
                self._finish("stopped" if stopped else "failed" if problem else "done", problem)
        return True

    def end(self, problem: str) -> None:
        """End the sweep; the records so far stay."""
        if self.is_live:
            self._finish("failed", problem)

    def end_toast(self, loaded: str) -> Toast:
        """A toast about the end; `loaded` is the name of a model that is still loaded, or empty."""
        if self.problem:
            return Toast(self.problem, "error", "The sweep did not run")
        words = f"{self.n_done} of {self.n_prompts} prompts are done."
        words += f" {loaded} is loaded now." if loaded else ""
        if self.stage == "stopped":
            return Toast(words, title="The sweep was stopped")
        n_failed = len(self.failures)
        if n_failed:
            return Toast(f"{words} {n_failed} failed.", "warning", "The sweep is done")
        return Toast(words, title="The sweep is done")

    def _finish(self, stage: Stage, problem: str) -> None:
        self.stage, self.now, self.seconds_left = stage, "", -1.0
        self.version += 1
        if self._sweep_folder is not None:
            self._in_folder(self._write_manifest, self._sweep_folder)
        self.problem = problem or self.problem

    def _add_record(self, cell: Cell, text: str) -> None:
        record = read_record(text.encode())
        self.records[cell][record.number] = record
        self.version += 1
        if self._sweep_folder is not None:
            self._in_folder(self._write_record, self._sweep_folder, cell, record)

    # Records of an engine elsewhere, written here ------------------------------

    def _in_folder(self, write: Callable[..., None], *arguments: Any) -> None:
        try:
            write(*arguments)
        except DepthError as error:
            # Records in memory can still be exported.
            self._sweep_folder, self.problem = None, f"Further records are not saved. {error}"

    def _write_record(self, folder: SweepFolder, cell: Cell, record: Record) -> None:
        if _KEY.fullmatch(record.key) is None:
            raise ValueError("a record's key would name another file")
        folder.save(cell, record)
        if len(self.records[cell]) == cell.task.examples:
            self._write_manifest(folder)

    def _write_manifest(self, folder: SweepFolder) -> None:
        folder.save_failures(self.failures)
        folder.write_manifest(self.plan, self.outcome.records)


def names_of(plan: SweepPlan, levels: bool = True) -> tuple[str, str]:
    """The models and the tasks of a plan, with their levels or without; untrusted."""
    models = ", ".join(model_title(model) for model in plan.models)
    tasks = dict.fromkeys(task.title if levels else task.name for task in plan.tasks)
    return models, ", ".join(tasks)


def sweep_of_session(session: Session, summary: SummarySettings) -> Sweeping | None:
    """The session's finished runs as a sweep of their models and tasks; None where it has none.

    Of runs of one prompt on one model, the latest counts; what-ifs are left out.
    """
    runs: dict[tuple[ModelSpec, Prompt], SessionRun] = {}
    for run in session.runs_with_result():
        if run.result is not None and run.result.complete and run.settings.is_clean:
            runs[run.model.spec, run.prompt] = run
    if not runs:
        return None
    by_cell: dict[tuple[ModelSpec, TaskChoice], list[SessionRun]] = {}
    for (spec, prompt), run in runs.items():
        level = prompt.level if prompt.task in TASKS else ""
        writing = None if prompt.written is None else prompt.written.writing
        task = TaskChoice(
            prompt.task or OWN_PROMPTS, level, write=writing, choices=bool(prompt.choices)
        )
        by_cell.setdefault((spec, task), []).append(run)
    counts: dict[TaskChoice, int] = {}
    for (_, task), cell_runs in by_cell.items():
        counts[task] = max(counts.get(task, 0), len(cell_runs))
    choices = {task: replace(task, examples=count) for task, count in counts.items()}
    models = tuple(dict.fromkeys(spec for spec, _ in by_cell))
    plan = SweepPlan(models, tuple(choices.values()), RunSettings(), summary)
    records: dict[Cell, list[Record]] = {}
    for (spec, task), cell_runs in by_cell.items():
        cell = Cell(spec, choices[task])
        results = [run.result for run in cell_runs if run.result is not None]
        records[cell] = [
            record_of(result, f"run {number}", cell, number)
            for number, result in enumerate(results)
        ]
    return Sweeping.opened(Outcome(plan, records, []), None)
