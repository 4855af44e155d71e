"""Parts of layers left out: one whole forward with hooks for each set of parts, planted truth."""

import numpy as np
import pytest
import torch

from depthtui.metrics.kept.compute import RunOrders, begun, own_orders, with_pieces_left_out
from depthtui.metrics.kept.order_search import Texts, greedy_order, ranked_order
from depthtui.metrics.layer_order import FEWEST_TRIED
from depthtui.metrics.parts import KeptParts
from depthtui.tracing.parts_left_out import PartsToLeave
from depthtui.tracing.probe import probe_architecture
from depthtui.tracing.replay import Replay
from tests.naive import blocks, naive_without_parts
from tests.tiny_models import LAYERS, fresh, random_ids, tiny

TOKENS, PARTS = 14, 2 * LAYERS

KINDS = ("llama", "falcon", "qwen3_moe", "falcon_h1", "qwen3_next", "gemma2", "olmo2")
"""Grouped queries, a parallel block, experts, two hybrids, norms behind each part, twice."""


def replayed(model, seed=0):
    ids, anatomy = random_ids(TOKENS, seed), probe_architecture(model)
    return ids, anatomy, Replay(model, anatomy, ids[0])


def naive_kl(model, ids, parts):
    """KL to the whole model's output, `[T]`."""
    clean, other = naive_without_parts(model, ids, ()), naive_without_parts(model, ids, parts)
    return (np.exp(clean) * (clean - other)).sum(-1)


def naive_ranked(costs):
    return sorted(range(len(costs)), key=lambda part: (costs[part], -part))


def naive_greedy(cost):
    """The search by its words: four of the cheapest of the last round, then all that may be."""
    gone, last = [], {part: cost([part]) for part in range(PARTS)}
    round_costs = dict(last)
    while True:
        best = min(round_costs, key=lambda part: (round_costs[part], -part))
        gone.append(best)
        del last[best]
        if len(gone) == PARTS - 1 or round_costs[best] > 3:
            return gone
        waiting = sorted(last, key=lambda part: (last[part], -part))
        round_costs = {part: cost([*gone, part]) for part in waiting[:FEWEST_TRIED]}
        for part in waiting[FEWEST_TRIED:]:
            if last[part] > min(round_costs.values()):
                break
            round_costs[part] = cost([*gone, part])
        last |= round_costs


@pytest.mark.parametrize("name", KINDS)
def test_orders_and_costs_against_whole_forwards(name):
    model = tiny(name)
    ids, anatomy, replay = replayed(model)
    parts = PartsToLeave([replay], anatomy)
    with torch.no_grad():
        found = own_orders(parts, anatomy.unembedding, "ranked", 3)
        orders = tuple(order.whole(PARTS) for order in found)
        start = begun(parts, "own", "ranked", RunOrders(orders, (PARTS, PARTS)), kind=KeptParts)
        result = with_pieces_left_out(parts, anatomy.unembedding, start, 4)
    alone = np.array([naive_kl(model, ids, [part]) for part in range(PARTS)])
    starts = range(1, TOKENS, 4)
    by_block = np.stack([alone[:, start : start + 4].mean(axis=1) for start in starts])
    assert result.orders == tuple(
        tuple(naive_ranked(by_block[half::2].mean(axis=0))) for half in (0, 1)
    )
    assert result.is_whole
    for way, order in enumerate(result.orders):
        tokens = result.way == way
        for count in range(PARTS + 1):
            kl = naive_kl(model, ids, order[:count])
            np.testing.assert_allclose(result.kl[count, tokens], kl[tokens], rtol=1e-5, atol=1e-5)
    assert result.kl[PARTS, 1:].mean() > 0.1


@pytest.mark.parametrize("name", KINDS)
def test_a_greedy_order_against_whole_forwards(name):
    model = tiny(name)
    anatomy = probe_architecture(model)
    every = [random_ids(TOKENS, seed) for seed in (0, 1)]
    replays = [Replay(model, anatomy, ids[0]) for ids in every]
    assert replays[0].serves(replays[1])
    weights = np.full(TOKENS, 1 / (TOKENS - 1) / 2)
    weights[0] = 0

    def cost(parts):
        return np.mean([naive_kl(model, ids, parts)[1:].mean() for ids in every])

    with torch.no_grad():
        texts = Texts(PartsToLeave(replays, anatomy), anatomy.unembedding, weights, PARTS)
        order = greedy_order([texts], PARTS)
    assert order.pieces == naive_greedy(cost)
    for count in range(1, len(order.pieces) + 1):
        expected = cost(order.pieces[:count])
        np.testing.assert_allclose(order.costs[count - 1], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("search", ["ranked", "greedy"])
@pytest.mark.parametrize(
    ("attention", "mlp"), [([1], []), ([], [2]), ([0, 1], [1, 3])], ids=["attention", "mlp", "both"]
)
def test_parts_that_write_nothing_leave_first_at_exactly_no_cost(search, attention, mlp):
    model = fresh("llama")
    for layer in attention:
        blocks(model)[layer].self_attn.o_proj.weight.zero_()
    for layer in mlp:
        blocks(model)[layer].mlp.down_proj.weight.zero_()
    idle = sorted([*(2 * layer for layer in attention), *(2 * layer + 1 for layer in mlp)])
    anatomy = probe_architecture(model)
    replays = [Replay(model, anatomy, random_ids(TOKENS, seed)[0]) for seed in (0, 1, 2)]
    weights = np.full(TOKENS, 1 / TOKENS / 3)
    with torch.no_grad():
        texts = Texts(PartsToLeave(replays, anatomy), anatomy.unembedding, weights, 3)
        costs = texts.costs(range(PARTS)).sum(axis=1)
        find = ranked_order if search == "ranked" else greedy_order
        order = find([texts], PARTS)
    assert np.flatnonzero(costs == 0).tolist() == idle
    # Of equal parts the higher one goes first.
    assert order.pieces[: len(idle)] == idle[::-1]
    assert order.costs[: len(idle)] == ([0.0] * len(idle) if search == "greedy" else [])


def test_a_part_that_is_quiet_on_the_clean_run_alone_is_out_on_any_other():
    model, ids = fresh("llama"), random_ids(TOKENS)
    mlp, clean_inputs = blocks(model)[2].mlp, []
    with torch.no_grad():
        handle = mlp.register_forward_pre_hook(lambda _module, args: clean_inputs.append(args[0]))
        model(input_ids=ids)
        handle.remove()

        def quieten(_module, args, output):
            is_whole = args[0].shape[1] == TOKENS
            is_clean = is_whole and torch.isclose(args[0], clean_inputs[0], atol=1e-5).all()
            return torch.zeros_like(output) if is_clean else output

        mlp.register_forward_hook(quieten)
        ids, anatomy, replay = replayed(model)
        rows = [(5,), (2, 5), (2,)]
        last = PartsToLeave([replay], anatomy).without(rows)[:, 0]
        logs = anatomy.unembedding.logits(last).log_softmax(-1).double().numpy()
    assert torch.equal(last[0], replay.states[-1])
    for row, log in zip(rows, logs, strict=True):
        np.testing.assert_allclose(log, naive_without_parts(model, ids, row), atol=1e-4)
    assert np.abs(logs[1] - logs[2]).max() > 1e-2


def test_nothing_is_run_below_the_lowest_part_that_is_out():
    _, anatomy, replay = replayed(tiny("llama"))
    parts = PartsToLeave([replay], anatomy)
    for part, layers in ((7, 0), (6, 1), (5, 1), (4, 2), (1, 3)):
        before = replay.evaluations
        with torch.no_grad():
            parts.without([[part]])
        assert replay.evaluations - before == layers * TOKENS, part
