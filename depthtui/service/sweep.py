"""A sweep in the engine process, which sends its progress as events to the explorer."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from depthtui.data import protocol
from depthtui.data.model import ModelInfo
from depthtui.data.protocol import (
    Event,
    PromptDone,
    PromptFailed,
    StartSweep,
    SweepFinished,
    SweepProgress,
)
from depthtui.data.run import Prompt, RunResult
from depthtui.data.run_settings import ModelSpec, RunSettings, Writing
from depthtui.engine.control import Control
from depthtui.errors import DepthError, RunStopped
from depthtui.report.progress import EngineProgress
from depthtui.service.bugs import met_an_error
from depthtui.sweep.eta import Waiting
from depthtui.sweep.folder import Failure, SweepFolder, model_title
from depthtui.sweep.in_process import run_sweep
from depthtui.sweep.plan import Cell
from depthtui.sweep.records import Record, record_bytes
from depthtui.sweep.saved import plan_from_text
from depthtui.sweep.state import SweepState
from depthtui.sweep.work import Item

_OFTEN = 0.1
"""Seconds between two progress events of one prompt."""


class SteeredEngine(Protocol):
    """The part of `engine.Engine` that a sweep needs in order to be stopped."""

    activation_limit: int

    @property
    def model(self) -> ModelInfo | None:
        """The loaded model."""

    def load(self, spec: ModelSpec, control: Control | None = None) -> ModelInfo:
        """Load a model in place of the loaded one."""

    def count_tokens(self, prompt: Prompt, chat_template: bool = False) -> int:
        """The number of tokens of a prompt for the loaded model."""

    def run(
        self,
        prompt: Prompt,
        settings: RunSettings,
        control: Control | None = None,
        *,
        write: Writing | None = None,
    ) -> RunResult:
        """Run a prompt through the loaded model, which may write the answer first."""


class SweepService:
    """Runs one sweep for the explorer.

    Args:
        command: the sweep.
        engine: runs the sweep; its events must go to `emit`.
        control: stops the sweep.
        send: sends events to the explorer.
        models_dir: the folder of converted models.
    """

    def __init__(
        self,
        command: StartSweep,
        engine: SteeredEngine,
        control: Control,
        send: Callable[[Event], None],
        models_dir: Path,
    ) -> None:
        self._id = command.sweep_id
        self._plan = plan_from_text(command.plan)
        self._folder = SweepFolder(Path(command.folder), self._notify)
        self._engine = engine
        self._engine_progress = EngineProgress(engine.model.n_layers if engine.model else 0)
        self._engine_progress.has_time_left = False
        self._control = control
        self._send = send
        self._models_dir = models_dir
        self._state: SweepState | None = None
        self._waiting = Waiting()
        self._n_failures = 0
        self._prompt = ""
        self._spoke = 0.0

    def serve(self) -> None:
        """Run the sweep, and send how it ended."""
        stopped, problem = False, ""
        activation_limit, self._engine.activation_limit = self._engine.activation_limit, 0
        # A sweep reads each prompt once: its activations would only push others out.
        try:
            self._progress("Looking at what is there")
            run_sweep(
                self._plan,
                self._folder,
                lambda emit: _Stoppable(self._engine, self._control),
                self._models_dir,
                self,
                self._notify,
                _bug,
            )
        except KeyboardInterrupt:
            stopped = True
        except DepthError as error:
            problem = str(error)
        finally:
            self._engine.activation_limit = activation_limit
        self._emit_failures()
        self._send(SweepFinished(self._id, stopped, self._engine.model, problem))

    # Events of the sweep ----------------------------------------------------

    def emit(self, event: Event) -> None:
        """Pass on the engine's messages and progress."""
        if self._state is None:
            _end_if_stopped(
                self._control
            )  # weights are read; later on the engine itself checks the control
        if isinstance(event, protocol.Notice | protocol.Memory):
            self._send(event)
        self._waiting.clock(event, time.monotonic())
        progress = self._engine_progress.of(event)
        if progress is None:
            return
        if progress.stage:
            self._progress(
                f"{progress.stage} {progress.amount}".rstrip(), at_once=not progress.done
            )
        else:
            self._progress(f"{self._prompt} · {progress.amount}", at_once=False)

    def sweep_begins(self, state: SweepState) -> None:
        """Send the records that exist already."""
        self._state, self._waiting = state, Waiting(state.waiting, state.work)
        for cell, records in state.outcome().records.items():
            for record in records:
                self._send_record(cell, record)
        self._emit_failures()
        self._progress("")

    def prompt_begins(self, item: Item) -> None:
        """Send the prompt that begins."""
        _end_if_stopped(self._control)
        self._waiting.prompt_begins()
        cell = item.cell
        self._prompt = f"{model_title(cell.model)} · {cell.task.title} · prompt {item.number + 1}"
        self._progress(self._prompt)

    def prompt_ends(self, cell: Cell, record: Record | None, seconds: float) -> None:
        """Send the record, or the reason why there is none."""
        self._waiting.prompt_ends(cell, record, seconds)
        if record is not None:
            self._send_record(cell, record)
        self._emit_failures()
        self._progress(self._prompt)

    def cell_ends(self, cell: Cell) -> None:
        """Write the results so far: a sweep may be killed at any time."""
        self._waiting.cell_ends(cell)
        if self._state is not None:
            self._state.outcome()
        self._emit_failures()

    def _progress(self, now: str, at_once: bool = True) -> None:
        moment = time.monotonic()
        if not at_once and moment - self._spoke < _OFTEN:
            return
        self._spoke = moment
        done_cells = self._state.n_done if self._state is not None else 0
        seconds_left = self._waiting.seconds
        seconds = -1.0 if seconds_left is None else seconds_left
        self._send(
            SweepProgress(self._id, done_cells, done_cells + len(self._waiting), seconds, now)
        )

    def _send_record(self, cell: Cell, record: Record) -> None:
        place = self._plan.cells.index(cell)
        self._send(PromptDone(self._id, place, record_bytes(record).decode()))

    def _emit_failures(self) -> None:
        failures = self._folder.failures
        for failure in failures[self._n_failures :]:
            self._send(
                PromptFailed(self._id, failure.model, failure.task, failure.prompt, failure.message)
            )
        self._n_failures = len(failures)

    def _notify(self, message: str) -> None:
        failures: list[Failure] = self._folder.failures
        if not failures or message != str(failures[-1]):
            self._send(protocol.Notice(message))


class _Stoppable:
    """An engine that ends the sweep like ctrl+c when the user stops it."""

    def __init__(self, engine: SteeredEngine, control: Control) -> None:
        self._engine = engine
        self._control = control

    def load(self, spec: ModelSpec) -> ModelInfo:
        loaded = self._engine.model
        if loaded is not None and loaded.spec == spec:
            return loaded
        try:
            return self._engine.load(spec, self._control)
        except RunStopped:
            raise KeyboardInterrupt from None

    def count_tokens(self, prompt: Prompt, chat_template: bool = False) -> int:
        return self._engine.count_tokens(prompt, chat_template)

    def run(
        self, prompt: Prompt, settings: RunSettings, *, write: Writing | None = None
    ) -> RunResult:
        result = self._engine.run(prompt, settings, self._control, write=write)
        if not result.complete:
            # A text that is too long for the memory is not complete either.
            _end_if_stopped(self._control)
        return result


def _end_if_stopped(control: Control) -> None:
    """Raise KeyboardInterrupt where the user has stopped the sweep."""
    try:
        control.checkpoint()
    except RunStopped:
        raise KeyboardInterrupt from None


def _bug(error: Exception) -> str:
    return " ".join(met_an_error(error))
