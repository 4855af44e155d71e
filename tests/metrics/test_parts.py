"""Parts of layers left out: one whole forward with hooks for each set of parts, planted truth."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from depthtui.data.plain import Misfit, from_plain, to_plain
from depthtui.data.run import Prompt
from depthtui.data.run_settings import RunSettings, SummarySettings
from depthtui.depth.reading import reading_of
from depthtui.errors import DepthError
from depthtui.metrics.kept.compute import OrderedRows, RunOrders, begun, own_orders
from depthtui.metrics.kept.order_search import Texts, lazy_order, searched, single_costs
from depthtui.metrics.parts import METRIC, KeptParts, ReducedParts, output_of, places_of
from depthtui.report.left_out import left_out_dict
from depthtui.tracing.anatomy import Unembedding
from depthtui.tracing.parts_left_out import PartsToLeave
from depthtui.tracing.probe import probe_architecture
from depthtui.tracing.replay import Replay
from tests.builders.results import run
from tests.engine.test_controls import engine_with
from tests.naive import blocks, naive_without_parts
from tests.tiny_models import (
    CORPUS,
    LAYERS,
    TINY,
    WITHOUT_SPLIT,
    fresh,
    on_few_models,
    random_ids,
    tiny,
    with_tokenizer,
)

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


def naive_lazy(cost):
    """The search by its words: the cheapest is tried again until none was cheaper."""
    gone, last = [], {part: cost([part]) for part in range(PARTS)}
    tried, base = dict(last), 0.0
    while True:
        best = min(tried, key=lambda part: (tried[part], -part))
        gone.append(best)
        del last[best]
        base += tried[best]
        if len(gone) == PARTS - 1 or base > 3:
            return gone
        waiting, tried = sorted(last, key=lambda part: (last[part], -part)), {}
        for part in waiting:
            if tried and last[part] > min(tried.values()):
                break
            tried[part] = cost([*gone, part]) - base
        last |= tried


@on_few_models({*TINY} - WITHOUT_SPLIT, few=KINDS)
def test_orders_and_costs_against_whole_forwards(name):
    model = tiny(name)
    ids, anatomy, replay = replayed(model)
    parts = PartsToLeave([replay], anatomy)
    with torch.no_grad():
        (found,) = own_orders(parts, anatomy.unembedding, ["ranked"], 3)
        orders = tuple(order.whole(PARTS) for order in found)
        start = begun(parts, KeptParts, "own", "ranked", RunOrders(orders, (PARTS, PARTS)))
        result = OrderedRows(parts, anatomy.unembedding, 4).with_pieces_left_out(start)
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
def test_a_lazy_order_against_whole_forwards(name):
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
        order = lazy_order([texts], PARTS, single_costs([texts], PARTS))
    assert order.pieces == naive_lazy(cost)
    for count in range(1, len(order.pieces) + 1):
        expected = cost(order.pieces[:count])
        np.testing.assert_allclose(order.costs[count - 1], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("search", ["ranked", "lazy"])
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
        order = searched([texts], single_costs([texts], PARTS), PARTS, search)
    assert np.flatnonzero(costs == 0).tolist() == idle
    # Of equal parts the higher one goes first.
    assert order.pieces[: len(idle)] == idle[::-1]
    assert order.costs[: len(idle)] == ([0.0] * len(idle) if search == "lazy" else [])


def test_a_part_that_writes_nothing_costs_nothing_on_a_device_that_rounds_each_batch_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = fresh("llama")
    blocks(model)[1].self_attn.o_proj.weight.zero_()
    blocks(model)[2].mlp.down_proj.weight.zero_()
    anatomy = probe_architecture(model)
    replays = [Replay(model, anatomy, random_ids(TOKENS, seed)[0]) for seed in (0, 1)]
    run_layer, logits = Replay.run_layer, Unembedding.logits
    monkeypatch.setattr(
        Replay, "run_layer", lambda *call: run_layer(*call) * (1 + 1e-5 * len(call[2]))
    )
    monkeypatch.setattr(
        Unembedding, "logits", lambda head, states: logits(head, states) * (1 + 1e-3 * len(states))
    )
    weights = np.full(TOKENS, 1 / TOKENS / 2)
    with torch.no_grad():
        texts = Texts(PartsToLeave(replays, anatomy), anatomy.unembedding, weights, 3)
        costs = texts.costs(range(PARTS)).sum(axis=1)
    assert np.flatnonzero(costs == 0).tolist() == [2, 5]


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


# What is counted ----------------------------------------------------------------


def constructed(loss, order, untrained=None):
    """A run of two layers whose four parts leave in an order; without each the loss rises."""
    result = run(tokens=33, layers=2, vocab_size=1_000_000)
    values = replace(
        KeptParts.unknown(
            2,
            33,
            kind="model",
            search="ranked",
            orders=(order,),
            search_lengths=(4,),
            own_orders=(),
            own_lazy_orders=(),
            drawn=((), ()),
            untrained=None,
        ),
        untrained_parts=untrained,
        kl=np.repeat(np.asarray(loss, np.float32)[:, None] - 1, 33, axis=1),
        choices=np.ones((5, 5, 33), np.float32),
        guess=np.full(32, 6.0, np.float32),
        half_guess=np.full((2, 32), 6.0, np.float32),
    )
    values.loss[0] = np.asarray(loss, np.float32)[:, None]
    result.put(METRIC.name, values)
    return result


def test_parts_are_counted_by_their_order_and_given_as_attentions_and_mlps():
    reading = reading_of([constructed([1.0, 1.2, 1.4, 4.0, 7.0], (2, 1, 0, 3))], SummarySettings())
    parts = reading.get(METRIC)
    # A tenth of five nats is lost between two and three parts, a nat too.
    assert parts.knowledge.curve.layers() == pytest.approx(4 - 2 - 0.1 / 2.6)
    assert output_of(reading).kl.crossing(1) == pytest.approx(4 - 2 - 0.6 / 2.6)
    assert places_of(parts.knowledge.order).tolist() == [[3, 2], [1, 4]]
    (row,) = (row for row in reading.evidence if row.measure == "parts")
    # Two parts are a layer, wherever they are.
    assert (row.count, row.layers) == (1, (0, 1))
    of_parts = left_out_dict(reading)["part"]
    assert of_parts["order"][0] == {"layer": 1, "part": "attention"}
    assert of_parts["least"]["knowledge"]["0.9"] == of_parts["least"]["kl"]["1"] == 2
    assert of_parts["staying"]["knowledge"]["0.9"] == {"attention": (0,), "mlp": (1,)}
    assert reading.parts_left_out.sentence(2).startswith(
        "Without attention 1; MLP 0 (2 of 4 kept): "
    )
    titles = {finding.title: finding for finding in METRIC.findings(parts, reading)}
    found = titles["Parts that keep nine tenths, text"]
    assert (found.value[:6], found.remark[:24]) == ("2 of 4", "1 MLP and 1 attention; h")
    order = titles["Parts kept, order"]
    assert order.value == "1a, 0m, 0a, 1m …"


def test_an_untrained_models_parts_stand_beside_those_of_the_model():
    run_ = constructed([1.0, 1.2, 1.4, 4.0, 7.0], (2, 1, 0, 3), untrained=(0, 3))
    run_.put(METRIC.name, replace(run_.get(KeptParts), untrained=0.0))
    reading = reading_of([run_], SummarySettings())
    parts = reading.get(METRIC)
    assert left_out_dict(reading)["part"]["untrained_parts"] == {"attention": (0,), "mlp": (1,)}
    (row,) = (row for row in METRIC.findings(parts, reading) if row.title.endswith("controls"))
    assert row.remark.endswith("and stays within a nat with 1 MLP and 1 attention")


def test_of_what_is_hardly_known_no_part_is_counted():
    reading = reading_of([constructed([5.8, 5.9, 6, 6.1, 6.2], (2, 1, 0, 3))], SummarySettings())
    parts = reading.get(METRIC)
    (row,) = (row for row in reading.evidence if row.measure == "parts")
    assert (row.count, row.reason[:19]) == (None, "too little is known")
    assert left_out_dict(reading)["part"]["least"]["knowledge"] == {"0.5": None, "0.9": None}
    assert "parts kept" not in METRIC.means(parts, reading)


def test_a_record_keeps_it():
    result = constructed([1.0, 1.2, 1.4, 4.0, 7.0], (2, 1, 0, 3), untrained=(1,))
    reduced = METRIC.reduce(result.measured[METRIC.name], result, slice(0, None))
    again = from_plain(ReducedParts, to_plain(reduced), sizes={"L": 2, "M": 4})
    assert (again.orders, again.untrained_parts) == (reduced.orders, (1,))
    np.testing.assert_array_equal(again.text.loss, reduced.text.loss)
    with pytest.raises(Misfit, match="an array of"):
        from_plain(ReducedParts, to_plain(reduced), sizes={"L": 2, "M": 2})


# In the engine ------------------------------------------------------------------

LAZY = RunSettings(metrics=("parts",), order_search="lazy")


def test_an_order_of_parts_is_stored_and_goes_on_after_a_stop(tmp_path):
    model, tokenizer = with_tokenizer("llama")
    whole = engine_with(model, tokenizer, tmp_path / "whole").orders
    expected = whole.find_or_search(LAZY, lambda *_: None, lambda: None, piece="part")
    orders = engine_with(model, tokenizer, tmp_path).orders
    orders._written = whole._written
    first = orders.find_or_search(
        LAZY, lambda *_: None, lambda: None, lambda order: len(order.pieces) == 2, "part"
    )
    assert first.pieces == expected.pieces[:2]
    (file,) = (tmp_path / "lenses").rglob("*.order.json")
    assert '"whole": false' in file.read_text()
    # Layers have an order of their own.
    layers = orders.find_or_search(LAZY, lambda *_: None, lambda: None)
    assert max(layers.pieces) < LAYERS
    again = engine_with(model, tokenizer, tmp_path).orders
    again._written = whole._written
    tried = []
    order = again.find_or_search(
        LAZY, lambda _stage, done, _total: tried.append(done), lambda: None, piece="part"
    )
    assert order.pieces == expected.pieces
    assert order.costs == pytest.approx(expected.costs, rel=1e-4)
    # The first round tries all parts; it is not repeated.
    assert tried[0] == 1
    assert '"whole": true' in file.read_text()
    assert again.stored(LAZY, piece="part") == order


def test_a_run_is_read_in_the_models_order_of_parts(tmp_path):
    engine = engine_with(*with_tokenizer("llama"), tmp_path)
    result = engine.run(Prompt(CORPUS[0]), replace(LAZY, order_search="ranked"))
    found = result.get(KeptParts)
    order = engine.orders.stored(result.settings, piece="part")
    assert found.orders == (order.whole(PARTS),)
    assert found.kl.shape == (PARTS + 1, len(result.tokens))
    assert found.is_whole
    assert found.untrained is not None
    assert len(found.untrained_parts) <= PARTS
    again = engine_with(*with_tokenizer("llama"), tmp_path).run(Prompt(CORPUS[0]), result.settings)
    np.testing.assert_array_equal(again.get(KeptParts).kl, found.kl)


def test_a_model_without_a_split_has_no_parts(tmp_path):
    engine = engine_with(*with_tokenizer("mamba"), tmp_path)
    result = engine.run(Prompt(CORPUS[0]), LAZY)
    assert "no attention and MLP" in result.unavailable["parts"]
    with pytest.raises(DepthError, match="Layers have no parts to leave out"):
        engine.orders.find_or_search(LAZY, lambda *_: None, lambda: None, piece="part")
