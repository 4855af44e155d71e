"""Controls of knowledge kept, on tiny models."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from depthtui.data.controls import NAMES, Controls, load_controls
from depthtui.data.plain import from_plain, to_plain
from depthtui.data.run import Prompt
from depthtui.data.run_settings import ModelSpec, RunSettings, SummarySettings
from depthtui.data.store import open_store
from depthtui.depth.reading import reading_of
from depthtui.engine.control import Control
from depthtui.engine.controls import find_controls, shuffled_words
from depthtui.engine.engine import Engine
from depthtui.errors import DepthError, RunStopped
from depthtui.metrics.kept import METRIC
from depthtui.metrics.kept.curve import layers_keeping
from depthtui.metrics.needed_settings import with_other_prompts
from depthtui.models.loading import LoadedModel, describe
from depthtui.models.untrained import Blueprint
from tests.tiny_models import CORPUS, with_tokenizer

SETTINGS = RunSettings()
PROMPTS = [Prompt(text, task="corpus") for text in CORPUS[:6]]


def loaded(model, tokenizer, **changes):
    """A model in memory as the engine takes it."""
    info = describe(ModelSpec("tiny"), "tiny", "in memory", model, tokenizer, 1)
    return LoadedModel(model, tokenizer, replace(info, **changes), {"": 1})


def engine_with(model, tokenizer, tmp_path):
    store = open_store(None, 0, pytest.fail)
    engine = Engine(store, tmp_path / "models", lambda event: None, lenses_dir=tmp_path / "lenses")
    engine.use(loaded(model, tokenizer, fingerprint="f" * 8))
    return engine


@pytest.fixture(scope="module")
def tiny():
    return with_tokenizer("llama")


@pytest.fixture(scope="module")
def measured_controls(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("controls")
    engine = engine_with(*tiny, folder)
    return find_controls(engine, PROMPTS, SETTINGS), engine, folder / "lenses"


def test_every_case_has_a_row(measured_controls):
    controls, engine, _ = measured_controls
    assert [row.name for row in controls.rows] == list(NAMES)
    for row in controls.rows:
        assert not row.missing
        # A tiny model with random weights knows nothing, and no count is made up.
        assert row.too_little
        assert row.layers is None
    assert (controls.prompts, controls.tasks) == (6, ("corpus",))
    assert controls.untrained_bytes > 0
    assert engine.model is None


def test_the_model_s_row_is_that_of_ordinary_runs(tiny, measured_controls, tmp_path):
    engine = engine_with(*tiny, tmp_path)
    settings = RunSettings(metrics=("contributions", "logit_lens", "kept"))
    reading = reading_of([engine.run(one, settings) for one in PROMPTS], SummarySettings())
    expected, row = reading.get(METRIC).curve, measured_controls[0].row("model")
    assert row.gain == pytest.approx(expected.gain)
    assert row.loss == pytest.approx(expected.mean.loss[0, 0])
    assert row.too_little == expected.why_too_little


@pytest.fixture
def knowing(tmp_path, monkeypatch):
    """An engine with a model whose last layer alone matters, and which is said to know much."""
    monkeypatch.setattr("depthtui.metrics.kept.curve.LEAST_GAIN", -10.0)
    monkeypatch.setattr("depthtui.metrics.kept.curve.KeptCurve.why_too_little", "")
    model, tokenizer = with_tokenizer("llama")
    return engine_with(model, tokenizer, tmp_path)


def test_random_orders_are_the_mean_of_two(knowing):
    settings = RunSettings(metrics=("contributions", "logit_lens", "kept"))
    runs = [
        knowing.run(one, with_other_prompts(settings, PROMPTS, number))
        for number, one in enumerate(PROMPTS)
    ]
    curve = reading_of(runs, SummarySettings()).get(METRIC).curve
    row = find_controls(knowing, PROMPTS, SETTINGS).row("random_order")
    drawn = [layers_keeping(share[None], 0.9)[0] for share in curve.random_shares]
    assert row.layers == pytest.approx(np.mean(drawn))
    low, high = row.interval
    assert low <= row.layers <= high


# Shuffled words ---------------------------------------------------------------------


@pytest.mark.parametrize("number", range(3))
def test_shuffled_words_are_the_same_ones(number):
    prompt = PROMPTS[number]
    mixed, again, other = (shuffled_words(prompt, seed, number) for seed in (1, 1, 2))
    assert sorted(mixed.text.split()) == sorted(prompt.text.split())
    assert mixed.text != prompt.text
    assert mixed == again != other
    assert mixed.task == prompt.task
    short = Prompt("12+34=46")
    assert sorted(shuffled_words(short, 1, number).text) == sorted(short.text)
    assert shuffled_words(short, 1, number) != short


# The untrained model ----------------------------------------------------------------


@pytest.mark.parametrize("name", ["llama_tied", "gpt2", "gemma2", "mamba"])
def test_an_untrained_model_has_the_shape_and_seeded_weights(name):
    model, tokenizer = with_tokenizer(name)
    blueprint = Blueprint.of(loaded(model, tokenizer))
    state = torch.get_rng_state()
    one, again, other = (blueprint.build(seed).model for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert type(one) is type(model)
    assert one.config.to_dict() == model.config.to_dict()
    assert not one.training
    shapes = {key: value.shape for key, value in model.state_dict().items()}
    assert {key: value.shape for key, value in one.state_dict().items()} == shapes
    head, heads = (
        one.get_output_embeddings().weight,
        [each.get_output_embeddings().weight for each in (again, other, model)],
    )
    assert [torch.equal(head, each) for each in heads] == [True, False, False]
    for key, value in one.state_dict().items():
        assert torch.equal(value, again.state_dict()[key])
    if name == "llama_tied":
        assert one.get_input_embeddings().weight is head
        assert head.std().item() == pytest.approx(model.config.initializer_range, rel=0.05)


def test_an_untrained_model_has_the_dtype(tiny):
    blueprint = Blueprint.of(loaded(copy.deepcopy(tiny[0]).bfloat16(), tiny[1]))
    built = blueprint.build(1)
    assert built.model.dtype == torch.bfloat16
    assert torch.get_default_dtype() == torch.float32
    assert built.info.fingerprint == ""


def test_a_quantised_model_has_no_untrained_one_and_the_other_rows(tiny, tmp_path):
    engine = engine_with(*tiny, tmp_path)
    engine._model.loaded = replace(
        engine._model.loaded, info=replace(engine._model.loaded.info, quantize="8bit")
    )
    controls = find_controls(engine, PROMPTS[:4], SETTINGS)
    *others, last = controls.rows
    assert last.name == "untrained"
    assert "quantised" in last.missing
    assert controls.row("untrained") is None
    assert not any(row.missing for row in others)


def test_an_untrained_model_that_does_not_fit_is_missing(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("depthtui.models.untrained.free_memory", lambda: 1)
    controls = find_controls(engine_with(*tiny, tmp_path), PROMPTS[:4], SETTINGS)
    assert "it takes" in controls.rows[-1].missing


# Keeping ----------------------------------------------------------------------------


def test_they_are_kept_with_the_model(measured_controls):
    controls, _, folder = measured_controls
    assert load_controls(folder, "f" * 8) == controls
    assert from_plain(Controls, to_plain(controls)) == controls
    assert load_controls(folder, "g" * 8) is None
    assert load_controls(folder, "") is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"model": 3}', "\x00"])
def test_a_damaged_file_holds_none(text, measured_controls, tmp_path):
    _, _, folder = measured_controls
    (file,) = folder.glob("*.controls.json")
    (tmp_path / file.name).write_text(text)
    assert load_controls(tmp_path, "f" * 8) is None


def test_what_is_stopped_keeps_nothing(tiny, tmp_path):
    engine, control = engine_with(*tiny, tmp_path), Control()
    control.stop()
    with pytest.raises(RunStopped):
        find_controls(engine, PROMPTS, SETTINGS, control)
    assert not list(tmp_path.rglob("*.controls.json"))


def test_a_stop_within_the_last_case_keeps_nothing(tiny, tmp_path, monkeypatch):
    def stop(blueprint, seed):
        raise RunStopped

    monkeypatch.setattr("depthtui.models.untrained.Blueprint.build", stop)
    with pytest.raises(RunStopped):
        find_controls(engine_with(*tiny, tmp_path), PROMPTS[:4], SETTINGS)
    assert not list(tmp_path.rglob("*.controls.json"))


def test_prompts_of_one_token_are_refused(tiny, tmp_path):
    with pytest.raises(DepthError, match="after the first"):
        find_controls(engine_with(*tiny, tmp_path), [Prompt("a")], SETTINGS)
