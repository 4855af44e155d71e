"""Controls of the layers that suffice, on tiny models."""

import copy
import itertools
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
from depthtui.engine.controls import (
    DRAWS,
    bench_of,
    find_controls,
    random_orders,
    samples_of,
    shuffled_sample,
)
from depthtui.engine.engine import Engine
from depthtui.engine.tokens import Vocabulary, tokenise
from depthtui.errors import DepthError, RunStopped
from depthtui.metrics import with_order_texts
from depthtui.metrics.kept.order_search import LayerOrder
from depthtui.metrics.sufficient import METRIC
from depthtui.models.loading import LoadedModel, describe
from depthtui.models.untrained import Blueprint
from tests.naive import blocks
from tests.planted import with_idle
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
    assert [row.name for row in controls.rows] == [one for one in NAMES if one != "model_order"]
    for row in controls.rows:
        assert not row.missing
        assert 1 <= row.layers <= 4
        low, high = row.interval
        assert low <= row.layers <= high
    assert (controls.prompts, controls.units, controls.tasks) == (6, "prompts", ("corpus",))
    assert controls.untrained_bytes > 0
    assert engine.model is None


def test_the_model_s_row_is_that_of_ordinary_runs(tiny, measured_controls, tmp_path):
    engine = engine_with(*tiny, tmp_path)
    settings = RunSettings(
        metrics=("contributions", "logit_lens", "kept"),
        sufficient_order="own",
        sufficient_search="ranked",
    )
    texts = [prompt.text for prompt in PROMPTS]
    runs = [
        engine.run(prompt, with_order_texts(settings, texts, number))
        for number, prompt in enumerate(PROMPTS)
    ]
    reading = reading_of(runs, SummarySettings())
    expected, row = reading.get(METRIC), measured_controls[0].row("model")
    assert row.layers == pytest.approx(expected.within())
    assert row.interval == pytest.approx(expected.interval)
    assert row.strict == pytest.approx(expected.keeping(0.9))
    assert row.choices == pytest.approx(expected.choices)
    assert row.loss == pytest.approx(reading.means["loss"])
    assert row.depths == {estimate.rule: estimate.count for estimate in reading.depths}
    assert row.warnings == reading.verdict.warnings


def test_random_orders_are_read_one_by_one(tiny, measured_controls, tmp_path):
    """Each draw is what a run in that order gives, and the row has their mean."""
    engine = engine_with(*tiny, tmp_path)
    row = measured_controls[0].row("random_order")
    assert len(row.draws) == DRAWS
    assert row.layers == pytest.approx(np.mean(row.draws))
    settings = replace(SETTINGS, metrics=("kept",))
    for order, draw in zip(random_orders(4, SETTINGS.seed), row.draws, strict=True):
        engine._orders._in_memory[engine._orders._key(settings)] = LayerOrder(list(order))
        reading = reading_of([engine.run(one, settings) for one in PROMPTS], SummarySettings())
        assert reading.get(METRIC).within() == pytest.approx(draw)
    assert len(set(row.draws)) > 1


def test_a_prompt_is_read_in_the_order_of_the_other_half(tiny, tmp_path, monkeypatch):
    costs = itertools.cycle([np.array([0.0, 1, 2, 3]), np.array([3.0, 2, 1, 0])])
    monkeypatch.setattr("depthtui.engine.controls._costs", lambda context: next(costs))
    engine = engine_with(*tiny, tmp_path)
    samples = samples_of(engine, PROMPTS, SETTINGS)
    with bench_of(engine, samples, SETTINGS, Control()) as bench:
        reading = bench.in_own_order("")
    orders = [run.measured["kept"].orders for run in reading.runs]
    assert orders == [((3, 2, 1, 0),), ((0, 1, 2, 3),)] * 3


def test_rows_that_follow_in_parts_are_the_same(tiny, measured_controls, tmp_path, monkeypatch):
    monkeypatch.setattr("depthtui.engine.controls._FIRST_ROWS", 1)
    again = find_controls(engine_with(*tiny, tmp_path), PROMPTS, SETTINGS)
    for row, other in zip(again.rows, measured_controls[0].rows, strict=True):
        assert row.layers == pytest.approx(other.layers)
        assert row.interval == pytest.approx(other.interval)
        assert row.strict == pytest.approx(other.strict)


def test_of_few_prompts_blocks_of_tokens_are_the_units(tiny, tmp_path):
    controls = find_controls(engine_with(*tiny, tmp_path), PROMPTS[:2], SETTINGS)
    assert controls.units == "blocks"
    assert all(row.layers is not None for row in controls.rows)


def test_the_order_that_is_kept_for_the_model_has_a_row(tiny, tmp_path):
    engine = engine_with(*tiny, tmp_path)
    engine._orders._in_memory[engine._orders._key(SETTINGS)] = LayerOrder([3, 2, 1, 0])
    controls = find_controls(engine, PROMPTS[:4], SETTINGS)
    assert [row.name for row in controls.rows] == list(NAMES)


# Shuffled tokens and random orders ------------------------------------------------


@pytest.mark.parametrize("number", range(3))
def test_shuffled_tokens_are_the_same_ones_behind_token_0(tiny, number):
    tokenizer = tiny[1]
    prompt = PROMPTS[number]
    tokens = tokenise(tokenizer, prompt, False, Vocabulary(tokenizer))
    (_, mixed), (_, again), (_, other) = (
        shuffled_sample((prompt, tokens), seed, number) for seed in (1, 1, 2)
    )
    assert mixed.ids[0] == tokens.ids[0]
    assert sorted(mixed.ids) == sorted(tokens.ids)
    assert sorted(mixed.texts) == sorted(tokens.texts)
    pairs = dict(zip(tokens.ids.tolist(), tokens.texts, strict=True))
    assert [pairs[id_] for id_ in mixed.ids.tolist()] == mixed.texts
    assert mixed.ids.tolist() != tokens.ids.tolist()
    assert mixed.ids.tolist() == again.ids.tolist() != other.ids.tolist()
    assert mixed.answer_start == len(tokens)


def test_random_orders_are_seeded_permutations():
    orders = random_orders(30, 1)
    assert len(set(orders)) == DRAWS
    assert all(sorted(order) == list(range(30)) for order in orders)
    assert orders == random_orders(30, 1) != random_orders(30, 2)


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
    assert all(row.layers is not None for row in others)


def test_an_untrained_model_that_does_not_fit_is_missing(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("depthtui.models.untrained.free_memory", lambda: 1)
    controls = find_controls(engine_with(*tiny, tmp_path), PROMPTS[:4], SETTINGS)
    assert "it takes" in controls.rows[-1].missing


# What is told apart -----------------------------------------------------------------


def test_two_layers_of_six_are_told_apart_from_random_orders(tmp_path):
    model, tokenizer = with_tokenizer("llama")
    with torch.no_grad():
        for number, block in enumerate(blocks(model)):
            for module in (block.self_attn.o_proj, block.mlp.down_proj):
                module.weight.mul_(4.0 if number in (0, 3) else 0.0)
    six, _ = with_idle(model, [1, 4])
    controls = find_controls(engine_with(six, tokenizer, tmp_path), PROMPTS, SETTINGS)
    model_row, random_row = controls.row("model"), controls.row("random_order")
    assert model_row.layers < 2.5
    assert random_row.layers > 3
    assert random_row.interval[0] > model_row.interval[1]


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
    def stop(bench):
        raise RunStopped

    monkeypatch.setattr("depthtui.engine.controls.row_of_untrained", stop)
    with pytest.raises(RunStopped):
        find_controls(engine_with(*tiny, tmp_path), PROMPTS[:4], SETTINGS)
    assert not list(tmp_path.rglob("*.controls.json"))


def test_prompts_of_one_token_are_refused(tiny, tmp_path):
    with pytest.raises(DepthError, match="after the first"):
        find_controls(engine_with(*tiny, tmp_path), [Prompt("a")], SETTINGS)
