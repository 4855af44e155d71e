"""Until which layer the tokens before matter: the naive way, planted truth, counts of layers."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from depthtui.data.arrays import arrays_of
from depthtui.data.run import PromptTokens
from depthtui.data.run_settings import SummarySettings
from depthtui.data.verdict import Evidence
from depthtui.depth.certainty import evidence_of
from depthtui.depth.reading import reading_of
from depthtui.metrics.context_depth import (
    METRIC,
    ContextCurve,
    ContextDepth,
    start_of,
)
from depthtui.metrics.evidence import CountInterval
from depthtui.tracing.probe import probe_architecture
from depthtui.tracing.replay import Replay
from tests.builders.kernels import context_depth
from tests.builders.readings import evidence_by
from tests.builders.results import run
from tests.naive import blocks, naive_context_losses, token_losses
from tests.tiny_models import fresh, on_few_models, random_ids, tiny

START = 7


def replayed(model, tokens=12):
    ids = random_ids(tokens)
    anatomy = probe_architecture(model)
    return ids, anatomy, Replay(model, anatomy, ids[0])


def measured(model, start=START, **options):
    _ids, anatomy, replay = replayed(model)
    return context_depth(replay, anatomy.unembedding, start, **options)


@on_few_models()
def test_against_one_forward_a_depth(name):
    model = tiny(name)
    ids, anatomy, replay = replayed(model)
    actual = context_depth(replay, anatomy.unembedding, START)
    clean = token_losses(model, ids)
    for depth in range(replay.n_layers + 1):
        expected = naive_context_losses(model, ids, START, depth) - clean
        np.testing.assert_allclose(
            actual.loss_change[depth, START - 1 :], expected[START - 1 :], rtol=2e-4, atol=2e-5
        )
    apart = torch.cat([ids[:, :1], ids[:, START:]], dim=1)
    expected = token_losses(model, apart) - clean[START - 1 :]
    np.testing.assert_allclose(actual.without_context[START - 1 :], expected, rtol=2e-4, atol=2e-5)
    for values in (*actual.loss_change, actual.without_context, actual.unchanged):
        assert np.isnan(values[: START - 1]).all()
    assert np.abs(actual.loss_change[:-2, START:]).max() > 0.01


@pytest.mark.parametrize("start", [1, 6, 11])
@pytest.mark.parametrize("name", ["llama", "mamba"])
def test_any_token_may_be_the_first_that_runs_in_full(name, start):
    """At 1 nothing but token 0 comes before; at 11 nothing comes behind."""
    model = tiny(name)
    ids, anatomy, replay = replayed(model)
    actual = context_depth(replay, anatomy.unembedding, start)
    clean = token_losses(model, ids)
    for depth in range(replay.n_layers + 1):
        expected = naive_context_losses(model, ids, start, depth) - clean
        np.testing.assert_allclose(
            actual.loss_change[depth, start - 1 :], expected[start - 1 :], rtol=2e-4, atol=2e-5
        )


def test_the_last_layer_gives_later_tokens_nothing_to_read():
    result = measured(tiny("llama"))
    assert (result.loss_change[-2:, START:] == 0).all()
    assert (result.loss_change[-1, START - 1 :] == 0).all()
    # What predicts the first of them stays h_k itself.
    assert abs(result.loss_change[-2, START - 1]) > 0.01


@pytest.mark.parametrize("at_once", [1, 2])
def test_depths_in_groups_and_small_batches_are_the_same(at_once):
    model = tiny("llama")
    _ids, anatomy, replay = replayed(model)
    whole = context_depth(replay, anatomy.unembedding, START)
    small = Replay(model, anatomy, replay.ids, tokens_at_once=10)
    done = []
    parts = context_depth(
        small, anatomy.unembedding, START, at_once, lambda *row: done.append(row[:2])
    )
    np.testing.assert_allclose(parts.loss_change, whole.loss_change, rtol=1e-4, atol=1e-5)
    assert done[-1] == (6, 6)


def test_depths_are_known_in_parts_the_last_first_and_go_on_from_them():
    _ids, anatomy, replay = replayed(tiny("llama"))
    whole = context_depth(replay, anatomy.unembedding, START)
    reports = []
    context_depth(replay, anatomy.unembedding, START, 1, lambda *row: reports.append(row))
    first, second, *_ = {value.is_known.sum(): value for *_, value in reports}.values()
    assert first.is_known.tolist() == [False, False, False, True, True]
    assert second.is_known.tolist() == [False, False, True, True, True]
    assert not second.is_whole
    assert whole.is_whole
    np.testing.assert_allclose(second.loss_change[2:], whole.loss_change[2:], rtol=1e-4, atol=1e-5)
    reports.clear()
    begun = replace(second, unchanged=np.full_like(whole.unchanged, 0.25))
    again = context_depth(
        replay, anatomy.unembedding, START, 0, lambda *row: reports.append(row), begun
    )
    np.testing.assert_allclose(again.loss_change, whole.loss_change, rtol=1e-4, atol=1e-5)
    assert again.floor == 0.25
    assert (reports[0][0], reports[-1][:2]) == (1, (6, 6))
    # What was told of and gone on from stays as it was.
    assert not begun.is_whole


def test_with_some_depths_there_is_no_count_yet():
    result = run(tokens=12)
    count = result.model.n_layers
    actual = ContextDepth.unknown(count, 12, start=START)
    actual.without_context[START - 1 :], actual.unchanged[START - 1 :] = 1.0, 0.0
    actual.loss_change[-3:, START - 1 :] = 0.0
    result.put(METRIC.name, actual)
    pooled = reading_of([result], SummarySettings())
    value = pooled.get(METRIC)
    words = f"3 of {count} layers so far"
    (evidence,) = evidence_by(METRIC, pooled)
    assert (value.curve.depth, evidence.count, evidence.reason) == (None, None, words)
    assert METRIC.findings(value, pooled)[0].remark == words
    assert METRIC.summary(value, pooled)["depth"] is None


def test_nothing_is_computed_twice():
    _ids, anatomy, replay = replayed(tiny("llama"))
    layers, later = replay.n_layers, replay.n_tokens - START
    assert replay.can_resume
    before = replay.evaluations
    context_depth(replay, anatomy.unembedding, START)
    rows = layers + layers * (layers - 1) // 2
    # The last token runs only in the pass of its own that leaves the context out.
    assert replay.evaluations - before == rows * (later - 1) + layers * (1 + later)
    assert replay.projections == rows * START


def silence(layer, *names):
    with torch.no_grad():
        for name in names:
            dict(layer.named_modules())[name].weight.zero_()


def test_planted_layers_that_read_no_other_token():
    """Behind layer 1 no attention writes: what comes before matters until layer 1 has read it."""
    model = fresh("llama")
    for layer in blocks(model)[2:]:
        silence(layer, "self_attn.o_proj")
    result = measured(model)
    assert np.abs(result.loss_change[1:, START:]).max() < 1e-5
    assert np.abs(result.loss_change[0, START:]).max() > 0.01


def test_planted_layers_that_do_nothing():
    model = fresh("llama")
    for layer in blocks(model)[2:]:
        silence(layer, "self_attn.o_proj", "mlp.down_proj")
    actual = measured(model)
    assert np.abs(actual.loss_change[2:, START - 1 :]).max() < 1e-5
    assert np.abs(actual.loss_change[1, START - 1 :]).max() > 0.01
    result = run(tokens=12)
    result.put(METRIC.name, actual)
    pooled = reading_of([result], SummarySettings())
    depth = pooled.get(METRIC).curve.depth
    assert depth is None or depth <= 2


def curve(*loss, worth=10.0, tokens=9, noise=0.0):
    squares = (noise * tokens) ** 2
    return ContextCurve(loss=np.array(loss), worth=worth, tokens=tokens, squares=squares, floor=0.0)


def test_the_depth_is_the_first_from_which_on_the_loss_stays_small():
    assert curve(3, 1, 0.04, 0.2, 0.04, 0).depth == 4
    assert curve(3, 1, 0.05, 0.049, 0.04, 0).depth == 3
    # Of what is worth little, a tenth.
    assert curve(3, 1, 0.04, 0.02, 0.01, 0, worth=0.15).depth == 4
    assert curve(0.01, 0, 0).depth == 0
    # Less than nothing is small.
    assert curve(1, -3, -3, 0).depth == 1
    assert curve(3, 1, 1, 0, worth=0.0).depth is None
    assert curve(3, 1, 1, 0, worth=-1.0).depth is None
    assert curve(3, 1, 1, 0, worth=0.1, noise=0.02).depth is None
    assert curve(3, 1, 1, 0, worth=0.1, noise=0.009).depth == 3


def certain(of: ContextCurve, interval: CountInterval | None = None) -> Evidence:
    """The evidence of a curve, as if five prompts were read."""
    return evidence_of(of.evidence(interval), len(of.loss) - 1, (5, 5))


def test_the_range_is_that_of_a_threshold_a_fifth_lower_and_higher():
    # 20 layers; 0.045 is small, but not a fifth below; 0.055 is not, but a fifth above.
    loss = [3.0] * 10 + [0.055] * 3 + [0.045] * 3 + [0.0] * 5
    row = certain(curve(*loss))
    assert (row.count, row.low, row.high, row.firm) == (13, 10, 16, False)
    assert row.reason == "the loss at depth 15 is 0.045 nats beside a threshold of 0.05"
    assert (row.kind, row.measure) == ("causal", "context_depth")
    falling = certain(curve(*([3.0] * 10 + [0.055] * 3 + [0.0] * 8)))
    assert (falling.count, falling.low, falling.high) == (13, 10, 13)
    assert falling.reason == "the loss at depth 12 is 0.055 nats beside a threshold of 0.05"
    firm = certain(curve(*([3.0] * 10 + [0.0] * 11)))
    assert (firm.count, firm.low, firm.high, firm.holds_here) == (10, 10, 10, True)
    unknown = certain(curve(*loss, worth=-0.2))
    assert (unknown.count, unknown.low, unknown.firm) == (None, None, False)
    assert "worth -0.2 nats" in unknown.reason


def test_a_narrow_interval_over_prompts_tells_nothing_of_others():
    interval = CountInterval(10.0, 10.0, 0.95, "prompts and tokens")
    row = certain(curve(*([3.0] * 10 + [0.0] * 11)), interval)
    assert (row.firm, row.holds_here) == (False, True)
    assert row.reason == "narrow intervals of this measure have missed other prompts"
    # An interval over the tokens of too few prompts is another reason.
    tokens = CountInterval(10.0, 10.0, 0.95, "tokens")
    assert "narrow intervals" not in certain(curve(*([3.0] * 10 + [0.0] * 11)), tokens).reason


def test_a_count_of_one_token_alone_is_fragile():
    loss = [3.0] * 10 + [0.0] * 11
    assert certain(curve(*loss, tokens=2)).holds_here
    alone = certain(curve(*loss, tokens=1))
    assert (alone.count, alone.low, alone.high, alone.firm) == (10, 10, 10, False)
    assert alone.reason == "it rests on a single token"
    result, _found = with_context(9, 7)
    pooled = reading_of([result], SummarySettings())
    value = pooled.get(METRIC)
    assert (value.curve.tokens, value.later.tokens) == (2, 1)
    assert "nats over 1 token" in METRIC.findings(value, pooled)[1].remark


def with_context(tokens, start, seed=0):
    """A run whose losses are random, a token each."""
    rng = np.random.default_rng(seed)
    actual = ContextDepth.unknown(4, tokens, start=start)
    actual.loss_change[:, start - 1 :] = rng.uniform(0, 1, (5, tokens - start))
    actual.without_context[start - 1 :] = rng.uniform(1, 2, tokens - start)
    actual.unchanged[start - 1 :] = rng.uniform(0, 1e-3, tokens - start)
    result = run(f"text {seed}", tokens=tokens)
    for name, values in arrays_of(actual):
        setattr(actual, name, values.astype("f8"))
    result.put(METRIC.name, actual)
    return result, actual


@pytest.mark.parametrize("include_first", [True, False])
def test_prompts_are_pooled_by_their_predicted_tokens(include_first):
    made = [with_context(9, 4, 1), with_context(12, 11, 2)]
    runs = [made[0][0], run("without", tokens=5), made[1][0]]
    pooled = reading_of(runs, SummarySettings(include_first_token=include_first))
    value = pooled.get(METRIC)
    summary = METRIC.summary(value, pooled)
    parts = [result.loss_change[:, result.start - 1 :] for _, result in made]
    np.testing.assert_allclose(summary["loss"], np.concatenate(parts, axis=1).mean(axis=1))
    assert summary["starts"] == [4, None, 11]
    first, missing, last = summary["per_prompt"]
    np.testing.assert_allclose(first, parts[0].mean(axis=1))
    np.testing.assert_allclose(last, parts[1].mean(axis=1))
    assert missing is None
    # The second prompt's only predicted token is predicted by one that stays h_k.
    np.testing.assert_allclose(summary["later_tokens"]["loss"], parts[0][:, 1:].mean(axis=1))
    worth = np.concatenate([result.without_context[result.start - 1 :] for _, result in made])
    assert summary["worth"] == pytest.approx(worth.mean())
    assert summary["floor"] == max(np.nanmax(result.unchanged) for _, result in made)


def test_nothing_is_said_of_later_tokens_where_there_are_none():
    result, _found = with_context(6, 5)
    pooled = reading_of([result], SummarySettings())
    value = pooled.get(METRIC)
    assert METRIC.summary(value, pooled)["later_tokens"] is None
    assert [line.title for line in METRIC.findings(value, pooled)] == [
        "Context depth",
        "Context depth, noise floor",
    ]


def test_depths_for_tables_are_those_of_the_mean_curves():
    runs = [with_context(9, 4, 1)[0], with_context(20, 11, 2)[0]]
    losses = np.array([1.0, 0.5, 0.051, 0.01, 0.0])
    for result, factor in zip(runs, (0.5, 1.2), strict=True):
        actual = result.get(ContextDepth)
        actual.loss_change[:, actual.start - 1 :] = factor * losses[:, None]
        actual.loss_change[3, actual.start - 1] = 2.0
    alone = [reading_of([result], SummarySettings()) for result in runs]
    assert [pooled.get(METRIC).later.depth for pooled in alone] == [2, 3]
    pooled = reading_of(runs, SummarySettings())
    cell = pooled.get(METRIC)
    assert (cell.curve.depth, cell.later.depth) == (4, 2)
    assert METRIC.means(cell, pooled) == {"context depth": 4, "context depth, later tokens": 2}


def test_a_context_that_is_worth_no_more_than_rounding_has_no_depth():
    result, actual = with_context(9, 4)
    actual.without_context[3:], actual.unchanged[3:] = 0.2, 0.1
    pooled = reading_of([result], SummarySettings())
    value = pooled.get(METRIC)
    # Five tokens, 0.1 nats each: 0.045 nats in their mean, beside a tenth of 0.2 nats.
    assert value.curve.noise == pytest.approx(0.1 / 5**0.5)
    assert np.isnan(METRIC.means(value, pooled)["context depth"])
    assert evidence_by(METRIC, pooled)[0].count is None


def test_evidence_is_what_tokens_say_that_are_run_in_full():
    result, actual = with_context(9, 4)
    actual.loss_change[:, 3:] = np.array([1.0, 0.5, 0.2, 0.01, 0.0])[:, None]
    actual.loss_change[3, 3] = 5.0
    pooled = reading_of([result], SummarySettings())
    value = pooled.get(METRIC)
    assert value.curve.depth == 4
    assert evidence_by(METRIC, pooled)[0].count == 3
    result, _found = with_context(9, 8)
    pooled = reading_of([result], SummarySettings())
    (unknown,) = evidence_by(METRIC, pooled)
    assert unknown.count is None
    assert unknown.reason == ("the answer is too short: it needs two tokens or more")


def test_the_answer_is_what_reads_the_context():
    result = run(tokens=10)

    def with_answer(start):
        result.tokens = PromptTokens(result.tokens.ids, result.tokens.texts, start)
        return start_of(result), METRIC.why_unavailable(result)

    assert with_answer(7) == (7, "")
    assert with_answer(10) == (5, "")
    assert with_answer(0) == (0, "the answer begins at the first token, so nothing comes before it")
    single = run(tokens=1)
    single.tokens = PromptTokens(single.tokens.ids, single.tokens.texts, 1)
    assert METRIC.why_unavailable(single) == "the prompt is a single token"
