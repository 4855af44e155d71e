"""Planted truth: what is said of models whose use of depth is known."""

import functools
import itertools

import numpy as np
import pytest

from depthtui.data.run import Prompt
from depthtui.data.run_settings import ModelSpec, RunSettings, SummarySettings
from depthtui.data.store import open_store
from depthtui.depth.by_type import by_type
from depthtui.depth.reading import reading_of
from depthtui.engine.engine import Engine
from depthtui.metrics import ablation, with_order_texts
from depthtui.metrics.sufficient import METRIC
from depthtui.models.loading import LoadedModel, describe
from depthtui.models.untrained import Blueprint
from tests.naive import blocks
from tests.planted import (
    blind_to,
    in_halves,
    knowing_pairs,
    rotated,
    with_cancelling_pair,
    with_idle,
    with_unread_layer,
    working_only_in,
)
from tests.tiny_models import CORPUS, with_tokenizer

LAYERS = 4
SETTINGS = RunSettings(
    metrics=("contributions", "logit_lens", "similarity", "ablation", "kept"),
    sufficient_order="own",
    sufficient_search="greedy",
)


@functools.cache
def tiny():
    return with_tokenizer("llama")


@functools.cache
def plain():
    """The model that plants are put into, and its reading."""
    model = working_only_in(tiny()[0], dict.fromkeys(range(LAYERS), 3.0))
    return model, read(model)


def loaded(model):
    info = describe(ModelSpec("tiny"), "tiny", "in memory", model, tiny()[1], 1)
    return LoadedModel(model, tiny()[1], info, {"": 1})


def read(model, texts=CORPUS[:4]):
    """The reading of prompts on a model."""
    engine = Engine(open_store(None, 0, pytest.fail), None, lambda event: None)
    engine.use(loaded(model))
    runs = [
        engine.run(Prompt(text), with_order_texts(SETTINGS, texts, number))
        for number, text in enumerate(texts)
    ]
    assert not any(run.unavailable for run in runs)
    return reading_of(runs, SummarySettings())


def layers_within(reading):
    return reading.get(METRIC).within()


def layers_of(reading):
    """The counts of layers that may lie anywhere, by measure."""
    return {one.measure: one.count for one in reading.evidence if one.layers is not None}


@pytest.mark.parametrize(
    ("where", "before"),
    [("in front", [0, 0]), ("behind", [LAYERS, LAYERS]), ("between", [1, 3, 3])],
)
def test_idle_layers_are_named_and_counted_nowhere(where, before):
    base_model, base = plain()
    model, idle = with_idle(base_model, before)
    result = read(model)
    assert result.idle == tuple(idle), where
    assert layers_within(result) == pytest.approx(layers_within(base), abs=1e-3)
    assert layers_of(result) == layers_of(base)
    for way in result.get(METRIC).ways:
        assert set(way.order[: len(idle)]) == set(idle)
        assert np.abs(way.curve[: len(idle) + 1]).max() < 1e-5
    most = len(blocks(model)) - len(idle)
    assert all(count <= most for count in layers_of(result).values())


def test_the_idle_layer_alone_can_go():
    _, base = plain()
    assert base.get(ablation.METRIC).can_go == []
    result = read(with_idle(plain()[0], [2])[0])
    assert result.get(ablation.METRIC).can_go == [2]


@pytest.mark.parametrize("working", ["linear attention", "full attention"])
def test_layers_of_one_type_do_all_the_work(working):
    layers = {"linear attention": (0, 2), "full attention": (1, 3)}
    model = working_only_in(with_tokenizer("qwen3_5")[0], dict.fromkeys(layers[working], 3.0))
    result = {one.name: one for one in by_type(read(model))}
    assert {name: one.layers for name, one in result.items()} == layers
    (idle,) = (one for name, one in result.items() if name != working)
    assert idle.means["contribution"] == 0
    assert idle.means["block influence"] == pytest.approx(0, abs=1e-6)
    assert idle.means["output KL"] == pytest.approx(0, abs=1e-6)
    assert set(idle.used.values()) == {0}
    assert result[working].means["output KL"] > 0.05
    assert result[working].used["ablation"] > 0


def test_another_basis_of_the_stream_changes_nothing():
    model, base = plain()
    result = read(rotated(model))
    assert result.verdict.text == base.verdict.text
    assert layers_within(result) == pytest.approx(layers_within(base), abs=1e-3)
    np.testing.assert_allclose(
        result.get(ablation.METRIC).output.kl, base.get(ablation.METRIC).output.kl, atol=1e-4
    )


@pytest.mark.parametrize("layer", range(LAYERS))
def test_one_layer_that_does_all_is_the_one_that_stays(layer):
    result = read(working_only_in(tiny()[0], {layer: 4.0}))
    assert layers_within(result) == 1.0
    assert result.get(METRIC).kept_layers == (layer,)
    assert result.idle == tuple(one for one in range(LAYERS) if one != layer)
    assert layers_of(result)["ablation"] == 1
    assert "tiny knows too little of these texts to say" in result.verdict.text


def test_of_layers_that_alone_work_no_other_stays():
    """One of two goes within a nat or does not, and no layer that does nothing stays for it."""
    model = working_only_in(tiny()[0], {0: 4.0, 3: 4.0})
    six, idle = with_idle(model, [1, 4])
    result = read(six)
    assert idle == [1, 5]
    assert set(result.idle) == {1, 2, 3, 5}
    assert 1 < layers_within(result) <= 2
    assert set(result.get(METRIC).kept_layers) <= {0, 4}


def test_random_weights_know_nothing():
    result = read(Blueprint.of(loaded(tiny()[0])).build(1).model)
    assert result.verdict.text.startswith("The model knows nothing of these texts")
    assert result.get(METRIC).within() < layers_within(plain()[1])


def test_a_model_that_knows_its_texts_is_not_warned_of():
    """Without a working layer: the embedding alone says what follows."""
    text = "the dog, the dog, the dog, the dog, the dog, the dog, the dog, the dog,"
    ids = tiny()[1](text).input_ids
    following = set(itertools.pairwise(ids[1:]))
    result = read(knowing_pairs(tiny()[0], ids), [text])
    assert len(following) == len({before for before, _ in following})
    assert result.means["loss"] < 0.5
    assert result.verdict.warnings == ()
    assert result.idle == tuple(range(LAYERS))
    assert layers_within(result) == 1.0


def test_a_layer_in_two_halves_is_two_layers():
    model, base = plain()
    halves = read(in_halves(model, 1))
    assert halves.idle == ()
    assert layers_of(halves)["ablation"] == layers_of(base)["ablation"] + 1
    assert layers_within(halves) > layers_within(base)


# Plants that single interventions, or movement, are wrong of ------------------------


def test_two_layers_that_undo_each_other_are_missed_alone_and_not_together():
    model, base = plain()
    result = read(with_cancelling_pair(model, 2, 6.0))
    kl = result.get(ablation.METRIC).output.kl
    assert result.idle == ()
    assert min(kl[2], kl[3]) > 0.05
    assert layers_of(result)["ablation"] == layers_of(base)["ablation"] + 2
    assert layers_within(result) == pytest.approx(layers_within(base), abs=1e-3)
    for way in result.get(METRIC).ways:
        assert set(way.order[:2]) == {2, 3}
        assert way.curve[2] < 1e-5


def test_a_layer_that_writes_where_nothing_reads_moves_the_stream_and_is_not_missed():
    model, _ = plain()
    direction = 5
    base = read(blind_to(model, direction))
    result = read(with_unread_layer(model, direction, 2, 0.5))
    assert result.idle == ()
    assert result.get(ablation.METRIC).output.kl[2] < 0.02
    assert layers_of(result)["ablation"] == layers_of(base)["ablation"]
    assert all(way.order[0] == 2 for way in result.get(METRIC).ways)
    assert layers_within(result) == pytest.approx(layers_within(base), abs=0.1)
