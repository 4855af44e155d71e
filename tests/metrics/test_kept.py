"""Knowledge kept with layers left out: whole forwards, planted truth, closed forms."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from depthtui.data.run import Prompt
from depthtui.data.run_settings import RunSettings, SummarySettings
from depthtui.depth.reading import reading_of
from depthtui.errors import DepthError
from depthtui.metrics.kept import METRIC
from depthtui.metrics.kept.compute import OrderedRows, RunOrders, begun, own_orders, with_guess
from depthtui.metrics.kept.curve import (
    AT_NINE_TENTHS,
    LOST,
    KeptLimit,
    depth_of,
    layers_keeping,
    mean_depth,
    share_kept,
)
from depthtui.metrics.kept.order_search import Texts, lazy_order, searched, single_costs
from depthtui.metrics.kept.result import Kept
from depthtui.metrics.layer_order import LayerOrder, block_weights, drawn_orders
from depthtui.metrics.needed_settings import with_other_prompts
from depthtui.tracing.left_out import LayersToLeave
from depthtui.tracing.probe import probe_architecture
from depthtui.tracing.replay import Replay
from tests.builders.metrics import empty_kept
from tests.builders.results import run
from tests.engine.test_controls import engine_with
from tests.naive import blocks, naive_without
from tests.tiny_models import CORPUS, FEW, fresh, on_few_models, random_ids, tiny, with_tokenizer

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


def naive_losses(model, ids, left_out):
    """The loss of the token after each, `[T - 1]`, by one whole forward."""
    log, following = naive_without(model, ids, left_out), ids[0, 1:].numpy()
    return -log[np.arange(len(following)), following]


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


def orders_of(found, n_layers, drawn=((), ())):
    """Orders that were found, as a run is read with them."""
    whole = tuple(order.whole(n_layers) for order in found)
    return RunOrders(whole, tuple(len(order.pieces) for order in found), (), drawn)


def own(replay, unembedding, search="ranked", at_once=0):
    """The metric with orders of the prompt's own halves, and one that is drawn."""
    layers = LayersToLeave([replay])
    (found,) = own_orders(layers, unembedding, [search], at_once or replay.n_layers)
    orders = orders_of(found, replay.n_layers, ((), drawn_orders(replay.n_layers)[0]))
    start = begun(layers, Kept, "own", search, orders)
    return OrderedRows(layers, unembedding, at_once).with_pieces_left_out(start)


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
        for count in range(len(order) + 1):
            kl, kept = naive_changes(model, ids, order[:count])
            np.testing.assert_allclose(result.kl[count, tokens], kl[tokens], rtol=2e-3, atol=2e-5)
            np.testing.assert_array_equal(result.choices[0, count, tokens], kept[tokens])
            loss = naive_losses(model, ids, order[:count])
            np.testing.assert_allclose(
                result.loss[0, count, tokens[:-1]], loss[tokens[:-1]], rtol=1e-3, atol=1e-4
            )
    drawn = result.drawn[1]
    for count in range(len(drawn) + 1):
        loss = naive_losses(model, ids, drawn[:count])
        np.testing.assert_allclose(result.loss[4, count, 1:], loss[1:], rtol=1e-3, atol=1e-4)
    assert np.isnan(result.loss[1:4]).all()
    assert np.isnan(result.kl[:, 0]).all()
    assert np.nanmax(result.kl) > 0.01


@on_few_models()
def test_the_own_orders_beside_the_models_are_read_on_the_other_tokens(name):
    model = tiny(name)
    ids, unembedding, replay = replayed(model)
    layers, order = LayersToLeave([replay]), LayerOrder(list(range(replay.n_layers)))
    orders, rows = replace(orders_of([order], 4), own=((), ())), OrderedRows(layers, unembedding)
    with torch.no_grad():
        start = begun(layers, Kept, "model", "ranked", orders)
        first = rows.with_pieces_left_out(start)
        assert (first.own_orders, first.is_whole) == (((), ()), False)
        ranked, lazy = (
            tuple(order.whole(replay.n_layers) for order in found)
            for found in own_orders(layers, unembedding, ["ranked", "lazy"], 4)
        )
        result = replace(first, own_orders=ranked, own_lazy_orders=lazy)
        result = rows.with_pieces_left_out(result)
    assert result.is_whole
    np.testing.assert_array_equal(result.loss[0], first.loss[0])
    halves = slice(0, None, 2), slice(1, None, 2)
    odd = (np.arange(TOKENS - 1) - 1) // 4 % 2 == 1
    assert ranked == tuple(tuple(naive_ranked(model, ids, half)) for half in halves)
    for place, found in ((1, ranked), (2, lazy)):
        for order, tokens in zip(found, (odd, ~odd), strict=True):
            read = np.flatnonzero(tokens & (np.arange(TOKENS - 1) > 0))
            for count in range(replay.n_layers + 1):
                loss = naive_losses(model, ids, order[:count])
                np.testing.assert_allclose(
                    result.loss[place, count, read], loss[read], rtol=1e-3, atol=1e-4
                )
    assert np.isnan(result.loss[:, :, 0][1:3]).all()


def test_an_order_is_read_until_nothing_is_kept():
    """Of all scored tokens of a single prompt."""
    _ids, unembedding, replay = replayed(tiny("llama"))
    layers = LayersToLeave([replay])
    orders = RunOrders((tuple(range(4)),), (4,), ((3, 2, 1, 0),), drawn_orders(4))
    known, ids = np.full((3, TOKENS), -50, np.float32), np.arange(TOKENS)
    with torch.no_grad():
        whole = OrderedRows(layers, unembedding).with_pieces_left_out(
            with_guess(begun(layers, Kept, "model", "lazy", orders), known + 100, ids)
        )
        start = with_guess(begun(layers, Kept, "model", "lazy", orders), known, ids)
        before = replay.evaluations
        ended = OrderedRows(layers, unembedding, 1, reads_on=False).with_pieces_left_out(start)
    assert replay.evaluations - before < 5 * 4 * replay.n_tokens
    assert ended.is_whole
    np.testing.assert_allclose(ended.loss[0, :, 1:], whole.loss[0, :, 1:], rtol=1e-5)
    for place in range(1, 5):
        # The first row has no less than the guess: none is kept.
        assert (ended.loss[place, 1:] == LOST).all()


def of_task(count, words=""):
    """Prompts of one task with answers; each text is some words of the corpus."""
    every = " ".join(CORPUS).split()
    texts = [" ".join(every[start : start + 6]) + words for start in range(count)]
    return [Prompt(text, text[text.rindex(" ") :], "sums", "1") for text in texts]


def test_beside_the_models_order_a_task_is_read_in_that_of_its_other_half(tmp_path):
    model, tokenizer = with_tokenizer("llama")
    engine, prompts = engine_with(model, tokenizer, tmp_path), of_task(4)
    settings = RunSettings(metrics=("kept",))
    task_settings = [with_other_prompts(settings, prompts, number) for number in range(4)]
    halves = {of_run.order_texts for of_run in task_settings}
    assert sorted(text for half in halves for text in half) == sorted(p.text for p in prompts)
    assert all(
        prompt.text not in of_run.order_texts
        for prompt, of_run in zip(prompts, task_settings, strict=True)
    )
    for prompt, of_run in zip(prompts, task_settings, strict=True):
        run_result = engine.run(prompt, of_run)
        result, ids = run_result.get(Kept), torch.from_numpy(run_result.tokens.ids)[None]
        assert result.is_whole
        texts = [torch.tensor([tokenizer(text).input_ids]) for text in of_run.order_texts]
        # The answer is the last word: what is predicted of it counts.
        starts = [
            len(tokenizer(text.removesuffix(answer)).input_ids)
            for text, answer in zip(of_run.order_texts, of_run.order_answers, strict=True)
        ]
        costs = [
            np.mean(
                [
                    naive_losses(model, text, (layer,))[start - 1 :].mean()
                    for text, start in zip(texts, starts, strict=True)
                ]
            )
            for layer in range(4)
        ]
        order = sorted(range(4), key=lambda layer: (costs[layer], -layer))
        assert result.own_orders == (tuple(order),)
        for count in range(5):
            loss = naive_losses(model, ids, order[:count])
            np.testing.assert_allclose(result.loss[1, count, 1:], loss[1:], rtol=1e-3, atol=1e-4)
    # Alone, a prompt has the orders of its own blocks.
    alone = engine.run(prompts[3], settings).get(Kept)
    assert len(alone.own_orders) == 2
    assert alone.is_whole
    np.testing.assert_array_equal(alone.loss[0], result.loss[0])


def test_an_order_that_cannot_be_found_beside_the_models_costs_nothing_else(tmp_path):
    engine = engine_with(*with_tokenizer("llama"), tmp_path)
    texts = ("a", "a " * 300)
    settings = RunSettings(metrics=("kept",), order_texts=texts)
    result = engine.run(Prompt(CORPUS[0]), settings).get(Kept)
    assert len(result.own_orders) == 2
    assert result.is_whole
    shortest = engine.run(Prompt("a b c"), settings).get(Kept)
    assert (shortest.own_orders, shortest.is_whole) == ((), True)


def test_an_order_of_other_prompts_is_of_those_of_the_task():
    settings, prompts = RunSettings(metrics=("kept",)), of_task(40)
    others = [replace(prompt, level="2") for prompt in prompts]
    found = with_other_prompts(settings, [*others, *prompts], 40)
    texts = [prompt.text for prompt in prompts]
    assert len(found.order_texts) == len(found.order_answers) == 8
    assert set(found.order_texts) <= set(texts) - {prompts[0].text}
    # Both halves are drawn: each prompt reads the other's order.
    halves = {with_other_prompts(settings, prompts, number).order_texts for number in range(40)}
    assert len(halves) == 2
    assert not set.intersection(*map(set, halves))
    typed = [replace(prompt, task="typed", level="") for prompt in prompts]
    beside_typed = with_other_prompts(settings, typed, 0)
    of_order = {"order_texts": found.order_texts, "order_answers": found.order_answers}
    assert beside_typed == replace(settings, **of_order)
    own = replace(settings, order_source="own")
    assert len(with_other_prompts(own, prompts, 0).order_texts) == 20
    # Two prompts read each other's; one has none.
    assert with_other_prompts(settings, prompts[:2], 0).order_texts == (prompts[1].text,)
    assert with_other_prompts(settings, prompts[:1], 0) == settings
    # Texts without an answer, and prompts whose answer is still to be written.
    unanswered = with_other_prompts(settings, [Prompt(prompt.text) for prompt in prompts], 0)
    assert (unanswered.order_texts, unanswered.order_answers) == (found.order_texts, ())
    assert with_other_prompts(settings, prompts, 0, writes=True) == settings


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2"])
def test_a_greedy_order_is_that_of_all_layers_tried_in_every_round(name):
    model = tiny(name)
    ids, unembedding, replay = replayed(model)
    with torch.no_grad():
        (orders,) = own_orders(LayersToLeave([replay]), unembedding, ["greedy"], 4)
    halves = slice(0, None, 2), slice(1, None, 2)
    for order, half in zip(orders, halves, strict=True):
        # Four layers are tried in every round, which are all of them.
        assert order.pieces == naive_greedy(model, ids, half)
        assert sorted(order.whole(replay.n_layers)) == list(range(replay.n_layers))


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
        orders = RunOrders(whole.orders, whole.search_lengths)
        layers = LayersToLeave([replay])
        unfinished = begun(layers, Kept, "own", "ranked", orders)
        rows = OrderedRows(layers, unembedding, 1, lambda *row: reports.append(row))
        rows.with_pieces_left_out(unfinished)
        assert [done for done, _, _ in reports] == list(range(1, 6))
        half = reports[2][2]
        assert not half.is_whole
        before = replay.evaluations
        again = OrderedRows(layers, unembedding).with_pieces_left_out(half)
    np.testing.assert_allclose(again.kl, whole.kl, rtol=1e-4, atol=1e-6)
    assert np.isnan(half.kl[3:]).all()
    # The last rows of both orders alone, from the lowest layer that each is without.
    count = sum(4 - min(order[:n]) - n for order in whole.orders for n in (3, 4))
    assert replay.evaluations - before == count * replay.n_tokens


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
        (orders,) = own_orders(LayersToLeave([replay]), unembedding, ["ranked"], 4)
    assert [order.pieces[:2] for order in orders] == [[2, 0], [2, 0]]


def test_a_search_goes_on_from_where_it_was():
    _ids, unembedding, replay = replayed(tiny("llama"))
    reports = []

    def text():
        weights = block_weights(replay.n_tokens, range(4))
        return Texts(LayersToLeave([replay]), unembedding, weights, replay.n_layers)

    with torch.no_grad():
        costs = single_costs([text()], replay.n_layers)
        whole = lazy_order([text()], replay.n_layers, costs, on_piece=reports.append)
        again = lazy_order([text()], replay.n_layers, reports[0])
    assert isinstance(reports[0], LayerOrder)
    assert len(reports[0].pieces) == 1
    assert again.pieces == whole.pieces
    np.testing.assert_allclose(again.costs, whole.costs, rtol=1e-4)


def test_a_lazy_queue_keeps_one_of_two_layers_that_either_suffices():
    """A ranked order puts both first: each alone costs nothing."""

    class Table:
        """Layer 0 or 1 has to stay; a third costs a tenth, and a fourth half as much."""

        def __init__(self):
            self.gone = set()

        def __len__(self):
            return 1

        def costs(self, layers):
            def cost(gone):
                return 2.0 * ({0, 1} <= gone) + 0.1 * (2 in gone) + 0.05 * (3 in gone)

            return np.array([[cost({*self.gone, layer})] for layer in layers])

        def leave_out(self, layer):
            self.gone.add(layer)

    found = {
        search: searched([Table()], single_costs([Table()], 4), 4, search).pieces
        for search in ("ranked", "lazy", "greedy")
    }
    assert found == {"ranked": [1, 0, 3, 2], "lazy": [1, 3, 2], "greedy": [1, 3, 2]}


@on_few_models(few=[*FEW, "gemma4"])
def test_texts_that_run_together_cost_what_each_costs_alone(name):
    model = tiny(name)
    anatomy = probe_architecture(model)
    replays = [Replay(model, anatomy, random_ids(TOKENS, seed=seed)[0]) for seed in (0, 1, 2)]
    weights = np.arange(TOKENS, dtype=float)
    with torch.no_grad():
        served = [replay for replay in replays if replays[0].serves(replay)]
        together = Texts(LayersToLeave(served), anatomy.unembedding, weights, replays[0].n_layers)
        alone = [
            Texts(LayersToLeave([replay]), anatomy.unembedding, weights, replay.n_layers)
            for replay in served
        ]
        for texts in (together, *alone):
            texts.leave_out(1)
        layers = [layer for layer in range(replays[0].n_layers) if layer != 1]
        actual = together.costs(layers)
        expected = np.concatenate([text.costs(layers) for text in alone], axis=1)
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
        own_orders(LayersToLeave([replay]), unembedding, ["ranked"], 4)


def test_of_several_searches_no_layer_is_missed():
    """A round stops only where no untried layer cost less in the last round."""
    rng = np.random.default_rng(0)

    class Table:
        """Costs that add up, so that the order is that of single costs."""

        def __init__(self, count):
            self.costs_of, self.gone = rng.permutation(count) / count, 0.0
            self.tried = 0

        def __len__(self):
            return 1

        def costs(self, layers):
            self.tried += len(layers)
            return self.gone + self.costs_of[list(layers)][:, None]

        def leave_out(self, layer):
            self.gone += self.costs_of[layer]

    for count in (4, 9, 30):
        table = Table(count)
        actual = lazy_order([table], count, single_costs([table], count))
        expected = sorted(range(count), key=lambda layer: table.costs_of[layer])
        assert actual.pieces == expected[: len(actual.pieces)]
        assert actual.costs == sorted(actual.costs)
        # Costs that add up are tried once more each.
        assert table.tried <= 2 * count
        assert all(cost <= 3 for cost in actual.costs[:-1])
        assert list(itertools.accumulate(table.costs_of[actual.pieces])) == pytest.approx(
            actual.costs
        )


# What is counted ----------------------------------------------------------------


def test_shares_counts_and_depth_in_closed_form():
    # A gain of 4 nats: 0.2 are lost without the first layer, 2 without two, all without three.
    loss = np.array([[1.0, 1.2, 3.0, 6.0, 9.0], [1.0, 0.5, 1.2, 1.4, 1.6]])
    share = share_kept(loss, np.array([5.0, 5.0]))
    np.testing.assert_allclose(share, [[1, 0.95, 0.5, 0, 0], [1, 1, 0.95, 0.9, 0.85]])
    np.testing.assert_allclose(layers_keeping(share, 0.9), [4 - (1 + 0.05 / 0.45), 1])
    np.testing.assert_allclose(layers_keeping(share, 0.5), [2, 0])
    # The area above the curve, a straight line between counts.
    np.testing.assert_allclose(mean_depth(share), [4 - (0.975 + 0.725 + 0.25), 4 - 3.775])


def test_nothing_is_kept_without_a_gain():
    share = share_kept(np.array([[5.0, 5.1, 4.0]]), np.array([5.0]))
    assert not share.any()
    np.testing.assert_allclose(layers_keeping(share, 0.9), [2])
    np.testing.assert_allclose(mean_depth(share), [2])


def test_a_curve_that_rises_again_is_made_falling():
    share = np.array([[1.0, 0.2, 0.8, 0.0]])
    np.testing.assert_allclose(mean_depth(share), [3 - (0.6 + 0.2 + 0.1)])
    np.testing.assert_allclose(layers_keeping(share, 0.5), [3 - 0.625])


def pooled(runs):
    reading = reading_of(runs, SummarySettings())
    return reading.get(METRIC), reading


def constructed(loss, guess=6.0, tokens=13, answer_start=13, others=None):
    """A run of as many layers as the curve loses, with the same losses at every token.

    `others` are the curves in other orders than the first, by their place.
    """
    layers = len(loss) - 1
    result = run(tokens=tokens, layers=layers, vocab_size=1_000_000)
    result.tokens = replace(result.tokens, answer_start=answer_start)
    order = tuple(range(layers))
    values = replace(
        empty_kept(layers, tokens, (order,)),
        kl=np.zeros((layers + 1, tokens), np.float32),
        choices=np.ones((5, layers + 1, tokens), np.float32),
        guess=np.full(tokens - 1, guess, np.float32),
        half_guess=np.full((2, tokens - 1), guess, np.float32),
    )
    for place, in_order in {0: loss, **(others or {})}.items():
        values.loss[place] = np.asarray(in_order, np.float32)[:, None]
    result.put(METRIC.name, values)
    return result


LOSS = [1.0, 1.1, 1.2, 1.3, 1.4, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
"""Of ten layers; with a guess of 6, nine tenths are kept up to 4.0625 layers left out."""

NEAR = [1.0, 1.1, 1.2, 1.3, 1.9, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
FAR = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 6.0, 6.0, 6.0, 7.0, 8.0]


LESS = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 8.0]
"""Nine tenths are kept up to 8.5 layers left out."""


def row_of(reading):
    [row] = [row for row in reading.evidence if row.measure == "kept"]
    return row


def test_the_count_is_rounded_up():
    kept, reading = pooled([constructed(LOSS)])
    assert kept.curve.layers() == pytest.approx(10 - 4.0625)
    assert (kept.layers, kept.kept_layers) == (6, (4, 5, 6, 7, 8, 9))
    assert (row_of(reading).count, row_of(reading).reliability) == (6, "holds here")


def test_the_least_among_the_orders_counts_and_all_are_in_the_sentence():
    others = {1: NEAR, 2: LESS, 3: FAR, 4: FAR}
    kept, reading = pooled([constructed(LOSS, others=others)])
    headline = kept.headline
    assert (headline.count, headline.order) == (2, "own lazy")
    assert headline.sisters == (("model", 6), ("own", 7))
    assert headline.random == (10, 10)
    assert headline.nats == pytest.approx(0)
    assert kept.curve.mean_depth == pytest.approx(mean_depth(share_kept(np.array([LESS]), 6.0))[0])
    assert row_of(reading).reliability == "holds here"
    words = reading.verdict.sentence
    assert words.startswith("tiny keeps nine tenths of what it knows of this text with at most 2 ")
    order = "in an order found on other such prompts, 6 in the model's, 10 and 10 at random"
    assert f"one prompt; {order}). " in words
    assert "The cost is 0.00 nats a token (perplexity x 1.0)" in words


def test_a_loss_that_falls_without_layers_is_in_the_sentence():
    """Cut to nine tenths of the gain, it would not be seen."""
    kept, reading = pooled([constructed([1.0, 0.2, 1.1, *LOSS[3:]])])
    assert kept.headline.better_without == (9, pytest.approx(0.8))
    assert "with 9 layers the loss is 0.80 nats less than with all" in reading.verdict.sentence
    assert pooled([constructed([1.0, 0.6, 1.1, *LOSS[3:]])])[0].headline.better_without is None


def test_where_all_layers_stay_nothing_is_said_of_what_that_costs():
    kept, reading = pooled([constructed([1.0, 3.0, *LOSS[2:]])])
    assert (kept.headline.count, kept.headline.nats, kept.headline.choices) == (10, None, None)
    assert "first choices" not in reading.verdict.sentence
    assert "The cost" not in reading.verdict.sentence


def test_an_order_no_better_than_a_drawn_one_is_fragile():
    kept, reading = pooled([constructed(LOSS, others={3: NEAR, 4: NEAR})])
    assert not kept.headline.is_no_better_than_random
    kept, reading = pooled([constructed(LOSS, others={3: LOSS, 4: FAR})])
    assert kept.headline.is_no_better_than_random
    assert row_of(reading).is_fragile
    assert row_of(reading).reason == "no order tried is better than a random one"
    assert "no order tried is better than a random one)" in reading.verdict.sentence


def test_another_limit_counts_other_layers():
    runs = [constructed(LOSS)]
    for settings, layers, words in (
        (
            SummarySettings(share=0.8),
            6,
            "keeps 80% of what it knows of this text with at most 6 of",
        ),
        (
            SummarySettings(within=0.25),
            8,
            "stays within 0.25 nats a token of its loss on this text with at most 8 of",
        ),
    ):
        verdict = reading_of(runs, settings).verdict
        assert verdict.headline.count == layers
        assert words in verdict.sentence


@pytest.mark.parametrize(
    ("drawn", "untrained", "value", "words"),
    [
        (True, -0.04, "6 and 7 of 10", "keep nine tenths in two random orders; an untrained model"),
        (False, -0.04, "–", "an untrained model of this shape knows 0.0 nats a token of texts"),
        (True, None, "6 and 7 of 10", "keep nine tenths in two random orders"),
        (False, None, "", ""),
    ],
)
def test_the_controls_stand_in_a_row(drawn, untrained, value, words):
    result = constructed(LESS, others={3: LOSS, 4: NEAR} if drawn else None)
    result.put(METRIC.name, replace(result.measured[METRIC.name], untrained=untrained))
    rows = METRIC.findings(*pooled([result]))
    titles = [row.title for row in rows]
    assert ("Layers kept, controls" in titles) is bool(words)
    for row in rows:
        if row.title == "Layers kept, controls":
            assert row.value == value
            assert row.remark.startswith(words)
            assert ("untrained" in row.remark) is (untrained is not None)


def test_the_guess_of_half_of_the_texts_is_in_the_ranges():
    """A worse guess of the second half: the model is said to know more, all of it early."""
    result = constructed(LOSS, tokens=33, answer_start=33)
    result.measured[METRIC.name].half_guess[1] = 11.0
    curve = pooled([result])[0].curve
    assert curve.by_half_guesses() == pytest.approx([10 - 4.0625, 10 - 4 - 0.6 / 1.6])
    share = share_kept(np.array([LOSS]), np.array([11.0]))
    assert curve.depth_range[0] == pytest.approx(mean_depth(share)[0])
    assert curve.gain_range == pytest.approx((5.0, 10.0))
    assert curve.range(KeptLimit(0.5)) == (2, 5)


def test_a_count_that_the_guess_moves_is_fragile_by_the_guess():
    result = constructed([*LOSS[:5], 3.0, 5.9, *LOSS[7:]], tokens=33, answer_start=33)
    result.measured[METRIC.name].half_guess[1] = 60.0
    reading = pooled([result])[1]
    assert row_of(reading).is_fragile
    assert row_of(reading).reason == "by the guess: by half of its texts it takes 2"


def test_halves_of_the_prompts_that_take_other_numbers_make_it_fragile():
    """Each half is read in the order of the other."""
    runs = [constructed(curve) for curve in (LOSS,) * 4 + (LESS,) * 4]
    for number, result in enumerate(runs):
        values, order = result.measured[METRIC.name], tuple(range(10))
        own = order if number < 4 else order[::-1]
        values = replace(values, own_orders=(own,), own_lazy_orders=(own,))
        values.loss[1] = values.loss[2] = values.loss[0]
        result.put(METRIC.name, values)
    kept, reading = pooled(runs)
    assert sorted(kept.curve.of_halves()) == pytest.approx([1.5, 10 - 4.0625])
    assert row_of(reading).is_fragile
    assert "by the prompts: half of them take" in row_of(reading).reason
    assert kept.headline.count < 10


def test_an_order_that_some_prompts_are_not_read_in_is_left_out():
    """A long prompt has no own order, nor those that are drawn."""
    some = constructed(LOSS, others={1: LESS, 3: LOSS}), constructed(LOSS)
    curve = pooled(some)[0].curve
    assert (curve.read, curve.drawn) == ([0], [])
    assert curve.by_order(AT_NINE_TENTHS.layers) == {0: pytest.approx(10 - 4.0625)}
    assert curve.by_order(depth_of)[0] == pytest.approx(curve.mean_depth)


@pytest.mark.parametrize(("last", "drawn"), [(150.0, [3]), (LOST, [])])
def test_a_drawn_order_that_was_read_to_its_end_is_a_control_however_high_its_loss(last, drawn):
    some = (constructed(LOSS, others={3: [*FAR[:-1], end]}) for end in (last, 8.0))
    assert pooled(list(some))[0].curve.drawn == drawn


def test_of_answers_their_tokens_alone_are_counted():
    with_answer = constructed(LOSS, answer_start=9)
    values = with_answer.measured[METRIC.name]
    values.loss[:, 1:, :8] = 9.0
    kept, _ = pooled([with_answer])
    answer, text = kept.curves
    assert (answer.scored, text.scored) == ("answer", "text")
    assert answer.layers() == pytest.approx(10 - 4.0625)
    assert text.layers() > answer.layers()


def test_first_choices_that_stay_are_those_with_the_layers_of_the_count():
    first, second = constructed(LOSS), constructed(LOSS)
    for result, stay in ((first, 7), (second, 2)):
        values = result.measured[METRIC.name].choices
        values[0, 4] = 0
        values[0, 4, 1 : 1 + stay] = 1
    # The token after the last one is not known, so that eleven are scored.
    assert pooled([first])[0].headline.choices == (7, 11)
    assert pooled([first, second])[0].headline.choices == (9, 22)
    values[0, 4, 1:] = np.nan
    assert pooled([second])[0].headline.choices is None


def test_prompts_with_and_without_an_answer_are_not_pooled():
    kept, reading = pooled([constructed(LOSS, answer_start=9), constructed(LOSS)])
    assert kept is None
    assert reading.verdict.sentence.startswith(
        "How many of its 10 layers these texts take is not counted: some of these prompts have an "
        "answer, and others have none."
    )


@pytest.mark.parametrize(
    ("whole", "guess", "words"),
    [
        (5.7, 6.0, "0.3 nats a token better than a guess"),
        (6.5, 6.0, "0.5 nats a token worse than a guess"),
        (20.0, 30.0, "a uniform guess has"),
    ],
)
def test_of_what_is_hardly_known_there_is_no_count(whole, guess, words):
    loss = [whole, *([whole + 0.1] * 10)]
    kept, reading = pooled([constructed(loss, guess)])
    assert words in kept.curve.why_too_little
    [row] = [row for row in reading.evidence if row.measure == "kept"]
    assert row.count is None
    assert METRIC.means(kept, reading) == {}


def test_a_gain_whose_interval_has_0_is_too_little():
    runs = [constructed([1.0 + 3 * number, *[9.0] * 10], 6.0) for number in range(5)]
    kept, _ = pooled(runs[:1])
    assert kept.curve.why_too_little == ""
    # Of five prompts the losses are 1, 4, 7, 10 and 13: the mean is above the guess's.
    kept, _ = pooled([constructed([value, *[9.0] * 10], 8.0) for value in (1, 4, 7, 10, 13)])
    assert kept.curve.gain == pytest.approx(1.0)
    assert "1.0 nats a token better than a guess, " in kept.curve.why_too_little


def test_a_count_of_few_tokens_is_fragile():
    _, reading = pooled([constructed(LOSS, answer_start=11, tokens=13)])
    [row] = [row for row in reading.evidence if row.measure == "kept"]
    assert row.is_fragile
    assert row.reason == "it rests on 2 tokens"
