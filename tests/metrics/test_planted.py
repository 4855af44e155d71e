"""Planted truth: what is said of models whose use of depth is known."""

import functools
import itertools
import re
from dataclasses import replace
from random import Random

import numpy as np
import pytest
import torch

from depthtui.data.pieces import NumberedParts
from depthtui.data.run import Prompt
from depthtui.data.run_settings import ModelSpec, RunSettings, SummarySettings
from depthtui.data.store import open_store
from depthtui.depth.by_type import by_type
from depthtui.depth.reading import reading_of
from depthtui.engine.engine import Engine
from depthtui.metrics import ablation, kept, parts
from depthtui.metrics.kept.curve import KeptLimit
from depthtui.metrics.needed_settings import with_other_prompts
from depthtui.models.loading import LoadedModel, describe
from depthtui.models.untrained import Blueprint
from tests import tiny_models
from tests.naive import blocks
from tests.planted import (
    WORDS,
    blind_to,
    in_halves,
    induction_model,
    knowing_pairs,
    rotated,
    tokenizer_of,
    with_cancelling_pair,
    with_idle,
    with_unread_layer,
    working_only_in,
)
from tests.tiny_models import CORPUS, VOCAB, with_tokenizer

LAYERS = 4
SETTINGS = RunSettings(
    metrics=("contributions", "logit_lens", "similarity", "ablation", "kept"),
    order_source="own",
    order_search="greedy",
)
KEPT = RunSettings(metrics=("contributions", "ablation", "kept"))
"""In the model's order."""


@functools.cache
def tiny():
    return with_tokenizer("llama")


@functools.cache
def plain():
    """The model that plants are put into, and its reading."""
    model = working_only_in(tiny()[0], dict.fromkeys(range(LAYERS), 3.0))
    return model, read(model)


def loaded(model, tokenizer=None):
    tokenizer = tokenizer or tiny()[1]
    info = describe(ModelSpec("tiny"), "tiny", "in memory", model, tokenizer, 1)
    return LoadedModel(model, tokenizer, info, {"": 1})


def read(model, texts=CORPUS[:4], settings=SETTINGS, tokenizer=None):
    """The reading of prompts on a model."""
    engine = Engine(open_store(None, 0, pytest.fail), None, lambda event: None)
    engine.use(loaded(model, tokenizer))
    prompts = [text if isinstance(text, Prompt) else Prompt(text) for text in texts]
    # Settings that name the texts of the order keep them.
    runs = [
        engine.run(
            prompt,
            settings if settings.order_texts else with_other_prompts(settings, prompts, number),
        )
        for number, prompt in enumerate(prompts)
    ]
    assert not any(run.unavailable for run in runs)
    return reading_of(runs, SummarySettings())


def layers_within(reading):
    return kept.output_of(reading).kl.crossing(1)


def staying_within(reading):
    return reading.left_out.staying(reading.left_out.least("kl", 1))


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
    for way in kept.output_of(result).ways:
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
    assert staying_within(result) == (layer,)
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
    assert set(staying_within(result)) <= {0, 4}


@pytest.mark.parametrize("metrics", [("kept",), SETTINGS.metrics, ("ablation", "kept")])
def test_random_weights_know_too_little_whatever_is_measured(metrics):
    settings = replace(KEPT, metrics=metrics)
    result = read(Blueprint.of(loaded(tiny()[0])).build(1).model, settings=settings)
    assert result.verdict.headline.too_little
    assert result.verdict.headline.count is None
    assert not re.search("[0-9]", result.verdict.words.headline)
    assert not any(one.firm or one.holds_here for one in result.evidence)


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
    for way in kept.output_of(result).ways:
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
    assert all(way.order[0] == 2 for way in kept.output_of(result).ways)
    assert layers_within(result) == pytest.approx(layers_within(base), abs=0.1)


# What the layers keep of what the model knows ---------------------------------------


def curve_of(reading):
    return reading.get(kept.METRIC).curve


def knowing(last_gain):
    """A model, its tokenizer, and texts that it wrote, whose last layer writes less."""
    words = [f"w{number}" for number in range(VOCAB)]
    gains = dict.fromkeys(range(LAYERS - 1), 3.0) | {LAYERS - 1: last_gain}
    model, noise = working_only_in(tiny_models.tiny("llama"), gains), torch.Generator()
    noise.manual_seed(0)
    ids = torch.randint(3, VOCAB, (6, 1), generator=noise)
    with torch.no_grad():
        for _ in range(23):
            chances = model(ids).logits[:, -1].softmax(-1)
            ids = torch.cat([ids, torch.multinomial(chances, 1, generator=noise)], dim=1)
    return model, tokenizer_of(words), [" ".join(words[id_] for id_ in row) for row in ids.tolist()]


def test_scattered_idle_layers_leave_counts_and_firmness_as_they_were():
    model, tokenizer, texts = knowing(last_gain=0.6)
    # With a tenth of all 11 layers as its width, the fragile count would be firm.
    longer, idle = with_idle(model, [0, 1, 2, 3, 3, 4, 4])
    base, result = (read(one, texts, KEPT, tokenizer) for one in (model, longer))
    assert result.idle == tuple(idle)
    for least in (0.9, 0.5):
        assert curve_of(result).layers(KeptLimit(least)) == pytest.approx(
            curve_of(base).layers(KeptLimit(least)), 1e-4
        )
    assert curve_of(result).mean_depth == pytest.approx(curve_of(base).mean_depth, 1e-4)
    ours, theirs = (
        next(row for row in reading.evidence if row.measure == "kept") for reading in (result, base)
    )
    assert ours.reliability == theirs.reliability
    assert (ours.count, ours.low, ours.high) == (theirs.count, theirs.low, theirs.high)


def copying(seed):
    """Four words twice; the answer is how they go on the second time."""
    words = Random(seed).sample(WORDS[:6], 4)
    return Prompt(" ".join([*words, *words]), " ".join(words[1:]))


@pytest.mark.parametrize("order", ["model", "own"])
def test_an_answer_takes_the_layers_that_move_it(order):
    """Without either nothing is left: a cliff, half a layer in front of both."""
    model, tokenizer = induction_model((1, 4), n_layers=6, places=24)
    settings = replace(KEPT, order_source=order)
    result = read(model, [copying(seed) for seed in range(6)], settings, tokenizer)
    assert curve_of(result).scored == "answer"
    assert result.get(kept.METRIC).kept_layers == (1, 4)
    assert curve_of(result).layers() == pytest.approx(1.9, abs=0.02)
    assert curve_of(result).mean_depth == pytest.approx(1.5, abs=0.02)
    assert set(result.idle) == {0, 2, 3, 5}


PARTS = replace(KEPT, metrics=("contributions", "parts"))


@pytest.mark.parametrize("order", ["model", "own"])
def test_a_copy_takes_the_attentions_that_make_it(order):
    model, tokenizer = induction_model((1, 4), n_layers=6, places=24)
    settings = replace(PARTS, order_source=order)
    result = read(model, [copying(seed) for seed in range(6)], settings, tokenizer)
    kept_parts = result.get(parts.METRIC)
    assert NumberedParts.of(kept_parts.knowledge.kept_layers) == NumberedParts((1, 4), ())
    assert kept_parts.knowledge.curve.layers() == pytest.approx(1.9, abs=0.02)
    (row,) = (row for row in result.evidence if row.measure == "parts")
    assert (row.count, row.layers) == (1, (1, 4))
    assert "0 MLPs and 2 attentions" in row.meaning


def test_a_fact_takes_the_mlp_that_knows_it():
    model, tokenizer = induction_model((2, 4), fact=1, n_layers=6, places=24)
    facts = [Prompt(f"{word} g h", "h") for word in WORDS[:6]]
    result = read(model, facts, replace(PARTS, order_source="own"), tokenizer)
    kept_parts = result.get(parts.METRIC)
    assert NumberedParts.of(kept_parts.knowledge.kept_layers) == NumberedParts((), (1,))


def test_a_layer_that_one_task_alone_takes_is_not_seen_by_an_order_of_another():
    model, tokenizer = induction_model((2, 4), fact=1, n_layers=6, places=24)
    facts = [Prompt(f"{word} g h", "h") for word in WORDS[:6]]
    copies = [copying(seed) for seed in range(6)]
    own = replace(KEPT, order_source="own")
    alone = read(model, facts, own, tokenizer)
    assert alone.get(kept.METRIC).kept_layers == (1,)
    assert curve_of(alone).layers() == pytest.approx(0.9, abs=0.01)
    assert curve_of(alone).mean_depth == pytest.approx(0.5, abs=0.01)
    assert read(model, copies, own, tokenizer).get(kept.METRIC).kept_layers == (2, 4)
    # Behind the idle layers it goes first, and with it the whole answer.
    of_copies = replace(own, order_texts=tuple(prompt.text for prompt in copies))
    other = read(model, facts, of_copies, tokenizer)
    assert other.get(kept.METRIC).order.index(1) == 3
    assert curve_of(other).layers() == pytest.approx(2.9, abs=0.01)
    assert curve_of(other).mean_depth == pytest.approx(2.5, abs=0.01)
