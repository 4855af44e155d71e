"""Replay and interventions against one ordinary forward for each intervention."""

import itertools
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerate import dispatch_model

from depthtui.data.run_settings import Skip
from depthtui.metrics.integrated_gradients import compute as gradients_module
from depthtui.metrics.skip_effects import choose_positions
from depthtui.metrics.skip_effects.compute import skipped_residuals
from depthtui.tracing.probe import probe_architecture
from depthtui.tracing.replay import Replay
from depthtui.tracing.trace import trace
from tests.builders.kernels import (
    ablation_loss,
    context_depth,
    integrated_gradients,
    order,
    residual_erasure,
    skip_effects,
)
from tests.naive import (
    blocks,
    layer_ends,
    naive_context_losses,
    naive_erasure,
    naive_loss,
    naive_skip_effects,
    probabilities,
    silent_mlp,
    token_losses,
    without_mlp,
)
from tests.tiny_models import TINY, fresh, on_few_models, random_ids, tiny

WHOLE_PROMPTS_ONLY = {
    "bamba",
    "deepseek_v32",
    "deepseek_v4",
    "falcon_h1",
    "granite_hybrid",
    "hy_v4",
    "lfm2",
    "lfm2_moe",
    "mamba",
    "minimax",
    "openai_gpt",
    "qwen3_5",
    "qwen3_next",
    "recurrent_gemma",
}
"""Architectures whose tokens cannot be run behind recorded keys and values."""

OFTEN_IN_16_BITS = {
    "bamba",
    "bloom",
    "deepseek_v3",
    "falcon",
    "gemma2",
    "gemma4",
    "gpt2",
    "gpt_oss",
    "llama",
    "lfm2",
    "minimax",
    "opt",
    "phi3_longrope",
    "qwen3_next",
    "recurrent_gemma",
}
"""Architectures whose weights are widened in every run of the tests; the others by hand."""


def replayed(name, tokens=16, **options):
    model, ids = tiny(name), random_ids(tokens)
    anatomy = probe_architecture(model)
    return model, ids, anatomy, Replay(model, anatomy, ids[0], **options)


@pytest.mark.parametrize("name", sorted(TINY))
def test_any_batch_runs_through_any_layer_as_in_the_clean_pass(name):
    _model, _ids, _anatomy, replay = replayed(name)
    assert replay.can_resume == (name not in WHOLE_PROMPTS_ONLY)
    with torch.no_grad():
        for layer in range(replay.n_layers):
            rows = replay.residual[layer][None].expand(3, -1, -1)
            after = replay.run_layer(layer, rows)
            torch.testing.assert_close(after[1], replay.residual[layer + 1], rtol=1e-4, atol=1e-5)


@on_few_models()
def test_skip_effects_match_the_naive_way(name):
    model, ids, anatomy, replay = replayed(name, 18)
    skipped = skipped_residuals(anatomy, replay, "layer")
    effects = skip_effects(replay, anatomy.unembedding, skipped, [12, 8])
    expected, output = naive_skip_effects(model, ids, [12, 8])
    np.testing.assert_allclose(effects.layers, expected, rtol=2e-4, atol=2e-5)
    np.testing.assert_allclose(effects.output, output, rtol=2e-4, atol=2e-5)
    assert (np.tril(effects.layers) == 0).all()
    assert effects.layers.max() > 0.01


@pytest.mark.parametrize("name", ["llama", "falcon", "bloom", "opt", "mamba", "gemma2"])
def test_skipping_everywhere_matches_the_naive_way(name):
    model, ids, anatomy, replay = replayed(name)
    skipped = skipped_residuals(anatomy, replay, "layer")
    effects = skip_effects(replay, anatomy.unembedding, skipped, [0])
    expected, output = naive_skip_effects(model, ids, [0])
    np.testing.assert_allclose(effects.layers, expected, rtol=2e-4, atol=2e-5)
    np.testing.assert_allclose(effects.output, output, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("at_once", [1, 3])
def test_skipping_in_groups_and_small_batches_is_the_same(at_once):
    model, _ids, anatomy, replay = replayed("llama", 18)
    skipped = skipped_residuals(anatomy, replay, "layer")
    whole = skip_effects(replay, anatomy.unembedding, skipped, [12, 8])
    small = Replay(model, anatomy, replay.ids, tokens_at_once=20)
    parts = skip_effects(small, anatomy.unembedding, skipped, [12, 8], layers_at_once=at_once)
    np.testing.assert_allclose(parts.layers, whole.layers, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(parts.mean_layers, whole.mean_layers, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(parts.output, whole.output, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["llama", "gpt2", "falcon", "bloom", "opt", "granite", "gemma2"])
def test_a_silenced_mlp_is_what_a_model_without_it_makes(name):
    model, ids, anatomy, replay = replayed(name)
    residuals = skipped_residuals(anatomy, replay, "mlp")
    for layer in range(replay.n_layers):
        with silent_mlp(model, layer):
            _, expected = layer_ends(model, ids, layer)
        np.testing.assert_allclose(residuals[layer], expected, rtol=1e-4, atol=1e-5)


@on_few_models()
def test_erasure_matches_the_naive_way(name):
    model, ids, anatomy, replay = replayed(name, 9)
    torch.manual_seed(1)
    baseline = [torch.randn(residual.shape[1]) for residual in replay.residual]
    result = residual_erasure(replay, anatomy.unembedding, baseline, answer_start=6)
    expected = naive_erasure(model, ids, baseline, 6)
    np.testing.assert_allclose(result.effect, expected, rtol=2e-4, atol=2e-5)
    assert result.effect.max() > 0.01


def test_erasure_keeps_the_long_factors_of_a_prompt_whose_last_token_is_not_run():
    model, ids, anatomy, replay = replayed("phi3_longrope", 13)
    baseline = [residual.mean(dim=0) for residual in replay.residual]
    result = residual_erasure(replay, anatomy.unembedding, baseline, answer_start=10)
    expected = naive_erasure(model, ids, baseline, 10)
    np.testing.assert_allclose(result.effect, expected, rtol=2e-4, atol=2e-5)


def test_erasure_goes_on_where_it_was_left():
    _model, _ids, anatomy, replay = replayed("llama", 9)
    baseline = [residual.mean(dim=0) for residual in replay.residual]
    whole = residual_erasure(replay, anatomy.unembedding, baseline, 6)
    left = residual_erasure(replay, anatomy.unembedding, baseline, 6)
    left.effect[:, 3:8] = np.nan
    before = replay.evaluations
    done = []
    again = residual_erasure(
        replay, anatomy.unembedding, baseline, 6, lambda count, *_: done.append(count), left
    )
    assert min(done) > 3
    np.testing.assert_allclose(again.effect, whole.effect, atol=1e-6)
    fewer = replay.evaluations - before
    residual_erasure(replay, anatomy.unembedding, baseline, 6)
    assert fewer < replay.evaluations - before - fewer


def test_skip_effects_that_are_not_measured_yet_are_unknown():
    _model, _ids, anatomy, replay = replayed("llama", 12)
    reports = []
    whole = skip_effects(
        replay,
        anatomy.unembedding,
        replay.residual[:-1],
        [8],
        on_rows=lambda *row: reports.append(row[2]),
        layers_at_once=1,
    )
    for part in (reports[1], reports[-1]):
        for values, expected in ((part.layers, whole.layers), (part.output, whole.output)):
            is_finite = np.isfinite(values)
            np.testing.assert_array_equal(values[is_finite], expected[is_finite])
    above = np.triu(np.ones_like(whole.layers), 1) > 0
    assert np.isfinite(reports[1].layers[above]).sum() == 1
    assert np.isnan(reports[1].output).all()
    assert np.isfinite(reports[-1].output).sum() == replay.n_layers - 1


def test_skip_effects_go_on_from_a_part():
    _model, _ids, anatomy, replay = replayed("llama", 9)
    given = replay, anatomy.unembedding, replay.residual[:-1], [6, 4]
    reports = []
    whole = skip_effects(*given, layers_at_once=1, on_rows=lambda *row: reports.append(row))
    # Layer 0 is done, and layer 1 is half-way.
    part = next(value for *_, value in reports if np.isfinite(value.layers[1, -2]))
    assert part.is_known.tolist() == [True, False, False, False]
    assert (part.is_whole, whole.is_whole) == (False, True)
    reports.clear()
    again = skip_effects(
        *given,
        layers_at_once=1,
        on_rows=lambda *row: reports.append(row),
        partial=replace(part, floor=0.25),
    )
    for name in ("layers", "mean_layers", "output"):
        np.testing.assert_allclose(getattr(again, name), getattr(whole, name), atol=1e-6)
    assert again.floor == 0.25
    # Of 3 + 2 + 1 pairs, those of layer 0 are not done again; what is there is shown meanwhile.
    assert [row[:2] for row in (reports[0], reports[-1])] == [(3, 6), (6, 6)]
    assert np.isfinite(reports[0][2].layers[0]).all()
    # What was told of and gone on from stays as it was.
    assert not part.is_whole


def test_ablation_is_known_in_parts_and_goes_on_from_them():
    _model, _ids, anatomy, replay = replayed("llama", 9)
    skipped, seen = replay.residual[:-1], []
    before = replay.evaluations
    whole = ablation_loss(replay, anatomy.unembedding, skipped)
    total = replay.evaluations - before
    parts = ablation_loss(
        replay,
        anatomy.unembedding,
        skipped,
        layers_at_once=1,
        on_rows=lambda done, _total, partial: seen.append((done, partial)),
    )
    np.testing.assert_allclose(parts.loss_change, whole.loss_change, atol=1e-6)
    first = next(partial for _done, partial in seen if partial is not None)
    partial = np.isfinite(first.loss_change).all(axis=1)
    assert partial.tolist() == [False] * (replay.n_layers - 1) + [True]
    assert not first.is_whole
    assert parts.is_whole
    # By then the first layer alone is missing.
    late = seen[-1][1]
    before, seen[:] = replay.evaluations, []
    again = ablation_loss(
        replay,
        anatomy.unembedding,
        skipped,
        on_rows=lambda done, _total, partial: seen.append((done, partial)),
        partial=late,
    )
    np.testing.assert_allclose(again.loss_change, whole.loss_change, atol=1e-6)
    assert again.floor >= late.floor
    assert seen[-1][0] == total_pairs(replay)
    assert replay.evaluations - before < total


def total_pairs(replay):
    """Pairs of a left-out and a later layer."""
    return replay.n_layers * (replay.n_layers - 1) // 2


def test_erasure_that_goes_on_keeps_its_floor():
    _model, _ids, anatomy, replay = replayed("llama", 9)
    baseline = [residual.mean(dim=0) for residual in replay.residual]
    left = residual_erasure(replay, anatomy.unembedding, baseline, 6)
    left.effect[:, 3:8], left.floor = np.nan, 0.25
    assert residual_erasure(replay, anatomy.unembedding, baseline, 6, partial=left).floor == 0.25


def test_nothing_is_computed_twice():
    """Counts of (token, layer) evaluations, against those of full forwards."""
    _model, _ids, anatomy, replay = replayed("llama", 18)
    layers, tokens, positions = replay.n_layers, replay.n_tokens, [12, 8]
    assert replay.can_resume
    before = replay.evaluations
    skip_effects(replay, anatomy.unembedding, replay.residual[:-1], positions)
    behind = sum(tokens - position for position in positions)
    # Each layer runs the skipped ones before it, and one row in which nothing is skipped.
    pairs = layers * (layers - 1) // 2 + layers
    assert replay.evaluations - before == pairs * (max(positions) + behind)
    assert replay.evaluations - before < layers * len(positions) * layers * tokens / 2

    before = replay.evaluations
    ablation_loss(replay, anatomy.unembedding, replay.residual[:-1])
    assert replay.evaluations - before == pairs * tokens

    before = replay.evaluations
    baseline = [residual.mean(dim=0) for residual in replay.residual]
    residual_erasure(replay, anatomy.unembedding, baseline, 15)
    naive = (layers + 1) * tokens * layers * tokens
    assert replay.evaluations - before < naive / 2


def floors(replay, anatomy, model):
    """What every intervention is off by where nothing is changed: those that run tokens behind
    others, and those that run whole prompts."""
    skipped = skipped_residuals(anatomy, replay, "layer")
    effects = skip_effects(replay, anatomy.unembedding, skipped, [12, 8], layers_at_once=3)
    ablation = ablation_loss(replay, anatomy.unembedding, skipped, layers_at_once=3)
    baseline = [residual.mean(dim=0) for residual in replay.residual]
    erasure = residual_erasure(replay, anatomy.unembedding, baseline, replay.n_tokens - 2)
    context = context_depth(replay, anatomy.unembedding, 9, layers_at_once=3)
    reordered = order(replay, anatomy.unembedding, pairs_at_once=2)
    resumed = effects.floor, effects.output_floor, erasure.floor, context.floor
    return resumed, (ablation.floor, reordered.floor)


@on_few_models()
def test_an_unchanged_run_changes_nothing(name):
    model, _ids, anatomy, replay = replayed(name, 16)
    # Not 0: products of few rows add up in another order than those of many.
    assert max(itertools.chain(*floors(replay, anatomy, model))) < 2e-5


@pytest.mark.parametrize("wrong", ["past", "tables"])
def test_the_floor_tells_of_a_way_that_is_wrong(wrong, monkeypatch):
    model, _ids, anatomy, replay = replayed("llama", 16)
    assert replay.can_resume
    run_layer = replay.run_layer

    def wrongly(layer, rows, start=0, past=None):
        if wrong == "past" and past is not None:
            past = past[0] * 1.1, past[1]
        return run_layer(layer, rows * 1.01 if wrong == "tables" else rows, start, past)

    monkeypatch.setattr(replay, "run_layer", wrongly)
    resumed, whole = floors(replay, anatomy, model)
    assert min(resumed) > 1e-3
    assert (min(whole) > 1e-3) == (max(whole) > 1e-3) == (wrong == "tables")


class Linear8bitLt(torch.nn.Linear):
    """Rounds each call's rows to one grid, so that none is independent of the others."""

    def forward(self, rows):
        step = rows.detach().abs().max() / 20
        return super().forward(rows + ((rows / step).round() * step - rows).detach())


def test_rows_that_depend_on_each_other_go_whole_and_alone():
    model, ids = fresh("llama"), random_ids(16)
    for layer in blocks(model):
        for module in layer.modules():
            if type(module) is torch.nn.Linear:
                module.__class__ = Linear8bitLt
    anatomy = probe_architecture(model)
    replay = Replay(model, anatomy, ids[0])
    assert not replay.can_resume
    assert max(itertools.chain(*floors(replay, anatomy, model))) < 2e-5
    context = context_depth(replay, anatomy.unembedding, 9)
    clean = token_losses(model, ids)
    for depth in range(replay.n_layers):
        expected = naive_context_losses(model, ids, 9, depth) - clean
        np.testing.assert_allclose(context.loss_change[depth, 8:], expected[8:], atol=2e-4)
    skipped = skipped_residuals(anatomy, replay, "layer")
    effects = skip_effects(replay, anatomy.unembedding, skipped, [12, 8])
    expected, output = naive_skip_effects(model, ids, [12, 8])
    np.testing.assert_allclose(effects.layers, expected, rtol=2e-4, atol=2e-5)
    np.testing.assert_allclose(effects.output, output, rtol=2e-4, atol=2e-5)


def test_positions_run_on_through_the_prompts():
    rng = random.Random(123)
    first, second = choose_positions(60, rng), choose_positions(60, rng)
    assert sorted(first) != first or sorted(second) != second
    assert set(first) <= set(range(8, 56, 8))
    assert len(first) == 4
    assert choose_positions(12, rng) == []
    assert choose_positions(13, rng) == [8]


@pytest.mark.parametrize("name", ["llama", "mamba", "falcon", "phi"])
def test_ablation_loss_matches_the_naive_way(name):
    model, ids, anatomy, replay = replayed(name)
    result = ablation_loss(replay, anatomy.unembedding, skipped_residuals(anatomy, replay, "layer"))
    assert result.loss.mean() == pytest.approx(naive_loss(model, ids), rel=1e-5)
    for layer in range(replay.n_layers):
        changed = naive_loss(model, ids, [(layer, lambda before, _after: before)])
        assert result.loss_change[layer].mean() == pytest.approx(
            changed - result.loss.mean(), abs=1e-4
        )


@pytest.mark.parametrize("part", ["layer", "attention", "mlp"])
@pytest.mark.parametrize("name", ["llama", "falcon", "bloom", "opt", "mpt", "granite", "glm4"])
def test_a_silenced_part_writes_nothing(name, part):
    model, ids = tiny(name), random_ids()
    anatomy, layers = probe_architecture(model), []
    trace(model, anatomy, ids[0], layers.append, skipped=(Skip(1, part), Skip(2, part)))
    for traced in layers[1:3]:
        quiet = traced.h_next - traced.h if part == "layer" else getattr(traced, part)
        assert (quiet == 0).all()
        torch.testing.assert_close(
            traced.h + traced.attention + traced.mlp, traced.h_next, rtol=1e-4, atol=1e-5
        )
    last = layers[-1].h_next
    if part == "layer":
        skip = [(layer, lambda before, _after: before) for layer in (1, 2)]
        expected = probabilities(model, ids, skip)
    elif part == "mlp":
        expected = probabilities(without_mlp(without_mlp(model, 1), 2), ids)
    else:
        return
    actual = anatomy.unembedding.logits(last).double().softmax(dim=-1)
    torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-6)


def riemann_reference(model, ids, layer, answer_start, points=4000):
    """Midpoint rule with ordinary forwards, float32: attribution `[T]` and change of f."""
    block = blocks(model)[layer]
    kept = {}
    handle = block.register_forward_hook(lambda _m, _a, out: kept.update(o=out.detach()))
    with torch.no_grad():
        model(input_ids=ids, use_cache=False)
    handle.remove()
    actual = kept["o"]
    base = actual.mean(dim=1, keepdim=True)
    targets = ids[0, answer_start:]

    def value_and_gradient(where):
        start = (base + torch.tensor(where)[:, None, None] * (actual - base)).requires_grad_()
        replace = block.register_forward_hook(lambda _m, _a, _o: start)
        many = ids.expand(len(where), -1)
        output = model(input_ids=many, use_cache=False).logits.softmax(dim=-1)
        replace.remove()
        chosen = output[:, answer_start - 1 : -1].gather(
            -1, targets[None, :, None].expand(len(where), -1, 1)
        )
        values = chosen.sum(dim=(1, 2))
        (gradient,) = torch.autograd.grad(values.sum(), start)
        return values.detach(), (gradient * (actual - base)).sum(dim=-1)

    where = [(step + 0.5) / points for step in range(points)]
    shares = torch.cat([value_and_gradient(where[i : i + 500])[1] for i in range(0, points, 500)])
    ends = value_and_gradient([0.0, 1.0])[0]
    return shares.mean(dim=0), float(ends[1] - ends[0])


@pytest.mark.parametrize(
    ("name", "layer"), [("llama", 0), ("llama", 2), ("llama", 3), ("gemma2", 0)]
)
def test_integrated_gradients_match_a_fine_rule_and_are_complete(name, layer):
    model, ids, anatomy, replay = replayed(name, 9)
    result = integrated_gradients(replay, anatomy.unembedding, 6, tolerance=0.001)
    expected, change = riemann_reference(model, ids, layer, 6)
    assert result.reached.all()
    assert result.completeness_error.max() <= 0.001
    assert (result.attribution[:, -1] == 0).all()
    np.testing.assert_allclose(
        result.attribution[layer], expected, atol=0.01 * float(expected.abs().max())
    )
    assert result.attribution[layer].sum() == pytest.approx(change, rel=0.002)
    assert result.floor < 1e-6

    clean = replay.states[-1]
    replay.states[-1] = clean.flip(-1)
    elsewhere = integrated_gradients(replay, anatomy.unembedding, 6, 0.1, layers=[0])
    assert elsewhere.floor > 1e-5 > 10 * result.floor


def test_integrated_gradients_say_what_they_did_not_reach(monkeypatch):
    monkeypatch.setattr(gradients_module, "_MOST_POINTS", 13)
    _model, _ids, anatomy, replay = replayed("llama", 9)
    few = integrated_gradients(replay, anatomy.unembedding, 6, tolerance=1e-7)
    assert not few.reached.all()
    assert (few.points <= 13).all()
    total = few.attribution.sum(axis=1)
    assert np.isfinite(total).all()
    assert (few.completeness_error[~few.reached] > 0).all()


def test_integrated_gradients_give_up_where_another_expert_is_taken():
    model, ids, anatomy, replay = replayed("mixtral", 10)
    result = integrated_gradients(replay, anatomy.unembedding, 6, layers=[0])
    _shares, change = riemann_reference(model, ids, 0, 6, points=2)
    missed = abs(float(result.attribution[0].sum()) - change) / abs(change)
    assert not result.reached[0]
    assert result.points[0] < 1000
    assert result.completeness_error[0] == pytest.approx(missed, rel=0.01)


def test_integrated_gradients_of_a_broken_model_are_unknown():
    model, ids = fresh("llama"), random_ids(9)
    anatomy = probe_architecture(model)
    with torch.no_grad():
        blocks(model)[2].mlp.down_proj.weight[0, 0] = torch.nan
    result = integrated_gradients(Replay(model, anatomy, ids[0]), anatomy.unembedding, 6)
    assert np.isnan(result.attribution).all()
    assert np.isnan(result.completeness_error).all()
    assert not result.reached.any()


@pytest.mark.parametrize(
    "name",
    [
        name if name in OFTEN_IN_16_BITS else pytest.param(name, marks=pytest.mark.by_hand)
        for name in sorted(set(TINY) - {"mamba"})  # has no lens in 16 bits
    ],
)
def test_integrated_gradients_of_16_bit_weights_are_those_of_their_float32_copies(name):
    model, ids = fresh(name).to(torch.bfloat16), random_ids(9)
    narrow = probe_architecture(model)
    held = {name: id(weight) for name, weight in model.named_parameters()}
    replay = Replay(model, narrow, ids[0])
    actual = integrated_gradients(replay, narrow.unembedding, 6, layers=[1, 3], steps=8)
    assert {name: id(weight) for name, weight in model.named_parameters()} == held
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
    assert not any(module._forward_pre_hooks for module in model.modules())

    wide = fresh(name).float()
    wide.load_state_dict(model.state_dict())
    anatomy = probe_architecture(wide)
    exact = Replay(wide, anatomy, ids[0])
    exact.states = [states.float() for states in replay.states]
    expected = integrated_gradients(exact, anatomy.unembedding, 6, layers=[1, 3], steps=8)
    for layer, allowed in ((1, 0.05), (3, 1e-4)):
        largest = np.abs(expected.attribution[layer]).max()
        # Above layer 1 there is attention, whose rotary tables are of 16 bits.
        np.testing.assert_allclose(
            actual.attribution[layer], expected.attribution[layer], atol=allowed * largest
        )


def test_integrated_gradients_of_16_bit_weights_are_complete():
    model, ids = fresh("llama").to(torch.bfloat16), random_ids(9)
    anatomy = probe_architecture(model)
    result = integrated_gradients(Replay(model, anatomy, ids[0]), anatomy.unembedding, 6)
    assert result.reached.all()
    assert result.completeness_error.max() <= 0.01


@pytest.fixture
def narrow_only(monkeypatch):
    """Weights of 16 bits stay so, as those that are quantised or not in memory do."""
    monkeypatch.setattr(gradients_module, "can_widen", lambda modules: False)


def test_integrated_gradients_do_not_chase_rounding(narrow_only):
    model, ids = fresh("llama").to(torch.bfloat16), random_ids(9)
    anatomy = probe_architecture(model)
    replay = Replay(model, anatomy, ids[0])
    result = integrated_gradients(replay, anatomy.unembedding, 6, tolerance=1e-6)
    assert not result.reached.all()
    assert result.points.max() <= 1 / torch.finfo(torch.bfloat16).eps + 1
    assert np.isfinite(result.attribution).all()


def test_gradients_of_an_unlikely_answer_do_not_vanish_in_float16(narrow_only):
    model, ids = fresh("llama"), random_ids(9)
    with torch.no_grad():
        model.lm_head.weight *= 4
    anatomy = probe_architecture(model)
    replay = Replay(model, anatomy, ids[0])
    log_p = anatomy.unembedding.logits(replay.residual[-1][-2]).log_softmax(dim=-1)
    ids[0, -1] = int(log_p.argmin())
    assert log_p.min() < -14
    replay = Replay(model, anatomy, ids[0])
    expected = integrated_gradients(replay, anatomy.unembedding, 8, steps=4).attribution
    half = model.half()
    narrow = probe_architecture(half)
    actual = integrated_gradients(Replay(half, narrow, ids[0]), narrow.unembedding, 8, steps=4)
    assert np.abs(expected[2]).max() > 0
    np.testing.assert_allclose(
        actual.attribution[2], expected[2], rtol=0.1, atol=0.05 * np.abs(expected[2]).max()
    )


def test_integrated_gradients_where_memory_is_short(monkeypatch):
    """Blocks are run again instead of kept, and the answer's logits come in parts."""
    _model, _ids, anatomy, replay = replayed("llama", 9)
    whole = integrated_gradients(replay, anatomy.unembedding, 4)
    asked = []
    kept_by = torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: asked.append(tensor.numel()) or tensor, lambda tensor: tensor
    )
    vocabulary = anatomy.unembedding.vocab_size
    room = 2 * vocabulary * gradients_module._BYTES_OF_A_LOGIT
    monkeypatch.setattr(gradients_module, "_LOGITS_BYTES", room)
    rows, logits = [], type(anatomy.unembedding).logits
    monkeypatch.setattr(
        type(anatomy.unembedding),
        "logits",
        lambda self, h: rows.append(h.shape[:2].numel()) or logits(self, h),
    )
    with kept_by:
        parts = integrated_gradients(replay, anatomy.unembedding, 4, most_tokens=1)
    np.testing.assert_allclose(parts.attribution, whole.attribution, atol=1e-6)
    np.testing.assert_array_equal(parts.points, whole.points)
    assert max(rows) == 2
    # Of every block its input alone is kept, `[1, 8, d]`.
    assert max(asked) <= 8 * replay.residual[0].shape[1]


def test_riemann_steps_are_the_paper_s():
    _model, _ids, anatomy, replay = replayed("llama", 9)
    coarse = integrated_gradients(replay, anatomy.unembedding, 6, steps=8)
    assert (coarse.points == 8).all()
    fine = integrated_gradients(replay, anatomy.unembedding, 6, steps=256)
    assert fine.completeness_error.max() < coarse.completeness_error.max()


def test_integrated_gradients_keep_to_the_tokens_that_fit(monkeypatch):
    _model, _ids, anatomy, replay = replayed("llama", 9)
    whole = integrated_gradients(replay, anatomy.unembedding, 6)
    sizes, run_layer = [], replay.run_layer
    monkeypatch.setattr(
        replay,
        "run_layer",
        lambda n, rows: sizes.append(rows.shape[:2].numel()) or run_layer(n, rows),
    )
    parts = integrated_gradients(replay, anatomy.unembedding, 6, most_tokens=20)
    assert max(sizes) == 16
    np.testing.assert_allclose(parts.attribution, whole.attribution, atol=1e-6)


def test_integrated_gradients_keep_no_weights_of_layers_that_are_moved(tmp_path):
    _model, ids, anatomy, replay = replayed("llama", 9)
    whole = integrated_gradients(replay, anatomy.unembedding, 6)
    model = fresh("llama")
    places = {name: "cpu" for name, _ in model.named_children() if name != "model"}
    places |= {f"model.{name}": "cpu" for name, _ in model.model.named_children()}
    del places["model.layers"]
    places |= {f"model.layers.{layer}": "cpu" if layer < 2 else "disk" for layer in range(4)}
    moved = dispatch_model(model, places, main_device="cpu", offload_dir=str(tmp_path))
    anatomy = probe_architecture(moved)
    products = tiny("llama").model.layers[2].mlp.parameters()
    weights = {weight.shape for weight in products}
    kept = set()
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: kept.add(tensor.shape) or tensor, lambda tensor: tensor
    ):
        result = integrated_gradients(Replay(moved, anatomy, ids[0]), anatomy.unembedding, 6)
    assert kept
    assert not kept & weights
    np.testing.assert_allclose(result.attribution, whole.attribution, atol=1e-5)


def test_integrated_gradients_go_on_where_they_were_left():
    _model, _ids, anatomy, replay = replayed("llama", 9)
    whole = integrated_gradients(replay, anatomy.unembedding, 6)
    kept = whole.attribution.copy()
    whole.completeness_error[2:] = np.nan
    done = []
    again = integrated_gradients(
        replay,
        anatomy.unembedding,
        6,
        on_rows=lambda count, *_: done.append(count),
        partial=whole,
    )
    assert done == [3, 4]
    np.testing.assert_allclose(again.attribution, kept, atol=1e-6)


def test_replay_leaves_the_model_as_it_was():
    model, ids = fresh("llama"), random_ids(16)
    before = probabilities(model, ids)
    replay = Replay(model, probe_architecture(model), ids[0])
    assert replay.can_resume
    assert all("forward" not in vars(layer) for layer in blocks(model))
    assert not any(layer._forward_hooks for layer in blocks(model))
    assert torch.equal(probabilities(model, ids), before)
