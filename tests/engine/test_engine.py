"""Runs through the whole engine on a tiny model: events, cache, stopping, stepping."""

import functools
import shutil
import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from depthtui.data.arrays import arrays_of
from depthtui.data.lens import LogitLens
from depthtui.data.protocol import (
    Halted,
    Notice,
    Rows,
    RunFinished,
    RunStarted,
)
from depthtui.data.run import Prompt, RunResult
from depthtui.data.run_settings import (
    ModelSpec,
    Repeated,
    RunSettings,
    Skip,
    Writing,
)
from depthtui.data.store import open_store
from depthtui.engine import measurement, memory
from depthtui.engine import prompt_run as run_module
from depthtui.engine.control import Control
from depthtui.engine.engine import Engine
from depthtui.errors import DepthError
from depthtui.metrics.contributions import Contributions
from depthtui.metrics.registry import empty_result
from depthtui.models import devices
from depthtui.tracing.activations import ActivationRecorder, Activations
from tests.naive import naive_contributions, naive_lens, naive_writes

TEXT = "The ferry did not run, and seven plus five is twelve."


def forwards(monkeypatch):
    """Counts the passes through the model."""
    counted = []
    original = run_module.trace

    def trace(*args, **kwargs):
        counted.append(1)
        return original(*args, **kwargs)

    monkeypatch.setattr(run_module, "trace", trace)
    return counted


def assert_same_arrays(one: RunResult, other: RunResult):
    for part in ("contributions", "logit_lens"):
        for (name, a), (_, b) in zip(
            arrays_of(one.measured[part]), arrays_of(other.measured[part]), strict=True
        ):
            np.testing.assert_array_equal(a, b, err_msg=name)


def test_a_run_gives_what_the_naive_way_gives(engine):
    result = engine.run(Prompt(TEXT), RunSettings(lens_top_k=6))
    ids = torch.from_numpy(result.tokens.ids)[None]
    model = engine._model.loaded.model
    expected = naive_contributions(*naive_writes(model, ids), parallel=False)
    for name, values in arrays_of(result.get(Contributions)):
        np.testing.assert_allclose(values, expected[name], rtol=1e-4, atol=2e-5)
    lens = naive_lens(model, ids, 6)
    np.testing.assert_allclose(result.get(LogitLens).kl, lens["kl"], rtol=1e-4, atol=1e-5)
    assert result.get(LogitLens).top_ids.shape == (5, len(ids[0]), 6)
    assert result.complete
    assert not result.provenance.cached


def test_tokens_are_counted_without_a_run(engine, monkeypatch):
    counted = forwards(monkeypatch)
    for template in (False, True):
        count = engine.count_tokens(Prompt(TEXT), template)
        assert not counted
        result = engine.run(Prompt(TEXT), RunSettings(chat_template=template))
        assert count == len(result.tokens)
        counted.clear()


def test_the_rows_that_are_told_are_the_result(engine, events):
    result = engine.run(Prompt(TEXT), RunSettings())
    started = next(event for event in events if isinstance(event, RunStarted))
    live = empty_result(result.model, result.prompt, result.settings, started.tokens)
    for event in events:
        if isinstance(event, Rows):
            live.measured[event.metric].put(event.first, event.rows)
            live.layers_done = event.layers_done
    assert_same_arrays(live, result)
    assert live.layers_done == result.model.n_layers
    assert live.get(LogitLens).vocabulary == result.get(LogitLens).vocabulary
    assert set(np.unique(result.get(LogitLens).top_ids)) <= set(result.get(LogitLens).vocabulary)


def test_the_second_run_comes_from_the_cache(engine, events, monkeypatch):
    counted = forwards(monkeypatch)
    first = engine.run(Prompt(TEXT, task="typed"), RunSettings())
    second = engine.run(Prompt(TEXT, task="file"), RunSettings())
    assert len(counted) == 1
    assert second.provenance.cached
    assert second.prompt.task == "file"
    assert_same_arrays(first, second)
    assert sum(isinstance(event, RunFinished) for event in events) == 2


def test_other_settings_take_the_activations_from_the_cache(engine, monkeypatch):
    counted = forwards(monkeypatch)
    few = engine.run(Prompt(TEXT), RunSettings(lens_top_k=5))
    many = engine.run(Prompt(TEXT), RunSettings(lens_top_k=9))
    assert len(counted) == 1
    assert not many.provenance.cached
    np.testing.assert_array_equal(
        few.get(Contributions).mlp_cosine, many.get(Contributions).mlp_cosine
    )
    np.testing.assert_array_equal(few.get(LogitLens).kl, many.get(LogitLens).kl)
    np.testing.assert_array_equal(few.get(LogitLens).top_ids, many.get(LogitLens).top_ids[:, :, :5])


def test_a_metric_of_the_pass_that_cannot_be_had_has_its_reason(folder, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(folder, damaged)
    weights = load_file(damaged / "model.safetensors")
    # One product alone, so that the logit is infinite and still a number.
    weights["lm_head.weight"][5, 0] = float("inf")
    save_file(weights, damaged / "model.safetensors", metadata={"format": "pt"})
    store = open_store(tmp_path / "cache", 1 << 30, pytest.fail)
    engine = Engine(store, tmp_path, lambda event: None)
    engine.load(ModelSpec(str(damaged), device="cpu"))
    for cached in (False, True):
        result = engine.run(Prompt(TEXT), RunSettings())
        assert (result.complete, result.provenance.cached) == (True, cached)
        assert result.get(Contributions) is not None
        reason = "final norm and LM head do not reproduce the model's own logits"
        assert result.unavailable == {"logit_lens": reason}
        assert not result.failed


def test_a_fresh_run_computes_again(engine, monkeypatch):
    counted = forwards(monkeypatch)
    engine.run(Prompt(TEXT), RunSettings())
    engine.run(Prompt(TEXT), RunSettings(), fresh=True)
    assert len(counted) == 2


def test_activations_beyond_the_limit_are_not_kept(folder, tmp_path):
    store = open_store(tmp_path / "cache", 1 << 30, pytest.fail)
    engine = Engine(store, tmp_path, lambda event: None, activation_limit=100)
    engine.load(ModelSpec(str(folder), device="cpu"))
    engine.run(Prompt(TEXT), RunSettings())
    assert store.info().kinds.keys() == {"result"} or store.info().kinds["activations"][0] == 0


def test_activations_are_not_kept_where_computing_is_quicker(engine, monkeypatch):
    monkeypatch.setattr(measurement, "_QUICKER_THAN_DISK", ("cpu",))
    counted = forwards(monkeypatch)
    engine.run(Prompt(TEXT), RunSettings(lens_top_k=5))
    engine.run(Prompt(TEXT), RunSettings(lens_top_k=9))
    assert len(counted) == 2
    assert engine.store.info().kinds["activations"] == (0, 0)


class TestDevices:
    """A run on one GPU is that of another of the same kind, and of no other device."""

    GPUS = ("NVIDIA H100", "NVIDIA H100", "NVIDIA A100")

    @pytest.fixture
    def run_on(self, engine, monkeypatch):
        """Runs the prompt as if the model lay on a device."""
        names = {f"cuda:{index}": name for index, name in enumerate(self.GPUS)}
        monkeypatch.setattr(torch.cuda, "get_device_name", names.__getitem__)

        def run(device, write=None):
            engine._model.info = replace(engine._model.info, device=device)
            return engine.run(Prompt(TEXT), RunSettings(), write=write)

        return run

    def test_the_same_gpu_under_another_number_shares_results(self, run_on):
        first, second = run_on("cuda:0"), run_on("cuda:1")
        assert second.provenance.cached
        assert second.model.device == "cuda:1"
        assert first.provenance.device == second.provenance.device == "NVIDIA H100"

    @pytest.mark.parametrize("device", ["cuda:2", "cpu", "cuda:0, cpu", "cuda:0, cuda:2"])
    def test_other_hardware_does_not(self, run_on, device):
        run_on("cuda:0")
        assert not run_on(device).provenance.cached

    def test_a_written_text_is_of_the_model_as_it_lies_now(self, run_on):
        for device in ("cuda:0", "cuda:1"):
            text = run_on(device, write=Writing(max_tokens=2))
            assert text.model.device == device
        assert text.provenance.cached
        assert text.provenance.device == "NVIDIA H100"


def test_a_damaged_cached_result_is_computed_again(engine, tmp_path, monkeypatch):
    notices = []
    first = engine.run(Prompt(TEXT), RunSettings())
    for value in (tmp_path / "cache").rglob("*.val"):
        value.write_bytes(value.read_bytes()[:-9] + b"not it...")
    engine.store = open_store(tmp_path / "cache", 1 << 30, notices.append)
    again = engine.run(Prompt(TEXT), RunSettings())
    assert not again.provenance.cached
    assert_same_arrays(first, again)
    assert notices


def is_of(event, metric):
    """Whether an event tells rows of a metric."""
    return isinstance(event, Rows) and event.metric == metric


class StopAfter:
    """Stops a run once a number of layers has been told."""

    def __init__(self, control, layers):
        self.control, self.layers, self.told = control, layers, []

    def __call__(self, event):
        self.told.append(event)
        if is_of(event, "contributions") and event.stop >= self.layers:
            self.control.stop()


def test_a_stopped_run_keeps_what_was_done(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(run_module, "_SECONDS_BETWEEN_ROWS", 0)
    control = Control()
    stopper = StopAfter(control, 2)
    engine = Engine(open_store(tmp_path / "c", 1 << 30, pytest.fail), tmp_path, stopper)
    engine.load(ModelSpec(str(folder), device="cpu"))
    result = engine.run(Prompt(TEXT), RunSettings(), control)
    assert not result.complete
    assert result.layers_done == 2
    assert np.isfinite(result.get(Contributions).layer_cosine[:2]).all()
    assert np.isnan(result.get(Contributions).layer_cosine[2:]).all()
    assert np.isnan(result.get(LogitLens).kl).all()
    assert any(isinstance(event, RunFinished) for event in stopper.told)
    again = engine.run(Prompt(TEXT), RunSettings())
    assert again.complete
    assert not again.provenance.cached


def test_stepping_halts_the_forward_pass_after_each_layer(folder, tmp_path):
    """A halted run computes nothing more until it is told to."""
    control = Control(step=True)
    halted, seen = threading.Semaphore(0), []

    def emit(event):
        seen.append(event)
        if isinstance(event, Halted):
            halted.release()

    engine = Engine(open_store(None, 0, lambda message: None), tmp_path, emit)
    engine.load(ModelSpec(str(folder), device="cpu"))
    results = []
    runner = threading.Thread(
        target=lambda: results.append(engine.run(Prompt(TEXT), RunSettings(), control))
    )
    runner.start()
    for layer in range(3):
        assert halted.acquire(timeout=30)
        contributions = [event for event in seen if is_of(event, "contributions")]
        assert [event.first for event in contributions] == list(range(layer + 1))
        depths = [event.first for event in seen if is_of(event, "logit_lens")]
        assert depths == list(range(layer + 2))
        assert seen[-1] == Halted(0, layer)
        lens = next(event for event in reversed(seen) if is_of(event, "logit_lens"))
        assert np.isfinite(lens.rows.entropy).all()
        assert np.isnan(lens.rows.kl).all()
        control.step()
    assert halted.acquire(timeout=30)
    control.go_on()
    runner.join(30)
    assert results[0].complete
    assert np.isfinite(results[0].get(LogitLens).kl).all()


def test_the_time_of_a_run_leaves_out_what_it_was_halted(folder, tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(run_module, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    class Thinking(Control):
        def wait(self, announce):
            now[0] += 60.0

    engine = Engine(open_store(None, 0, lambda message: None), tmp_path, lambda event: None)
    engine.load(ModelSpec(str(folder), device="cpu"))
    result = engine.run(Prompt(TEXT), RunSettings(), Thinking(step=True))
    assert now[0] > 60
    assert result.provenance.seconds == 0


@pytest.mark.parametrize("changes", [{}, {"skipped": (Skip(1),), "repeated": (Repeated(2, 3),)}])
def test_a_layer_is_looked_into_while_a_run_is_halted(folder, tmp_path, changes):
    """The run goes on as if nobody had looked."""
    control, settings = Control(step=True), RunSettings(**changes)
    pages = []

    def emit(event):
        if isinstance(event, Halted):
            look = functools.partial(engine.inspect, Prompt(TEXT), RunSettings(), event.layer, -1)
            assert control.do(lambda: pages.append(look()))
            control.step()

    engine = Engine(open_store(None, 0, lambda message: None), tmp_path, emit)
    engine.load(ModelSpec(str(folder), device="cpu"))
    expected = engine.run(Prompt(TEXT), settings, Control())
    result = engine.run(Prompt(TEXT), settings, control)
    assert result.complete
    for name, value in expected.measured.items():
        for field, array in arrays_of(value):
            np.testing.assert_array_equal(getattr(result.measured[name], field), array)
    assert [page.layer for page in pages] == list(range(engine.model.n_layers))
    later = engine.inspect(Prompt(TEXT), RunSettings(), pages[1].layer, -1)
    assert later.to_json() == pages[1].to_json()
    # A run that is not halted does nothing else.
    assert not control.do(lambda: pytest.fail("the run is over"))


def test_a_halted_run_can_be_stopped(folder, tmp_path):
    control = Control(step=True)

    def emit(event):
        if isinstance(event, Halted):
            control.stop()

    engine = Engine(open_store(None, 0, lambda message: None), tmp_path, emit)
    engine.load(ModelSpec(str(folder), device="cpu"))
    result = engine.run(Prompt(TEXT), RunSettings(), control)
    assert (result.complete, result.layers_done) == (False, 1)


def test_the_lens_of_a_halted_run_can_be_stopped(folder, tmp_path):
    events = []
    control = Control(step=True)

    def emit(event):
        events.append(event)
        if is_of(event, "contributions"):
            control.stop()

    engine = Engine(open_store(None, 0, pytest.fail), tmp_path, emit)
    engine.load(ModelSpec(str(folder), device="cpu"))
    result = engine.run(Prompt(TEXT), RunSettings(), control)
    assert not result.complete
    assert not any(isinstance(event, Halted) or is_of(event, "logit_lens") for event in events)


def test_the_chat_template_wraps_question_and_keeps_the_answer(engine):
    prompt = Prompt("Seven plus five is twelve", answer=" twelve")
    plain = engine.run(prompt, RunSettings())
    wrapped = engine.run(prompt, RunSettings(chat_template=True))
    assert "".join(plain.tokens.texts[plain.tokens.answer_start :]) == " twelve"
    assert "".join(wrapped.tokens.texts).startswith("<|im_start|>user\nSeven plus five is")
    assert "".join(wrapped.tokens.texts[wrapped.tokens.answer_start :]) == "twelve"


def test_a_single_token_and_one_metric_alone(engine):
    result = engine.run(Prompt("a"), RunSettings(metrics=("contributions",)))
    assert result.get(LogitLens) is None
    assert result.complete
    lens_only = engine.run(Prompt("a"), RunSettings(metrics=("logit_lens",)))
    assert lens_only.get(Contributions) is None
    assert lens_only.complete


@pytest.mark.parametrize(
    ("prompt", "settings", "words"),
    [
        (Prompt(""), RunSettings(), "empty"),
        (Prompt("word " * 400), RunSettings(), "tokens"),
        (Prompt("word"), RunSettings(metrics=("nonsense",)), "nonsense"),
    ],
)
def test_bad_prompts_are_refused_in_words(engine, prompt, settings, words):
    with pytest.raises(DepthError, match=words):
        engine.run(prompt, settings)
    assert engine.run(Prompt(TEXT), RunSettings()).complete


def test_a_bad_model_leaves_the_one_before_in_place(engine, tmp_path):
    (tmp_path / "no-model").mkdir()
    with pytest.raises(DepthError):
        engine.load(ModelSpec(str(tmp_path / "no-model")))
    assert engine.run(Prompt(TEXT), RunSettings()).complete


def test_weights_that_lost_digits_are_told_of(engine, events, folder, monkeypatch):
    monkeypatch.setattr(devices, "_FLOAT32_UP_TO", 1000)
    engine.load(ModelSpec(str(folder), device="cpu"))
    notices = [event.message for event in events if isinstance(event, Notice)]
    assert len(notices) == 1
    assert "rounded to bfloat16" in notices[0]


def test_a_token_beyond_the_embedding_is_refused(engine):
    engine._model.loaded.model.get_input_embeddings().num_embeddings = 20
    with pytest.raises(DepthError, match="embedding ends at 19"):
        engine.run(Prompt(TEXT), RunSettings())


def test_no_model_is_said(tmp_path):
    engine = Engine(open_store(None, 0, lambda message: None), tmp_path, lambda event: None)
    with pytest.raises(DepthError, match="No model"):
        engine.run(Prompt(TEXT), RunSettings())


def test_what_does_not_fit_is_refused_and_what_would_fit_is_said(engine, monkeypatch):
    model, settings = engine._model, RunSettings()
    room = memory.of_the_pass(model.sizes(100, 100))
    room = sum(model.placement.by_device(room).values())
    monkeypatch.setattr(memory, "available", lambda device: room)
    prompt = Prompt("seven " * 60)
    assert engine.run(prompt, settings).complete
    monkeypatch.setattr(memory, "available", lambda device: room // 2)
    with pytest.raises(DepthError, match=r"tokens would fit|Choose a smaller"):
        engine.run(Prompt("five " * 60), settings)


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory")])
def test_running_out_of_memory_is_said_and_the_engine_lives(engine, monkeypatch, error):
    def trace(*args, **kwargs):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(run_module, "trace", trace)
        with pytest.raises(DepthError, match="memory ran out"):
            engine.run(Prompt(TEXT), RunSettings())
    assert engine.run(Prompt(TEXT), RunSettings()).complete


def test_memory_that_suffices_without_what_sublayers_write_is_enough(engine, monkeypatch):
    """What they write is kept for the cache alone."""
    expected = engine.run(Prompt(TEXT), RunSettings(), fresh=True)
    put = ActivationRecorder._put

    def short_of_memory(self, name, *args):
        if name == "mlp" and args[1] == 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        put(self, name, *args)

    monkeypatch.setattr(ActivationRecorder, "_put", short_of_memory)
    result = engine.run(Prompt(TEXT), RunSettings(), fresh=True)
    assert (result.complete, result.unavailable) == (True, {})
    assert_same_arrays(result, expected)
    assert engine.run(Prompt(TEXT), RunSettings()).provenance.cached


PanicException = type("PanicException", (BaseException,), {})


@pytest.mark.parametrize("error", [MemoryError(), PanicException("PyObject pointer is null")])
def test_no_memory_for_the_cache_is_said_and_the_run_is_good(engine, events, monkeypatch, error):
    def to_bytes(self):
        raise error

    monkeypatch.setattr(Activations, "to_bytes", to_bytes)
    assert engine.run(Prompt(TEXT), RunSettings()).complete
    assert any(isinstance(event, Notice) and "memory" in event.message for event in events)


def test_a_lone_surrogate_in_a_prompt_is_read_as_a_replacement(engine):
    assert engine.run(Prompt("seven \ud800 five"), RunSettings()).complete
