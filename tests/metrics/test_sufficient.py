"""Layers that suffice: whole forwards, planted truth, closed forms."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from depthtui.data.plain import from_plain, to_plain
from depthtui.data.run_settings import SummarySettings
from depthtui.depth.reading import reading_of
from depthtui.errors import DepthError
from depthtui.metrics.sufficient import (
    METRIC,
    ReducedSufficient,
    Sufficient,
    block_numbers,
    block_weights,
    crossing_above,
)
from depthtui.metrics.sufficient.compute import own_orders, sufficient
from depthtui.metrics.sufficient.order_search import LayerOrder, Texts, greedy_order
from depthtui.tracing.probe import probe_architecture
from depthtui.tracing.replay import Replay
from tests.builders.results import run
from tests.naive import blocks, naive_without
from tests.tiny_models import FEW, fresh, on_few_models, random_ids, tiny

TOKENS = 14


def replayed(model, tokens=TOKENS, **options):
    ids = random_ids(tokens)
    anatomy = probe_architecture(model)
    return ids, anatomy.unembedding, Replay(model, anatomy, ids[0], **options)


def naive_changes(model, ids, left_out):
    """KL to the whole model's output and choices kept, `[T]` each, by one whole forward."""
    clean, other = naive_without(model, ids, ()), naive_without(model, ids, left_out)
    kl = (np.exp(clean) * (clean - other)).sum(-1)
    return kl, (clean.argmax(-1) == other.argmax(-1)).astype(float)


def naive_cost(model, ids, left_out, chosen):
    """The mean over blocks of four scored tokens, each block's tokens counting alike."""
    kl, _ = naive_changes(model, ids, left_out)
    starts = range(1, ids.shape[1], 4)
    return np.mean([kl[start : start + 4].mean() for start in list(starts)[chosen]])


def naive_greedy(model, ids, chosen):
    """Every layer is tried in every round."""
    gone, count = [], len(blocks(model))
    while len(gone) < count - 1:
        costs = {
            layer: naive_cost(model, ids, (*gone, layer), chosen)
            for layer in range(count)
            if layer not in gone
        }
        best = min(costs, key=lambda layer: (costs[layer], -layer))
        gone.append(best)
        if costs[best] > 3:
            break
    return gone


def naive_ranked(model, ids, chosen):
    costs = [naive_cost(model, ids, (layer,), chosen) for layer in range(len(blocks(model)))]
    return sorted(range(len(costs)), key=lambda layer: (costs[layer], -layer))


def begun(replay, orders, way):
    result = Sufficient.unknown(
        replay.n_layers, replay.n_tokens, kind="own", search="ranked", orders=orders
    )
    return replace(result, way=np.asarray(way, np.int32))


def own(replay, unembedding, search="ranked", at_once=0):
    """The metric with orders of the prompt's own halves."""
    orders = own_orders(replay, unembedding, search, at_once or replay.n_layers)
    way = np.minimum(block_numbers(replay.n_tokens), 0)
    way[1:] = 1 - block_numbers(replay.n_tokens)[1:] % 2
    return sufficient(replay, unembedding, begun(replay, orders, way), at_once)


@on_few_models()
def test_against_whole_forwards(name):
    model = tiny(name)
    ids, unembedding, replay = replayed(model)
    with torch.no_grad():
        result = own(replay, unembedding)
    halves = slice(0, None, 2), slice(1, None, 2)
    assert result.orders == tuple(tuple(naive_ranked(model, ids, half)) for half in halves)
    assert result.is_whole
    for way, order in enumerate(result.orders):
        tokens = result.way == way
        for count in range(len(order)):
            kl, kept = naive_changes(model, ids, order[:count])
            np.testing.assert_allclose(result.kl[count, tokens], kl[tokens], rtol=2e-3, atol=2e-5)
            np.testing.assert_array_equal(result.kept[count, tokens], kept[tokens])
    assert np.isnan(result.kl[:, 0]).all()
    assert np.nanmax(result.kl) > 0.01


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2"])
def test_a_greedy_order_is_that_of_all_layers_tried_in_every_round(name):
    model = tiny(name)
    ids, unembedding, replay = replayed(model)
    with torch.no_grad():
        orders = own_orders(replay, unembedding, "greedy", replay.n_layers)
    halves = slice(0, None, 2), slice(1, None, 2)
    for order, half in zip(orders, halves, strict=True):
        # Four layers are tried in every round, which are all of them.
        assert list(order) == naive_greedy(model, ids, half)


@pytest.mark.parametrize("at_once", [1, 2])
def test_rows_in_groups_and_small_batches_are_the_same(at_once):
    _ids, unembedding, replay = replayed(tiny("llama"))
    _ids, _unembedding, small = replayed(tiny("llama"), tokens_at_once=20)
    with torch.no_grad():
        whole, parts = own(replay, unembedding), own(small, unembedding, at_once=at_once)
    assert parts.orders == whole.orders
    np.testing.assert_allclose(parts.kl, whole.kl, rtol=1e-4, atol=1e-6)


def test_rows_that_are_known_are_not_computed_again():
    _ids, unembedding, replay = replayed(tiny("llama"))
    with torch.no_grad():
        whole = own(replay, unembedding)
        reports = []
        unfinished = begun(replay, whole.orders, whole.way)
        sufficient(replay, unembedding, unfinished, 1, lambda *row: reports.append(row))
        assert [done for done, _, _ in reports] == list(range(1, 9))
        half = reports[3][2]
        assert not half.is_whole
        before = replay.evaluations
        again = sufficient(replay, unembedding, half)
    np.testing.assert_allclose(again.kl, whole.kl, rtol=1e-4, atol=1e-6)
    assert np.isnan(half.kl[:, half.way == 1]).all()
    # The rows of the second order alone, from the lowest layer that each is without.
    order = whole.orders[1]
    layers = sum(4 - min(order[:count]) - count for count in range(1, 4))
    assert replay.evaluations - before == layers * replay.n_tokens


def test_an_idle_layer_costs_nothing_and_goes_first():
    model = fresh("llama")
    with torch.no_grad():
        for module in (blocks(model)[1].self_attn.o_proj, blocks(model)[1].mlp.down_proj):
            module.weight.zero_()
        _ids, unembedding, replay = replayed(model)
        for search in ("ranked", "greedy"):
            result = own(replay, unembedding, search)
            assert [order[0] for order in result.orders] == [1, 1]
            scored = result.way >= 0
            np.testing.assert_allclose(result.kl[1, scored], 0, atol=result.floor + 1e-6)


def test_of_equal_layers_the_higher_goes_first():
    model = fresh("llama")
    with torch.no_grad():
        for layer in (0, 2):
            for module in (
                blocks(model)[layer].self_attn.o_proj,
                blocks(model)[layer].mlp.down_proj,
            ):
                module.weight.zero_()
        _ids, unembedding, replay = replayed(model)
        orders = own_orders(replay, unembedding, "ranked", 4)
    assert [order[:2] for order in orders] == [(2, 0), (2, 0)]


def test_a_search_goes_on_from_where_it_was():
    _ids, unembedding, replay = replayed(tiny("llama"))
    reports = []

    def text():
        weights = block_weights(replay.n_tokens, range(4))
        return Texts([replay], unembedding, weights, replay.n_layers)

    with torch.no_grad():
        whole = greedy_order([text()], replay.n_layers, on_layer=reports.append)
        again = greedy_order([text()], replay.n_layers, reports[0])
    assert isinstance(reports[0], LayerOrder)
    assert len(reports[0].layers) == 1
    assert again.layers == whole.layers
    np.testing.assert_allclose(again.costs, whole.costs, rtol=1e-4)


@on_few_models(few=[*FEW, "gemma4"])
def test_texts_that_run_together_cost_what_each_costs_alone(name):
    model = tiny(name)
    anatomy = probe_architecture(model)
    replays = [Replay(model, anatomy, random_ids(TOKENS, seed=seed)[0]) for seed in (0, 1, 2)]
    weights = np.arange(TOKENS, dtype=float)
    with torch.no_grad():
        served = [replay for replay in replays if replays[0].serves(replay)]
        together = Texts(served, anatomy.unembedding, weights, replays[0].n_layers)
        alone = [
            Texts([replay], anatomy.unembedding, weights, replay.n_layers) for replay in served
        ]
        for texts in (together, *alone):
            texts.leave_out(1)
        layers = [layer for layer in range(replays[0].n_layers) if layer != 1]
        actual, expected = together.costs(layers), sum(text.costs(layers) for text in alone)
    # Layers that read the tokens beside the residual: each text goes by itself.
    assert len(served) == (1 if name in ("deepseek_v4", "gemma4") else 3)
    np.testing.assert_allclose(actual, expected, rtol=2e-3, atol=2e-5)


def test_texts_of_other_lengths_are_not_served():
    model = tiny("llama")
    anatomy = probe_architecture(model)
    one, other = (Replay(model, anatomy, random_ids(count)[0]) for count in (TOKENS, TOKENS - 1))
    assert not one.serves(other)


def test_a_prompt_of_one_block_has_no_order_of_its_own():
    _ids, unembedding, replay = replayed(tiny("llama"), tokens=5)
    with pytest.raises(DepthError, match="too short"), torch.no_grad():
        own_orders(replay, unembedding, "ranked", 4)


# What is counted ----------------------------------------------------------------


def test_a_straight_line_lies_between_counts():
    curves = np.array([[0.0, 0.5, 2.5, 3.5], [0.0, 0.1, 0.2, 0.3], [0.0, 1.0, 1.0, 2.0]])
    np.testing.assert_allclose(crossing_above(curves, 1.0), [1.25, 3, 2.0])


def constructed(kl, kept, orders=((3, 2, 1, 0),), way=None, tokens=13):
    """A run with the same curve at every scored token."""
    result = run(tokens=tokens, layers=len(kl))
    way = np.where(np.arange(tokens) > 0, 0, -1) if way is None else way
    actual = Sufficient(
        "model",
        "greedy",
        orders,
        np.asarray(way, np.int32),
        np.where(np.asarray(way) < 0, np.nan, np.asarray(kl, np.float32)[:, None]),
        np.where(np.asarray(way) < 0, np.nan, np.asarray(kept, np.float32)[:, None]),
    )
    result.put(METRIC.name, actual)
    return result


def test_counts_in_closed_form():
    reading = reading_of([constructed([0, 0.5, 2.5, 3.5], [1, 0.8, 0.4, 0])], SummarySettings())
    result = reading.get(METRIC)
    assert result.within() == pytest.approx(4 - 1.25)
    assert result.within(0.1) == pytest.approx(4 - 0.2)
    assert result.keeping(0.9) == pytest.approx(4 - 0.5)
    assert result.keeping(0.5) == pytest.approx(4 - 1.75)
    assert result.choices_between == pytest.approx(0.8 - 0.25 * 0.4)
    # 2.75 layers are no number that could be run: with 3 the cost is below a nat.
    assert (result.layers, result.choices) == (3, pytest.approx(0.8))
    assert (result.units, result.kept_layers) == ("blocks", (0, 1, 2))
    assert reading.verdict.headline.count == pytest.approx(2.75)
    assert METRIC.summary(result, reading)["ways"] == [
        {
            "order": [3, 2, 1, 0],
            "kl": [0, 0.5, 2.5, 3.5],
            "choices": pytest.approx([1, 0.8, 0.4, 0]),
        }
    ]


def test_prompts_are_the_units_from_four_on():
    """Each counts once, whatever its length; below four, each block of four tokens does."""
    runs = [constructed([0, 0.5, 1.5, 3.5], [1, 1, 1, 0], tokens=tokens) for tokens in (5, 9, 33)]
    runs.append(constructed([0, 2.0, 3.0, 3.5], [1, 1, 1, 0], tokens=65))
    four, three = (reading_of(some, SummarySettings()).get(METRIC) for some in (runs, runs[1:]))
    assert (four.units, three.units) == ("prompts", "blocks")
    np.testing.assert_allclose(four.ways[0].curve, [0, 3.5 / 4, 7.5 / 4, 3.5])
    blocks_of = np.array([2, 8, 16])
    np.testing.assert_allclose(
        three.ways[0].curve, np.average([[0, 0.5, 1.5, 3.5]] * 2 + [[0, 2, 3, 3.5]], 0, blocks_of)
    )


def test_the_interval_is_over_units_and_takes_five():
    curves = [[0, 0.5 + 0.2 * number, 2.5, 3.5] for number in range(5)]
    runs = [constructed(curve, [1, 1, 1, 0], tokens=5) for curve in curves]
    result = reading_of(runs, SummarySettings()).get(METRIC)
    low, high = result.interval
    assert low < result.within() < high
    assert reading_of(runs[:4], SummarySettings()).get(METRIC).interval is None


def test_two_orders_are_read_apart_and_their_counts_averaged():
    way = np.array([-1] + [1] * 4 + [0] * 4 + [1] * 4)
    run_ = constructed([0, 0.5, 2.5, 3.5], [1, 0.8, 0.4, 0], ((0, 1, 2, 3), (3, 2, 1, 0)), way)
    result = run_.measured[METRIC.name]
    result.kl[:, way == 1] *= 2
    pooled = reading_of([run_], SummarySettings()).get(METRIC)
    assert [each.order for each in pooled.ways] == [(0, 1, 2, 3), (3, 2, 1, 0)]
    # 1 nat is passed at 1.25 layers, and, where every cost is twice as much, at 1.
    assert pooled.within() == pytest.approx(4 - (1.25 + 1) / 2)


@pytest.mark.parametrize("tokens", [2, 5, 6, 9, 200])
def test_groups_of_blocks_have_the_mean_of_all_blocks(tokens):
    rng = np.random.default_rng(tokens)
    result = constructed([0, 0.5, 2.5, 3.5], [1, 0.8, 0.4, 0], tokens=tokens)
    actual = result.measured[METRIC.name]
    actual.kl[:, 1:] = rng.uniform(0, 3, actual.kl[:, 1:].shape)
    reduced = METRIC.reduce(actual, result, slice(0, None))
    starts = range(1, tokens, 4)
    expected = np.mean([actual.kl[:, start : start + 4].mean(axis=1) for start in starts], axis=0)
    np.testing.assert_allclose(np.average(reduced.kl, 0, reduced.blocks), expected, rtol=1e-5)
    assert len(reduced.kl) == min(len(starts), 32)
    assert reduced.blocks.sum() == len(starts)


def test_a_record_keeps_it():
    result = constructed([0, 0.5, 2.5, 3.5], [1, 0.8, 0.4, 0])
    reduced = METRIC.reduce(result.measured[METRIC.name], result, slice(0, None))
    kept = from_plain(ReducedSufficient, to_plain(reduced))
    assert kept.orders == reduced.orders
    np.testing.assert_array_equal(kept.kl, reduced.kl)


def test_of_several_searches_no_layer_is_missed():
    """A round stops only where no untried layer cost less in the last round."""
    rng = np.random.default_rng(0)

    class Table:
        """Costs that add up, so that the order is that of single costs."""

        def __init__(self, count):
            self.costs_of, self.gone = rng.permutation(count) / count, 0.0

        def __len__(self):
            return 1

        def costs(self, layers):
            return self.gone + self.costs_of[list(layers)]

        def leave_out(self, layer):
            self.gone += self.costs_of[layer]

    for count in (4, 9, 30):
        table = Table(count)
        actual = greedy_order([table], count)
        expected = sorted(range(count), key=lambda layer: table.costs_of[layer])
        assert actual.layers == expected[: len(actual.layers)]
        assert actual.costs == sorted(actual.costs)
        assert all(cost <= 3 for cost in actual.costs[:-1])
        assert list(itertools.accumulate(table.costs_of[actual.layers])) == pytest.approx(
            actual.costs
        )
