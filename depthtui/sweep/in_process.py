"""A sweep in this process: one model in memory at a time, each prompt kept when it is done."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from depthtui.data.protocol import Event
from depthtui.data.run_settings import ModelSpec
from depthtui.errors import DepthError
from depthtui.models.adapter_files import adapter_on_disk
from depthtui.models.catalog import configured_work, resolve
from depthtui.settings import datasets_dir
from depthtui.sweep.disk_fingerprint import fingerprint_on_disk
from depthtui.sweep.folder import Failure, Notify, SweepFolder, model_title
from depthtui.sweep.plan import Cell, SweepPlan
from depthtui.sweep.records import Record
from depthtui.sweep.state import Outcome, Shard, SweepState
from depthtui.sweep.work import Item, SweepEngine, TokenCounts, run_cell

MakeEngine = Callable[[Callable[[Event], None]], SweepEngine]
"""Makes an engine that emits its events to a function."""

OnBug = Callable[[Exception], str]
"""Keeps the details of an unexpected failure, and returns it in words."""


class Watcher(Protocol):
    """Receives a sweep's progress."""

    def emit(self, event: Event) -> None:
        """Receive an event of the engine."""

    def sweep_begins(self, state: SweepState) -> None:
        """Existing records have been found; the other prompts begin."""

    def prompt_begins(self, item: Item) -> None:
        """The engine's next events are of this prompt."""

    def prompt_ends(self, cell: Cell, record: Record | None, seconds: float) -> None:
        """A prompt was run, or failed; the record is None where it failed."""

    def cell_ends(self, cell: Cell) -> None:
        """A cell has ended."""


def run_sweep(
    plan: SweepPlan,
    folder: SweepFolder,
    make_engine: MakeEngine,
    models_dir: Path,
    watcher: Watcher,
    notify: Notify,
    on_bug: OnBug,
    shard: Shard | None = None,
) -> Outcome:
    """Run the missing prompts; keep each failure, and continue with the others.

    Args:
        plan: the plan to run.
        folder: folder of the records.
        make_engine: called once, where a model has to be loaded.
        models_dir: folder of converted models.
        watcher: sees the progress.
        notify: gets messages for people, a failure at once.
        on_bug: keeps the details of an unexpected failure, and returns it in words.
        shard: which part of the plan to run; None for all of it.

    Raises:
        DepthError: a task's prompts cannot be read, or the folder cannot be written or holds files
            of others.
    """
    folder.claim()
    datasets = datasets_dir(models_dir.parent)
    state = SweepState(plan, folder, notify, shard or Shard(), datasets)
    return _Sweep(state, make_engine, models_dir, watcher, on_bug).run()


def find_on_disk(
    state: SweepState, model: ModelSpec, models_dir: Path, emit: Callable[[Event], None]
) -> str:
    """Find a model's records without loading it; returns why it cannot be loaded, or an empty text.

    A wrong name is thus reported before other models run for hours.
    """
    # A new folder has no records to compare with, and a fingerprint may read all weights once.
    is_new = not os.path.exists(state.folder.path)
    fingerprint = None if is_new else fingerprint_on_disk(model, models_dir, emit)
    if not state.find_records(model, _counts(state, model, fingerprint), fingerprint):
        return ""
    try:
        resolve(model, models_dir)
        if model.adapter:
            adapter_on_disk(model.adapter)
    except DepthError as error:
        return str(error)
    state.work[model] = configured_work(model, models_dir)
    return ""


def fail_model(state: SweepState, watcher: Watcher, model: ModelSpec, problem: str) -> None:
    """Keep one failure for a model that cannot be loaded, and close all its cells.

    Raises:
        DepthError: the folder cannot be written.
    """
    failure = Failure(model_title(model), "", None, problem)
    if failure not in state.folder.failures:
        state.fail(failure)
    for cell in [cell for cell in state.missing_items if cell.model == model]:
        del state.missing_items[cell]
        watcher.cell_ends(cell)


def _counts(
    state: SweepState, model: ModelSpec, fingerprint: str | None, engine: SweepEngine | None = None
) -> TokenCounts:
    counts = state.folder.token_counts(model, fingerprint)
    return TokenCounts(counts, state.plan.run.chat_template, engine)


@dataclass(eq=False)
class _Sweep:
    state: SweepState
    make_engine: MakeEngine
    models_dir: Path
    watcher: Watcher
    on_bug: OnBug
    _engine: SweepEngine | None = field(default=None, init=False)

    def run(self) -> Outcome:
        self.state.folder.save_failures([])
        models = self.state.plan.models
        for model in models:
            problem = find_on_disk(self.state, model, self.models_dir, self.watcher.emit)
            if problem:
                fail_model(self.state, self.watcher, model, problem)
        self.watcher.sweep_begins(self.state)
        try:
            for model in models:
                if any(cell.model == model for cell in self.state.missing_items):
                    self._run_model(model)
        except KeyboardInterrupt:
            self.state.outcome()
            raise
        return self.state.outcome()

    def _run_model(self, model: ModelSpec) -> None:
        try:
            engine = self._engine = self._engine or self.make_engine(self.watcher.emit)
            info = engine.load(model)
        except DepthError as error:
            fail_model(self.state, self.watcher, model, str(error))
            return
        except Exception as error:
            fail_model(self.state, self.watcher, model, self.on_bug(error))
            return
        state = self.state
        counts = _counts(state, model, info.fingerprint, engine)
        n_known = len(counts.lengths)
        for cell in state.find_records(model, counts, info.fingerprint):
            self._run_cell(engine, cell, counts)
        if len(counts.lengths) > n_known:
            state.folder.save_token_counts(model, info.fingerprint, counts.lengths)

    def _run_cell(self, engine: SweepEngine, cell: Cell, counts: TokenCounts) -> None:
        state = self.state
        candidates, settings = state.candidates[cell.task.unwritten], state.plan.run
        began = time.perf_counter()
        for step in run_cell(
            engine, cell, settings, candidates, counts, state.is_missing, self.on_bug
        ):
            if isinstance(step, Item):
                self.watcher.prompt_begins(step)
                began = time.perf_counter()
                continue
            record = step if isinstance(step, Record) else None
            if record is not None:
                state.save(cell, record)
            elif isinstance(step, Failure):
                state.fail(step)
            self.watcher.prompt_ends(cell, record, time.perf_counter() - began)
        self.watcher.cell_ends(cell)
