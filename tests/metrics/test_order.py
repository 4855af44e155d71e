"""Layers side by side and swapped: the naive way, planted truth, and the count of steps."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from depthtui.data.run_settings import SummarySettings
from depthtui.depth.reading import reading_of
from depthtui.metrics.order import (
    METRIC,
    Order,
    pairs_side_by_side,
)
from depthtui.tracing.probe import probe_architecture
from depthtui.tracing.replay import Replay
from tests.builders.kernels import order
from tests.builders.readings import evidence_by
from tests.builders.results import run
from tests.naive import blocks, naive_reordered_losses, token_losses
from tests.tiny_models import fresh, on_few_models, random_ids, tiny


def replayed(model, tokens=12, **options):
    ids = random_ids(tokens)
    anatomy = probe_architecture(model)
    return ids, anatomy, Replay(model, anatomy, ids[0], **options)


@on_few_models()
def test_against_one_forward_a_pair(name):
    model = tiny(name)
    ids, anatomy, replay = replayed(model)
    actual = order(replay, anatomy.unembedding)
    clean = token_losses(model, ids)
    for layer in range(replay.n_layers - 1):
        for values, swapped in ((actual.parallel, False), (actual.swapped, True)):
            expected = naive_reordered_losses(model, ids, layer, swapped) - clean
            np.testing.assert_allclose(values[layer], expected, rtol=2e-4, atol=2e-5)
    assert np.abs(actual.parallel).max() > 0.01
    assert np.abs(actual.swapped - actual.parallel).max() > 0.01


@pytest.mark.parametrize("at_once", [1, 2])
def test_pairs_in_groups_and_small_batches_are_the_same(at_once):
    model = tiny("llama")
    _ids, anatomy, replay = replayed(model)
    whole = order(replay, anatomy.unembedding)
    _ids, _anatomy, small = replayed(model, tokens_at_once=30)
    done = []
    parts = order(
        small, anatomy.unembedding, at_once, lambda count, total, _: done.append((count, total))
    )
    np.testing.assert_allclose(parts.parallel, whole.parallel, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(parts.swapped, whole.swapped, rtol=1e-4, atol=1e-5)
    assert done[-1] == (12, 12)


def test_pairs_are_known_in_parts_the_last_first_and_go_on_from_them():
    _ids, anatomy, replay = replayed(tiny("llama"))
    whole = order(replay, anatomy.unembedding)
    reports = []
    order(replay, anatomy.unembedding, 1, lambda *row: reports.append(row))
    partials = [value for *_, value in reports if value is not None]
    assert partials[0].is_known.tolist() == [False, False, True]
    assert not partials[0].is_whole
    assert whole.is_whole
    for name in ("parallel", "swapped"):
        np.testing.assert_allclose(
            getattr(partials[0], name)[2], getattr(whole, name)[2], rtol=1e-4, atol=1e-5
        )
    reports.clear()
    begun = replace(partials[0], unchanged=np.full_like(whole.unchanged, 0.25))
    again = order(replay, anatomy.unembedding, 0, lambda *row: reports.append(row), begun)
    np.testing.assert_allclose(again.parallel, whole.parallel, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(again.swapped, whole.swapped, rtol=1e-4, atol=1e-5)
    assert again.floor == 0.25
    assert (reports[0][0], reports[-1][:2]) == (2, (12, 12))
    # What was told of and gone on from stays as it was.
    assert not begun.is_whole


def test_with_some_pairs_there_is_no_depth_yet():
    result = run(tokens=12)
    actual = Order.unknown(result.model.n_layers, 12)
    actual.unchanged[:] = 0.0
    actual.parallel[-2:], actual.swapped[-2:] = 0.0, 0.0
    result.put(METRIC.name, actual)
    pooled = reading_of([result], SummarySettings())
    value = pooled.get(METRIC)
    words = f"2 of {result.model.n_layers - 1} pairs of layers so far"
    (evidence,) = evidence_by(METRIC, pooled)
    assert (value.depth, evidence.count, evidence.reason) == (None, None, words)
    assert METRIC.findings(value, pooled)[0].remark == words
    assert METRIC.summary(value, pooled)["depth"] is None


def test_nothing_is_computed_twice():
    _ids, anatomy, replay = replayed(tiny("llama"))
    before = replay.evaluations
    order(replay, anatomy.unembedding)
    # An unchanged row of 4 layers; of 3 pairs two layers each, and two runs of what is behind.
    assert replay.evaluations - before == (4 + 3 * 2 + 2 * (2 + 1)) * replay.n_tokens


def silenced(*layers):
    """A model whose layers write nothing, and their pairs."""
    model = fresh("llama")
    with torch.no_grad():
        for layer in layers:
            for module in (
                blocks(model)[layer].self_attn.o_proj,
                blocks(model)[layer].mlp.down_proj,
            ):
                module.weight.zero_()
    _ids, anatomy, replay = replayed(model)
    return anatomy.unembedding, order(replay, anatomy.unembedding)


@pytest.mark.parametrize("layer", [1, 2])
def test_a_layer_that_writes_nothing_is_in_no_pair(layer):
    """The layers around it are a pair: as in the model without it."""
    unembedding, actual = silenced(layer)
    assert actual.idle == (layer,)
    assert (actual.parallel[layer] == 0).all()
    assert (actual.swapped[layer] == 0).all()
    model = fresh("llama")
    del blocks(model)[layer]
    model.config.num_hidden_layers = 3
    for place, block in enumerate(blocks(model)):
        block.self_attn.layer_idx = place
    _ids, _anatomy, shorter = replayed(model)
    expected = order(shorter, unembedding)
    pairs = [row for row in range(3) if row != layer]
    for name in ("parallel", "swapped"):
        values = getattr(actual, name)[pairs]
        np.testing.assert_allclose(values, getattr(expected, name), rtol=1e-3, atol=1e-5)
        assert np.abs(values).max() > 0.01
    result, other = run(tokens=12), run(tokens=12, layers=3)
    result.put(METRIC.name, actual)
    other.put(METRIC.name, expected)
    pooled, other = (reading_of([one], SummarySettings()) for one in (result, other))
    steps, fewer = pooled.get(METRIC), other.get(METRIC)
    assert steps.depth == fewer.depth
    assert layer not in steps.steps()
    assert "1 layer writes nothing" in METRIC.findings(steps, pooled)[0].remark


@pytest.mark.parametrize(("layers", "pairs"), [((0, 3), [1]), ((1, 2), [0]), ((0, 1, 2, 3), [])])
def test_pairs_where_several_layers_write_nothing(layers, pairs):
    _unembedding, actual = silenced(*layers)
    assert actual.is_whole
    assert np.flatnonzero(np.abs(actual.parallel).max(axis=1) > 1e-4).tolist() == pairs
    result = run(tokens=12)
    result.put(METRIC.name, actual)
    pooled = reading_of([result], SummarySettings())
    value = pooled.get(METRIC)
    (evidence,) = evidence_by(METRIC, pooled)
    left = [layer for layer in range(4) if layer not in layers]
    cheap = sum(value.parallel[pair] < 0.05 for pair in pairs)
    assert value.depth == evidence.count == len(evidence.layers) == len(left) - cheap
    assert set(evidence.layers) <= set(left)


def test_layers_of_constants_commute():
    """Attention silent, and an MLP that adds its bias: what a layer writes does not depend on h."""
    model = fresh("gpt2")
    for block in blocks(model)[1:3]:
        with torch.no_grad():
            block.attn.c_proj.weight.zero_()
            block.mlp.c_proj.weight.zero_()
            assert block.mlp.c_proj.bias.abs().max() > 0
    _ids, anatomy, replay = replayed(model)
    result = order(replay, anatomy.unembedding)
    assert np.abs(result.parallel[1]).max() < 1e-5
    assert np.abs(result.swapped[1]).max() < 1e-5
    # Layer 0 may stand beside a constant, but not read it.
    assert np.abs(result.parallel[0]).max() < 1e-5
    assert np.abs(result.swapped[0]).max() > 0.01
    assert np.abs(result.parallel[2]).max() > 0.01


def most_pairs(cheap):
    """The largest number of pairs of which no two share a layer, by trying all."""
    return max(
        len(chosen)
        for count in range(len(cheap) + 1)
        for chosen in itertools.combinations(cheap, count)
        if all(b - a > 1 for a, b in itertools.pairwise(chosen))
    )


def test_as_many_pairs_as_may_run_side_by_side():
    for bits in itertools.product([0.0, 1.0], repeat=9):
        costs = np.array(bits)
        cheap = [pair for pair, cost in enumerate(bits) if cost == 0]
        taken = pairs_side_by_side(costs)
        assert set(taken) <= set(cheap)
        assert all(b - a > 1 for a, b in itertools.pairwise(taken))
        assert len(taken) == most_pairs(cheap)
        assert pooled_of(bits).get(METRIC).depth == 10 - len(taken)


def run_of(parallel, tokens):
    """A run in which each pair costs the same at every token."""
    costs = np.repeat(np.array(parallel, np.float32)[:, None], tokens - 1, axis=1)
    result = run(tokens=tokens, layers=len(parallel) + 1)
    result.put(METRIC.name, Order(costs, 2 * costs, np.full(tokens - 1, 1e-4, np.float32)))
    return result


def pooled_of(parallel, tokens=5):
    return reading_of([run_of(parallel, tokens)], SummarySettings())


def test_the_depth_and_its_range():
    pooled = pooled_of([0.045, 1, 0.055, 1, 0.01, 1, 0.045, 1, 0.041])
    value = pooled.get(METRIC)
    (row,) = evidence_by(METRIC, pooled)
    assert (row.count, row.low, row.high, row.firm) == (6, 5, 9, False)
    assert row.reason == "4 pairs of layers cost between 0.04 and 0.06 nats side by side"
    assert (row.kind, row.measure) == ("causal", "order")
    line = METRIC.findings(value, pooled)[0]
    assert line.value == "6 of 10 layers"
    assert line.remark == "4 pairs of layers could run side by side, each less than 0.05 nats"
    summary = METRIC.summary(value, pooled)
    assert set(summary) == {"parallel", "swapped", "depth", "floor"}
    assert summary["depth"] == 6
    np.testing.assert_allclose(summary["swapped"], 2 * summary["parallel"])
    firm = pooled_of([1.0] * 5)
    (row,) = evidence_by(METRIC, firm)
    assert (row.count, row.low, row.high, row.holds_here) == (6, 6, 6, True)
    assert "no pair side by side" in METRIC.findings(firm.get(METRIC), firm)[0].remark


@pytest.mark.parametrize("include_first", [True, False])
def test_prompts_are_pooled_by_their_tokens(include_first):
    rng = np.random.default_rng(3)
    runs = [run("a b", tokens=3), run("c d", tokens=6), run("none", tokens=4)]
    actual = [
        Order(*rng.uniform(0, 1, (2, 3, tokens - 1)), rng.uniform(0, 1e-3, tokens - 1))
        for tokens in (3, 6)
    ]
    for result, one in zip(runs, actual, strict=False):
        result.put(METRIC.name, one)
    pooled = reading_of(runs, SummarySettings(include_first_token=include_first))
    first = 0 if include_first else 1
    expected = np.concatenate([one.parallel[:, first:] for one in actual], axis=1).mean(axis=1)
    np.testing.assert_allclose(pooled.get(METRIC).parallel, expected)
    unchanged = np.concatenate([one.unchanged[first:] for one in actual])
    assert pooled.get(METRIC).floor == unchanged.max()
    noise = np.linalg.norm(unchanged) / len(unchanged)
    assert pooled.get(METRIC).noise == pytest.approx(noise, rel=1e-12)


def test_the_depth_for_tables_is_that_of_the_mean_costs():
    runs = [
        run_of([0.0, 1.0, 0.3], 4),
        run_of([0.09, 1.0, 0.0], 7),
        run("none", tokens=100),
    ]
    # Means by predicted tokens: 0.06, 1, 0.1.
    for prompts, depth in ((runs, 4.0), (runs[:1], 3.0)):
        pooled = reading_of(prompts, SummarySettings())
        assert METRIC.means(pooled.get(METRIC), pooled) == {"sequential depth": depth}


def test_what_cannot_be_had():
    assert METRIC.why_unavailable(run(tokens=1)) == "the prompt is a single token"
    assert METRIC.why_unavailable(run(layers=1)) == "the model has a single layer"
    assert METRIC.why_unavailable(run()) == ""
