"""Engines without a process and without a model.

`FakeEngine` stands for the process that the explorer speaks to, `ScriptedEngine` for
`engine.Engine`, the object that the commands and sweeps call.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np

from depthtui.data import codec
from depthtui.data.arrays import MetricResult, arrays_of
from depthtui.data.model import ModelInfo, ModelListing
from depthtui.data.protocol import (
    Command,
    Configure,
    Continue,
    CountTokens,
    EngineReady,
    Event,
    Failed,
    FindModel,
    Halted,
    InspectLayer,
    LayerInspected,
    ListModels,
    LoadModel,
    Memory,
    MetricRows,
    ModelFound,
    ModelLoaded,
    ModelsListed,
    ModelWritten,
    Notice,
    Pace,
    Progress,
    Rows,
    RunFinished,
    RunStarted,
    StartRun,
    StartSweep,
    Step,
    Stop,
    SweepFinished,
    TokensCounted,
    WriteModel,
)
from depthtui.data.run import Prompt, RunResult
from depthtui.data.run_settings import ModelSpec, RunSettings, Writing
from depthtui.data.saved_session import PASS
from depthtui.data.store import Store, make_key, open_store
from depthtui.engine.control import Control
from depthtui.errors import DepthError
from depthtui.metrics.ablation import Ablation
from depthtui.metrics.contributions import Contributions
from depthtui.metrics.registry import METRIC_BY_NAME, OF_THE_PASS, empty_result
from depthtui.service.sweep import SweepService
from depthtui.service.worker import Worker
from depthtui.tui.messages import EngineDied, EngineEvent
from depthtui.tui.state.engine_connection import EngineDeath, Post
from tests.builders.inspections import inspection
from tests.builders.models import model_info
from tests.builders.results import full_result, tokens_of
from tests.builders.written import tokens_written, with_settling, written_prompt

if TYPE_CHECKING:
    import pytest

Load = Callable[[ModelSpec], Iterator[Event]]


MakeResult = Callable[[Prompt, ModelInfo, RunSettings], RunResult]


def loads(spec: ModelSpec) -> Iterator[Event]:
    """The events of a model that loads."""
    yield Progress("Loading weights", 1, 2, "tensors")
    yield ModelLoaded(model_info(spec))
    yield Memory(600_000_000, 8_000_000_000)


SECONDS_A_TOKEN = 0.001
"""The pace of `FakeEngine`."""


class FakeEngine:
    """Answers every command at once, on the app's own thread.

    Args:
        load: the events that answer `LoadModel`.
        manual: keep a run's events back until `advance` is called.
        cached: whether results claim to come from the cache.
        silent: take commands and say nothing.
        results: what makes a run's result; the run fails with what it raises.
        in_cache: slower metrics that the cache has of every run.
        saves: whether results go into the cache folder that the explorer names.

    Attributes:
        fails_at: the metric at which runs fail for want of memory; empty for none.
        hostile: whether texts that are generated are made of hostile tokens.
        sweep_halts_at: the run of a sweep, counted from 0, at which it waits for `Stop`; -1 for
            none.
        swept: the models and prompts that sweeps have run.
        listed: the models on its disk.
    """

    listed: tuple[ModelListing, ...] = (
        ModelListing("there/small", "small", "hub", 1 << 30, True, "on [/] \x1b[2J"),
    )
    fails_at = ""
    hostile = False
    sweep_halts_at = -1

    def __init__(
        self,
        load: Load = loads,
        manual: bool = False,
        cached: bool = False,
        silent: bool = False,
        results: MakeResult = full_result,
        in_cache: tuple[str, ...] = (),
        saves: bool = False,
    ) -> None:
        self.in_cache = in_cache
        self.saves = saves
        self._store: Store | None = None
        self.commands: list[Command] = []
        self.load = load
        self.manual = manual
        self.cached = cached
        self.silent = silent
        self.results = results
        self.killed = False
        self._post: Post | None = None
        self._model: ModelInfo | None = None
        self._pending: Iterator[Event] = iter(())
        self._partial: RunResult | None = None
        self._run_id = -1
        self._sweep_end: SweepFinished | None = None
        self.swept: list[tuple[str, str]] = []

    def start(self, post: Post) -> None:
        self._post = post

    def kill(self) -> None:
        self.killed = True

    def die(self, code: int = -9, last_line: str = "Out of memory") -> None:
        """End as a killed process would."""
        assert self._post is not None
        self._post(EngineDied(self, EngineDeath(code, last_line, "engine.log")))

    def say(self, *events: Event) -> None:
        """Send events up."""
        assert self._post is not None, "the engine was not started"
        for event in events:
            if isinstance(event, ModelLoaded):
                self._model = event.model
            self._post(EngineEvent(self, event))

    def sent(self, kind: type[Command]) -> list[Command]:
        """The commands of one kind, in order."""
        return [command for command in self.commands if isinstance(command, kind)]

    def send(self, command: Command) -> None:
        self.commands.append(command)
        if not self.silent:
            self._answer(command)

    def _answer(self, command: Command) -> None:
        match command:
            case Configure(cache_dir=cache_dir):
                if self.saves:
                    self._store = open_store(Path(cache_dir), 1 << 30, _refuse)
                self.say(EngineReady("2.13", "5.24"))
            case LoadModel(spec=spec):
                self.say(*self.load(spec))
            case StartRun():
                self._run_id = command.run_id
                self._pending = self._run(command)
                if not self.manual:
                    self.advance(until=Halted if command.step else None)
            case ListModels():
                self.say(ModelsListed(self.listed))
            case FindModel(spec=spec):
                names = [model.name for model in self.listed]
                self.say(ModelFound(spec, "" if spec.name in names else "It is not there [/]."))
            case InspectLayer():
                self.say(self._inspected(command))
            case CountTokens():
                prompt, wrapped = command.prompt, command.chat_template
                self.say(TokensCounted(prompt, wrapped, len(tokens_of(prompt)) or -1))
            case StartSweep():
                self._sweep(command)
            case WriteModel():
                self._pending = self._write(command)
                if not self.manual:
                    self.advance()
            case Step():
                self.advance(until=Halted)
            case Continue():
                self._pending = (event for event in self._pending if not isinstance(event, Halted))
                self.advance()
            case Stop():
                self._stop()

    def _inspected(self, command: InspectLayer) -> LayerInspected:
        assert self._model is not None
        texts = tuple(tokens_of(command.prompt).texts)
        page = inspection(
            command.layer, command.token, texts, n_layers=self._model.n_layers, lens=command.lens
        )
        return LayerInspected(command.run_id, command.layer, command.token, page)

    def advance(self, count: int = 10_000, until: type[Event] | None = None) -> None:
        """Send a run's next events, up to `count` or one of the kind `until`."""
        for _, event in zip(range(count), self._pending, strict=False):
            self.say(event)
            if until is not None and isinstance(event, until):
                return

    def _run(self, command: StartRun) -> Iterator[Event]:
        assert self._model is not None, "no model was loaded"
        number = command.run_id
        if not command.prompt.text:
            yield Failed("The prompt is empty.", "Type a text.", number)
            return
        settings = command.settings
        if command.recall:
            recalled = dict.fromkeys([*settings.metrics, *self.in_cache])
            settings = replace(settings, metrics=tuple(recalled))
        prompt = command.prompt
        if command.write is not None:
            settings = with_settling(settings)
            prompt = written_prompt(prompt, command.write, self.hostile)
        try:
            result = self.results(prompt, self._model, settings)
        except DepthError as error:
            yield Failed(error.message, error.hint, number)
            return
        assert result.provenance is not None
        result.provenance = replace(result.provenance, cached=self.cached)
        if command.write is not None:
            yield from self._write_text(command, result)
        self._partial = empty_result(self._model, prompt, settings, result.tokens)
        yield RunStarted(number, result.tokens)
        for layer in range(self._model.n_layers):
            seconds = (layer + 1) * 0.01
            self._partial.layers_done = layer + 1
            last = layer == self._model.n_layers - 1
            for metric, known in self._partial.measured.items():
                # The lens has one row more than there are layers.
                rows = rows_of(result.measured[metric], layer, None if last else layer + 1)
                known.put(layer, rows)
                yield Rows(number, metric, layer, rows, layer + 1, seconds)
            if command.step:
                yield Halted(number, layer)
        yield Pace(SECONDS_A_TOKEN)
        for metric in settings.metrics:
            if metric == self.fails_at:
                yield Failed("Memory ran out [/].", "Close something.", number)
                return
            value = result.measured.get(metric)
            if value is not None and METRIC_BY_NAME[metric].on_demand:
                yield from self._metric_rows(number, metric, value)
        self._partial = None
        yield RunFinished(number, result, self._keep(result))

    def _write_text(self, command: StartRun, result: RunResult) -> Iterator[Event]:
        """Write the answer of a result; where it is stopped, the words so far stay."""
        assert self._model is not None
        assert command.write is not None
        question = command.prompt.unanswered
        tokens = tokens_of(question)
        text = empty_result(self._model, question, result.settings, tokens)
        yield RunStarted(command.run_id, tokens)
        for event in tokens_written(result, command.run_id):
            text.write_on(event.ids, event.texts, event.readings)
            text.end_writing(command.write, "user")
            self._partial = text
            yield event

    def _keep(self, result: RunResult) -> dict[str, str]:
        """Put the parts of a result into the cache; returns their keys."""
        if self._store is None or not result.complete:
            return {}
        of_pass = {name: result.measured[name] for name in OF_THE_PASS if name in result.measured}
        parts = {**result.measured, PASS: replace(result, measured=of_pass)}
        keys = {}
        for name, part in parts.items():
            about = result.prompt.text, result.settings, result.model.name
            keys[name] = make_key("result", about=repr(about), part=name)
            self._store.put(keys[name], codec.encode(part), "of a test", "result")
        return keys

    def _write(self, command: WriteModel) -> Iterator[Event]:
        assert self._model is not None, "no model was loaded"
        yield Progress("Writing the model", 1, 4, "B")
        if self.fails_at == "writing":
            yield Failed("Nothing was written [/].", "", command.run_id)
            return
        layers = self._model.n_layers - len(command.left_out)
        healing = "healed: layer 3, by a map" if command.heals else ""
        kl = (0.57, 0.4) if command.heals else ()
        yield ModelWritten(command.run_id, command.folder, layers, 1_000, healing, kl)

    def _metric_rows(self, number: int, metric: str, value: MetricResult) -> Iterator[Event]:
        """A metric that is known half-way, then in full."""
        half = replace(value)
        for name, values in arrays_of(value):
            if values.dtype == np.float32:
                part = values.copy()
                part[len(part) // 2 :] = np.nan
                setattr(half, name, part)
        for known, done, left in ((half, 1, 40.0), (value, 2, -1.0)):
            assert self._partial is not None
            self._partial.put(metric, known)
            yield MetricRows(number, metric, known, done, 2, 0.5 * done, left)

    def _sweep(self, command: StartSweep) -> None:
        events, engine = sweep_events(command, self._model, self.sweep_halts_at)
        self.swept += engine.runs
        *events, end = events
        assert isinstance(end, SweepFinished)
        self._model = end.model
        self._sweep_end = end if end.stopped else None
        self._pending = iter(events if end.stopped else [*events, end])
        if not self.manual:
            self.advance()

    def _stop(self) -> None:
        self._pending = iter(())
        if self._sweep_end is not None:
            self.say(self._sweep_end)
            self._sweep_end = None
        if self._partial is not None:
            partial, self._partial = self._partial, None
            self.say(RunFinished(self._run_id, partial, self._keep(partial)))


def rows_of(value: MetricResult, first: int, stop: int | None) -> MetricResult:
    """Some rows of a result."""
    rows = {name: values[first:stop] for name, values in arrays_of(value)}
    return replace(value, **rows)


def fails(message: str, hint: str = "") -> Load:
    """A model that does not load."""

    def events(spec: ModelSpec) -> Iterator[Event]:
        yield Failed(message, hint)

    return events


def _refuse(notice: str) -> None:
    raise AssertionError(notice)


def _say_nothing(event: Event) -> None: ...


def _go_on(prompt: Prompt) -> None: ...


class ScriptedEngine:
    """Makes results out of the prompts, and keeps what it was asked.

    A prompt fails where its text says so: in words (`too long`), by an unexpected error (`bug`)
    or by an interrupt (`ctrl-c`). So does a model whose name says `missing`.

    Args:
        layers: L of each model by name; 8 where it is not said.
        dies_at: the run, counted from 1, at which `death` comes.
        stops_at: the run, counted from 0, that the user stops; -1 for none.
        model: the model that is loaded before.
        load: describes a model that is loaded; by default it goes by `layers`.
        results: what makes a run's result.
        emit: takes the events.

    Attributes:
        death: by default the process kills itself.
        before_run: called with each prompt before it is run.
        fingerprint: of the models.
        loads: the names of the models that were asked for.
        runs: the model's name and the text of every run.
        prompts, settings: those of every run.
        writings: how the answer of every run was to be written; None for a given one.
        limits: the activation limit of every run.
    """

    store: Store
    models_dir: Path
    trusted: Container[ModelSpec]

    def __init__(
        self,
        layers: dict[str, int] | None = None,
        dies_at: int = 0,
        stops_at: int = -1,
        model: ModelInfo | None = None,
        load: Callable[[ModelSpec], ModelInfo] | None = None,
        results: MakeResult = full_result,
        emit: Callable[[Event], None] = _say_nothing,
        activation_limit: int = -1,
    ) -> None:
        self.layers = layers or {}
        self.dies_at = dies_at
        self.death: Callable[[], None] = lambda: os.kill(os.getpid(), signal.SIGKILL)
        self.before_run: Callable[[Prompt], None] = _go_on
        self.fingerprint = "f" * 16
        self.model = model
        self.activation_limit = activation_limit
        self.loads: list[str] = []
        self.runs: list[tuple[str, str]] = []
        self.prompts: list[Prompt] = []
        self.settings: list[RunSettings] = []
        self.writings: list[Writing | None] = []
        self.limits: list[int] = []
        self._stops_at = stops_at
        self._described = load or self._by_layers
        self._results = results
        self._emit = emit

    def load(self, spec: ModelSpec, control: Control | None = None) -> ModelInfo:
        self.loads.append(spec.name)
        if "missing" in spec.name:
            raise DepthError(f"There is no model {spec.name}.", "Choose another.")
        self.model = self._described(spec)
        self._emit(Progress("Converting", 3, 10, "tensors"))
        self._emit(Notice("A damaged cache entry was dropped."))
        return self.model

    def count_tokens(self, prompt: Prompt, chat_template: bool = False) -> int:
        return len(tokens_of(prompt))

    def run(
        self,
        prompt: Prompt,
        settings: RunSettings,
        control: Control | None = None,
        run_id: int = 0,
        write: Writing | None = None,
    ) -> RunResult:
        assert self.model is not None, "no model was loaded"
        self.before_run(prompt)
        number = len(self.runs)
        self.runs.append((self.model.name, prompt.text))
        self.prompts.append(prompt)
        self.settings.append(settings)
        self.writings.append(write)
        self.limits.append(self.activation_limit)
        if number + 1 == self.dies_at:
            self.death()
        _fail(prompt)
        if write is not None:
            stopped_by = "limit"
            if "ctrl-c" in prompt.text and control is not None:
                os.kill(os.getpid(), signal.SIGINT)
                stopped_by = "user" if control.is_stopped else "limit"
            prompt = written_prompt(prompt, write, stopped_by=stopped_by)
            settings = with_settling(settings)
        elif "ctrl-c" in prompt.text and not prompt.written:
            raise KeyboardInterrupt
        stopped = number == self._stops_at
        if stopped and control is not None:
            control.stop()
        result = self._results(prompt, self.model, settings)
        assert result.provenance is not None
        result.provenance = replace(result.provenance, seconds=0.1 * len(self.runs))
        if write is not None:
            for event in tokens_written(result, run_id):
                self._emit(event)
        self._tell(result, run_id)
        is_stopped = prompt.written is not None and write and prompt.written.stopped_by == "user"
        return replace(result, complete=not (stopped or is_stopped))

    def _by_layers(self, spec: ModelSpec) -> ModelInfo:
        layers = self.layers.get(spec.name, 8)
        return model_info(spec, layers, fingerprint=self.fingerprint, parameters=layers * 1_000_000)

    def _tell(self, result: RunResult, run_id: int) -> None:
        if result.get(Contributions) is not None:
            contributions = result.measured["contributions"]
            self._emit(Rows(run_id, "contributions", 0, contributions, result.layers_done, 0.1))
        if result.get(Ablation) is not None:
            layers = result.model.n_layers
            self._emit(MetricRows(run_id, "ablation", result.get(Ablation), layers, layers, 0.1))


def _fail(prompt: Prompt) -> None:
    if "too long" in prompt.text:
        raise DepthError("The prompt is too long.", "Shorten it.")
    if "bug" in prompt.text:
        raise RuntimeError("a bug\nin two lines")


def replace_engine(
    monkeypatch: pytest.MonkeyPatch,
    load: Callable[[ModelSpec], ModelInfo],
    results: MakeResult = full_result,
) -> list[ScriptedEngine]:
    """Put scripted engines in the place of `engine.Engine`; the list of those that are made."""
    made: list[ScriptedEngine] = []

    def make(
        store: Store,
        models_dir: Path,
        emit: Callable[[Event], None],
        activation_limit: int = -1,
        *,
        baseline_texts: Callable[[], Sequence[str]],
        on_bug: Callable[[Exception], object],
        lenses_dir: Path | None = None,
        trusted: Container[ModelSpec] = (),
    ) -> ScriptedEngine:
        engine = ScriptedEngine(
            load=load, results=results, emit=emit, activation_limit=activation_limit
        )
        engine.store, engine.models_dir, engine.on_bug = store, models_dir, on_bug
        engine.trusted = trusted
        made.append(engine)
        return engine

    module = ModuleType("depthtui.engine.engine")
    module.Engine = make  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "depthtui.engine.engine", module)
    return made


SWEPT_LAYERS = {"demo": 30, "alpha": 12, "beta": 12}


def sweep_events(
    command: StartSweep, loaded: ModelInfo | None = None, stops_at: int = -1
) -> tuple[list[Event], ScriptedEngine]:
    """What the engine process says of a sweep, and the engine that ran it."""
    events: list[Event] = []
    engine = ScriptedEngine(SWEPT_LAYERS, stops_at=stops_at, model=loaded)
    models_dir = Path(command.folder) / "no-models"
    SweepService(command, engine, Control(), events.append, models_dir).serve()
    return events, engine


class WorkerEngine:
    """The engine process's own worker, in a thread of this process: real models, the real pipe's
    bytes."""

    def __init__(self) -> None:
        self.killed = False
        self._commands: queue.SimpleQueue[Command | None] = queue.SimpleQueue()
        self._post: Post = lambda message: None

    def start(self, post: Post) -> None:
        self._post = post
        threading.Thread(target=self._work, daemon=True).start()

    def send(self, command: Command) -> None:
        self._commands.put(command)

    def kill(self) -> None:
        self.killed = True
        self._post = lambda message: None
        self._commands.put(None)

    def _emit(self, event: Event) -> None:
        self._post(EngineEvent(self, codec.decode(codec.encode(event))))

    def _work(self) -> None:
        worker = Worker(SimpleNamespace(send=self._emit))  # type: ignore[arg-type]
        while (command := self._commands.get()) is not None:
            worker._receive(codec.decode(codec.encode(command)))
            while not worker._work.empty():
                worker._finish(*worker._work.get())
