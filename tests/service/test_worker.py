"""The engine as a child process, spoken to over its pipe."""

import contextlib
import os
import select
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from depthtui.data.lens import LogitLens
from depthtui.data.pipe import BrokenConnection, Pipe
from depthtui.data.protocol import (
    DEVICE_LOST,
    Configure,
    Continue,
    CountTokens,
    EngineReady,
    Failed,
    FindModel,
    Halted,
    InspectLayer,
    LayerInspected,
    ListModels,
    LoadModel,
    ModelFound,
    ModelLoaded,
    ModelsListed,
    ModelWritten,
    Progress,
    PromptDone,
    Quit,
    Rows,
    RunFinished,
    RunStarted,
    StartRun,
    StartSweep,
    Step,
    Stop,
    SweepFinished,
    TokensCounted,
    TokensWritten,
    WriteModel,
)
from depthtui.data.run import Prompt
from depthtui.data.run_settings import Drawing, ModelSpec, RunSettings, Writing
from depthtui.engine.control import Control
from depthtui.engine.factory import Storage
from depthtui.service.worker import Worker
from depthtui.sweep.plan import SweepPlan, parse_task
from depthtui.sweep.saved import open_sweep, plan_text
from tests.tiny_models import tiny_folder

PATIENCE = 120.0


class Engine:
    """One engine process and the test's end of its pipe."""

    def __init__(self, cache, models):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "depthtui.service.worker"],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.output = self.process.stdout.fileno()
        self.pipe = Pipe(os.dup(self.output), os.dup(self.process.stdin.fileno()))
        self.process.stdin.close()
        self.pipe.await_greeting()
        self.send(Configure(str(cache), str(models), 1 << 30, threads=1))

    def send(self, command):
        self.pipe.send(command)

    def until(self, kind):
        """Events up to the first of that kind, which comes last."""
        events = []
        while not (events and isinstance(events[-1], kind)):
            is_there = select.select([self.output], [], [], PATIENCE)[0]
            assert is_there, f"no {kind.__name__}, but {events}"
            events.append(self.pipe.receive())
        return events


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_folder(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def engine(folder, tmp_path_factory):
    made = Engine(tmp_path_factory.mktemp("cache"), tmp_path_factory.mktemp("store"))
    made.send(LoadModel(ModelSpec(str(folder), device="cpu")))
    made.until(ModelLoaded)
    yield made
    made.process.kill()
    made.process.wait()


def test_a_run_comes_back_whole(engine):
    engine.send(StartRun(3, Prompt("Seven plus five is twelve"), RunSettings()))
    events = engine.until(RunFinished)
    result = events[-1].result
    assert events[-1].run_id == 3
    assert result.complete
    assert np.isfinite(result.get(LogitLens).kl).all()
    assert any(isinstance(event, RunStarted) for event in events)


def test_hostile_prompts_cross_the_pipe(engine):
    engine.send(StartRun(4, Prompt("[/] \x1b[31m \ud800 日本 👩‍👩‍👧"), RunSettings()))
    assert engine.until(RunFinished)[-1].result.complete


def test_stepping_and_running_on(engine):
    engine.send(StartRun(5, Prompt("The ferry did not run"), RunSettings(), step=True))
    assert engine.until(Halted)[-1] == Halted(5, 0)
    engine.send(Step())
    assert engine.until(Halted)[-1] == Halted(5, 1)
    engine.send(Continue())
    assert engine.until(RunFinished)[-1].result.complete


def test_a_layer_is_looked_into_while_a_run_is_halted(engine):
    prompt = Prompt("The ferry did run again")
    engine.send(StartRun(7, prompt, RunSettings(), step=True))
    engine.until(Halted)
    for layer in (0, 0, 0):
        engine.send(InspectLayer(7, prompt, RunSettings(), layer, 1, "logit"))
    assert engine.until(LayerInspected)[-1].inspection.layer == 0
    engine.send(Step())
    assert engine.until(Halted)[-1] == Halted(7, 1)
    engine.send(Stop())
    assert not engine.until(RunFinished)[-1].result.complete


def test_models_are_listed_and_found_while_a_run_is_halted(engine, folder):
    engine.send(StartRun(8, Prompt("The ferry did run"), RunSettings(), step=True))
    engine.until(Halted)
    engine.send(ListModels())
    listed = engine.until(ModelsListed)[-1]
    assert "demo" in [model.name for model in listed.models]
    for name, is_there in ((str(folder), True), (str(folder / "no"), False)):
        engine.send(FindModel(ModelSpec(name)))
        event = engine.until(ModelFound)[-1]
        assert (event.spec.name, not event.problem) == (name, is_there)
    engine.send(Stop())
    engine.until(RunFinished)


def test_a_halted_run_stops(engine):
    engine.send(StartRun(6, Prompt("The ferry did run"), RunSettings(), step=True))
    engine.until(Halted)
    engine.send(Stop())
    events = engine.until(RunFinished)
    assert not events[-1].result.complete
    assert sum(isinstance(event, Rows) for event in events) == 0


def test_a_text_comes_back_and_a_failure_says_of_which(engine):
    writing = Writing(max_tokens=5)
    engine.send(StartRun(10, Prompt("Seven plus five"), RunSettings(), write=writing))
    events = engine.until(RunFinished)
    result = events[-1].result
    assert (events[-1].run_id, result.complete) == (10, True)
    ids = [event.ids for event in events if isinstance(event, TokensWritten)]
    assert np.concatenate(ids).tolist() == list(result.prompt.written.ids)
    engine.send(StartRun(11, Prompt(""), RunSettings(), write=writing))
    assert engine.until(Failed)[-1].run_id == 11


def test_a_model_is_written_without_a_layer(engine, tmp_path):
    engine.send(WriteModel(12, (1,), str(tmp_path / "pruned")))
    written = engine.until(ModelWritten)[-1]
    assert (written.run_id, written.layers) == (12, 3)
    assert (tmp_path / "pruned" / "config.json").exists()
    engine.send(WriteModel(13, (1,), str(tmp_path / "pruned")))
    assert engine.until(Failed)[-1].run_id == 13


def test_a_model_is_written_without_an_attention(engine, tmp_path):
    engine.send(WriteModel(12, (2,), str(tmp_path / "pruned"), piece="part"))
    written = engine.until(ModelWritten)[-1]
    assert (written.run_id, written.layers) == (12, 4)
    assert (tmp_path / "pruned" / "skip_layers.json").exists()


def test_a_model_is_healed(engine, tmp_path):
    engine.send(WriteModel(12, (0, 2), str(tmp_path / "healed"), heals=True))
    written = engine.until(ModelWritten)[-1]
    assert "not healed: layer 0: no layer stands before it" in written.healing
    assert "texts (written by the model); on" in written.healing
    assert (tmp_path / "healed" / "config.json").exists()


def test_a_stop_with_nothing_to_stop_is_harmless(engine):
    engine.send(Stop())
    engine.send(StartRun(7, Prompt("Seven"), RunSettings()))
    assert engine.until(RunFinished)[-1].result.complete


def test_failures_come_back_in_words_and_the_engine_lives(engine, folder):
    engine.send(StartRun(8, Prompt(""), RunSettings()))
    failed = engine.until(Failed)[-1]
    assert (failed.run_id, "empty" in failed.message) == (8, True)
    engine.send(LoadModel(ModelSpec(str(folder / "nothing"))))
    failed = engine.until(Failed)[-1]
    assert failed.run_id == -1
    assert failed.still_loaded.spec.name == str(folder)
    engine.send(StartRun(9, Prompt("Seven"), RunSettings()))
    assert engine.until(RunFinished)[-1].result.complete


def test_what_is_not_at_hand_is_told_before_anything_heavy_is_imported(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    engine = Engine(tmp_path, tmp_path)
    engine.send(LoadModel(ModelSpec("us/tiny")))
    (failed,) = engine.until(Failed)
    assert "cannot be reached" in failed.message
    engine.send(Quit())
    assert engine.process.wait(PATIENCE) == 0


def test_the_engine_goes_with_its_parent(folder, tmp_path):
    engine = Engine(tmp_path, tmp_path)
    engine.pipe.close()
    assert engine.process.wait(PATIENCE) == 0


def test_an_engine_elsewhere_has_places_of_its_own(tmp_path):
    pipe = Pipe(os.open(os.devnull, os.O_RDONLY), os.open(os.devnull, os.O_WRONLY))
    own = Storage(cache_dir=tmp_path, models_dir=tmp_path / "models", cache_limit=7)
    worker = Worker(pipe, own)
    worker._receive(Configure("/cache/there", "/models/there", 9, cache_activations=False))
    assert worker._storage == own
    assert worker._folder_of("/cache/there/sweeps/mine", "sweeps") == tmp_path / "sweeps" / "mine"
    worker._receive(Configure("", "/models/there", 9, activation_limit=5))
    assert worker._storage == replace(own, save_results=False, activation_limit=5)


def test_quit_ends_it_and_an_interrupt_does_not(tmp_path):
    engine = Engine(tmp_path, tmp_path)
    missing = LoadModel(ModelSpec(str(tmp_path / "missing")))
    engine.send(missing)
    engine.until(Failed)
    os.kill(engine.process.pid, signal.SIGINT)
    engine.send(missing)
    engine.until(Failed)
    engine.send(Quit())
    assert engine.process.wait(PATIENCE) == 0


def test_a_sweep_is_run_by_the_same_engine(engine, folder, tmp_path):
    spec = ModelSpec(str(folder), device="cpu")
    tasks = tuple(parse_task("addition:1-2", {}, Drawing(examples=2)))
    missing = ModelSpec(str(tmp_path / "missing"), device="cpu")
    plan = SweepPlan((missing, spec), tasks)
    engine.send(StartSweep(7, str(tmp_path), plan_text(plan)))
    events = engine.until(SweepFinished)
    # Its prompts are no runs of the explorer, and its model is loaded already.
    assert not [
        event for event in events if isinstance(event, RunStarted | RunFinished | ModelLoaded)
    ]
    assert [event.cell for event in events if isinstance(event, PromptDone)] == [2, 2, 3, 3]
    end = events[-1]
    assert (end.stopped, end.problem, end.model.spec) == (False, "", spec)
    assert len(open_sweep(tmp_path, print).failures) == 1
    # The engine serves runs as before.
    engine.send(StartRun(8, Prompt("1 2 3"), RunSettings()))
    assert engine.until(RunFinished)[-1].result.complete


def test_an_error_that_nobody_foresaw_is_said_in_whole_sentences(tmp_path, monkeypatch):
    def fails(self, *asked):
        raise ValueError("broken\nin the second line")

    monkeypatch.setattr("depthtui.engine.engine.Engine.count_tokens", fails)
    failed = told_by_a_worker_that_ends(tmp_path, monkeypatch)[-1]
    words = "The engine met an error: ValueError: broken. Its log has the details."
    assert failed.words == words


def test_a_lost_device_ends_the_process_after_what_it_was_asked(tmp_path, monkeypatch):
    events = told_by_a_worker_that_ends(tmp_path, monkeypatch)
    assert [type(event) for event in events] == [Progress, EngineReady, TokensCounted]


def told_by_a_worker_that_ends(tmp_path, monkeypatch):
    """What a worker tells that counts tokens and then has lost its device."""
    log = tmp_path / "told"
    pipe = Pipe(os.open(os.devnull, os.O_RDONLY), os.open(log, os.O_WRONLY | os.O_CREAT))
    # Its end would end this process.
    monkeypatch.setattr(Worker, "_receive_commands", lambda self: None)
    monkeypatch.setattr("depthtui.engine.engine.Engine.lost_device", "cuda:0")
    worker = Worker(pipe)
    worker._receive(Configure(str(tmp_path), str(tmp_path), 1 << 30, threads=1))
    worker._receive(CountTokens(Prompt("Seven"), False))
    assert worker.serve() == DEVICE_LOST
    return all_told(log)


def all_told(file):
    """The events in a file."""
    pipe = Pipe(os.open(file, os.O_RDONLY), os.open(os.devnull, os.O_WRONLY))
    pipe.await_greeting()
    events = []
    with contextlib.suppress(BrokenConnection):
        while True:
            events.append(pipe.receive())
    pipe.close()
    return events


def test_a_look_into_a_layer_takes_the_place_of_one_that_waits(folder, tmp_path, monkeypatch):
    log = tmp_path / "told"
    pipe = Pipe(os.open(os.devnull, os.O_RDONLY), os.open(log, os.O_WRONLY | os.O_CREAT))
    monkeypatch.setattr(Worker, "_receive_commands", lambda self: None)
    worker, prompt = Worker(pipe), Prompt("Seven plus five is twelve")
    worker._receive(Configure(str(tmp_path), str(tmp_path), 1 << 30, threads=1))
    worker._receive(LoadModel(ModelSpec(str(folder), device="cpu")))
    for layer in (0, 1, 2):
        worker._receive(InspectLayer(1, prompt, RunSettings(), layer, 3, "logit"))
    worker._work.put((Quit(), Control()))
    assert worker.serve() == 0
    (page,) = [event for event in all_told(log) if isinstance(event, LayerInspected)]
    assert (page.layer, page.token, page.problem) == (2, 3, "")
    assert page.inspection.tokens == page.inspection.tokens[:4]


def test_a_layer_that_is_not_there_is_said(engine):
    prompt, settings = Prompt("Seven plus five is twelve"), RunSettings()
    engine.send(InspectLayer(1, prompt, settings, 9, 3, "logit"))
    problem = engine.until(LayerInspected)[-1]
    assert problem.inspection is None
    assert "There is no layer 9" in problem.problem
