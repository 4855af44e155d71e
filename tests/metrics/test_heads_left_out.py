"""Heads left out: whole forwards with columns of the output projection at zero, planted truth."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from torch import nn

from depthtui.data.run_settings import SummarySettings
from depthtui.depth.reading import reading_of
from depthtui.errors import DepthError
from depthtui.metrics.head_ablation import METRIC, HeadAblation, names_of
from depthtui.metrics.kept.compute import OrderedRows, RunOrders, begun, own_orders
from depthtui.metrics.kept_heads import KeptHeads
from depthtui.tracing.heads_left_out import HeadsToLeave
from depthtui.tracing.probe import probe_architecture
from depthtui.tracing.replay import Replay
from tests.builders.kernels import compute
from tests.builders.results import run
from tests.naive import blocks
from tests.tiny_models import HIDDEN, LAYERS, fresh, random_ids, tiny
from tests.tracing.test_layer_parts import OUTPUT_PROJECTIONS, projection

TOKENS, HEADS = 12, 4

KINDS = ("llama", "gemma2", "gpt2")
"""Grouped queries, a norm behind the projection, a projection with its weight transposed."""


def replayed(model: nn.Module) -> tuple[Replay, object]:
    anatomy = probe_architecture(model)
    return Replay(model, anatomy, random_ids(TOKENS)[0]), anatomy


def by_head(model: nn.Module, layer: int) -> torch.Tensor:
    """The weight of a layer's output projection, `[heads, width, d]`."""
    module = projection(blocks(model)[layer], OUTPUT_PROJECTIONS, HIDDEN)
    weight = module.weight if type(module).__name__ == "Conv1D" else module.weight.T
    return weight.detach().unflatten(0, (HEADS, -1))


def naive_outputs(name: str, pieces: tuple[int, ...]) -> np.ndarray:
    """Log-probabilities `[T, V]` of a model whose weights have no way out of some heads."""
    model = fresh(name)
    for piece in pieces:
        by_head(model, piece // HEADS)[piece % HEADS] = 0
    with torch.no_grad():
        logits = model(input_ids=random_ids(TOKENS), use_cache=False).logits[0]
    return logits.double().log_softmax(dim=-1).numpy()


@functools.cache
def naive_costs(name: str, pieces: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """KL `[T]` and the change of the loss `[T-1]` without some heads."""
    clean, other = naive_outputs(name, ()), naive_outputs(name, pieces)
    ids = random_ids(TOKENS)[0, 1:].numpy()
    change = (clean - other)[np.arange(TOKENS - 1), ids]
    return (np.exp(clean) * (clean - other)).sum(-1), change


@functools.cache
def found_in(name: str, at_once: int = 5) -> HeadAblation:
    replay, anatomy = replayed(tiny(name))
    unembedding = anatomy.unembedding
    return compute(METRIC.name, None, replay, unembedding, at_once=at_once, anatomy=anatomy)


@pytest.mark.parametrize("name", KINDS)
def test_each_head_against_a_whole_forward(name: str) -> None:
    result = found_in(name)
    assert result.kl.shape == (LAYERS, HEADS, TOKENS)
    assert result.is_whole
    for piece in range(LAYERS * HEADS):
        place = divmod(piece, HEADS)
        kl, change = naive_costs(name, (piece,))
        np.testing.assert_allclose(result.kl[place][1:], kl[1:], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(result.loss_change[place], change, rtol=1e-5, atol=1e-5)
    assert result.floor < 1e-6


@pytest.mark.parametrize("name", KINDS)
def test_orders_of_heads_against_whole_forwards(name: str) -> None:
    replay, anatomy = replayed(tiny(name))
    pieces, count = HeadsToLeave([replay], anatomy), LAYERS * HEADS
    with torch.no_grad():
        (found,) = own_orders(pieces, anatomy.unembedding, ["ranked"], 3)
        orders = tuple(order.whole(count) for order in found)
        start = begun(pieces, KeptHeads, "own", "ranked", RunOrders(orders, (count, count)))
        result = OrderedRows(pieces, anatomy.unembedding, 4).with_pieces_left_out(start)
    assert result.kl.shape == (count + 1, TOKENS)
    assert result.unfit(LAYERS, TOKENS, 0) == []
    for way, order in enumerate(result.orders):
        tokens = result.way == way
        for left_out in (1, 2, 5, count):
            kl, _ = naive_costs(name, tuple(sorted(order[:left_out])))
            found_kl = result.kl[left_out, tokens]
            np.testing.assert_allclose(found_kl, kl[tokens], rtol=1e-5, atol=1e-5)


def test_a_stopped_search_goes_on_where_it_was() -> None:
    whole, partial = found_in("llama"), found_in("llama").copied()
    partial.kl[:2] = partial.loss_change[:2] = partial.kept[:2] = np.nan
    replay, anatomy = replayed(tiny("llama"))
    ran: list[int] = []
    again = compute(
        METRIC.name,
        partial,
        replay,
        anatomy.unembedding,
        lambda done, total, value: ran.append(done),
        at_once=8,
        anatomy=anatomy,
    )
    np.testing.assert_allclose(again.kl, whole.kl, rtol=1e-5, atol=1e-6)
    assert len(ran) == 1


def test_a_head_that_writes_nothing_costs_nothing() -> None:
    model = fresh("llama")
    by_head(model, 1)[2] = 0
    replay, anatomy = replayed(model)
    result = compute(METRIC.name, None, replay, anatomy.unembedding, anatomy=anatomy)
    quiet = (np.abs(result.kl[..., 1:]).max(axis=-1) < 1e-9).nonzero()
    assert [place.tolist() for place in quiet] == [[1], [2]]


def test_what_cannot_be_told_apart_is_named() -> None:
    replay, anatomy = replayed(tiny("qwen3_next"))
    with pytest.raises(DepthError, match=r"The heads of layer 0 cannot be told apart: .*weights"):
        HeadsToLeave([replay], anatomy)


def test_findings_name_the_heads_that_cost_and_those_that_sink() -> None:
    result = HeadAblation.unknown(2, 3).widened("H", 2)
    result.loss_change[:], result.kl[..., 1:], result.kept[..., 1:] = 0.0, 0.0, 1.0
    result.unchanged[1:], result.sink[:] = 0.0, 0.1
    result.loss_change[1, 0], result.kl[1, 0, 1:], result.kept[1, 0, 1:] = 2.0, 1.5, [0, 1]
    result.kl[0, 1, 1:] = 0.2
    result.sink[0, 1] = result.sink[0, 0] = 0.95
    one = run(layers=2, tokens=3)
    one.put(METRIC.name, result)
    reading = reading_of([one], SummarySettings())
    findings = {each.title: each for each in METRIC.findings(reading.get(METRIC), reading)}
    changing = findings["Heads that change the output"]
    assert (changing.value, "1.0, 0.1 (layer.head)" in changing.remark) == ("2 of 4", True)
    assert "the loss is +2 nats without it" in findings["Head that costs most"].remark
    sinks = findings["Heads that read token 0 alone"]
    assert (sinks.value, sinks.remark.endswith("1 of them changes the output")) == ("2 of 4", True)


def test_heads_are_named_the_costliest_first_and_not_without_end() -> None:
    costs = np.arange(8.0).reshape(2, 4)
    assert names_of(costs > 4, costs) == "1.3, 1.2, 1.1"
    assert names_of(costs > 0, costs) == "1.3, 1.2, 1.1, 1.0, 0.3, …"
