"""What stands in for a layer that is left out: against whole forwards, and in closed form."""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from depthtui.data.run_settings import RunSettings, SummarySettings, settings_keys
from depthtui.depth.reading import reading_of
from depthtui.engine.metric_context import Baselines
from depthtui.metrics.choices import STAND_INS, key_parts
from depthtui.metrics.kept.compute import OrderedRows, RunOrders, begun, own_orders
from depthtui.metrics.kept.result import Kept
from depthtui.metrics.registry import ALL, METRIC_BY_NAME, depending_on
from depthtui.metrics.skip_effects.compute import skipped_residuals
from depthtui.report.choices import choice_words
from depthtui.report.groups import group_runs
from depthtui.tracing.anatomy import Anatomy
from depthtui.tracing.decoding import reads_on, write_greedily
from depthtui.tracing.left_out import NOTHING, LayersToLeave, Substitute, without_first
from depthtui.tracing.probe import probe_architecture
from depthtui.tracing.replay import Replay
from tests.builders.kernels import ablation_loss, context_depth, direct_effects, pairs, skip_effects
from tests.builders.results import full_run
from tests.naive import (
    blocks,
    call_alone,
    layer_changes,
    layer_ends,
    probabilities,
    with_states,
)
from tests.tiny_models import LAYERS, TINY, fresh, random_ids, tiny

TOKENS = 12

VARIANTS = [
    {"ablate": "mean", "keep_first_token": False},
    {"ablate": "zero", "keep_first_token": True},
    {"ablate": "mean", "keep_first_token": True},
]
"""All but the one where nothing stands in."""

NAMES = ["mean", "first", "both"]

variants = pytest.mark.parametrize("variant", VARIANTS, ids=NAMES)

_IN_EACH = ("llama", "mamba")
"""Architectures with each variant; the others have both together, and each by hand."""

_UNLIKE = (
    "falcon",  # parallel block
    "gemma4",  # a layer reads more than the residual
    "qwen3_next",  # whole prompts only
)
"""Of the others, those whose layers work in ways of their own."""


def on_models(often: Collection[str]) -> pytest.MarkDecorator:
    """Every architecture and variant; those that are not tried often are tried by hand."""
    return pytest.mark.parametrize(
        ("name", "variant"),
        [
            pytest.param(
                name,
                variant,
                id=f"{name}-{variant_name}",
                marks=[]
                if name in _IN_EACH or (variant_name == "both" and name in often)
                else [pytest.mark.by_hand],
            )
            for name in sorted(TINY)
            for variant_name, variant in zip(NAMES, VARIANTS, strict=True)
        ],
    )


on_unlike_models = on_models(_UNLIKE)

PROMPTS = {"one": random_ids(7, seed=3), "two": random_ids(10, seed=4)}
"""The baseline prompts."""


def substitute_of(model, anatomy: Anatomy, variant) -> Substitute:
    """As the engine makes it."""
    baselines = Baselines(model, anatomy, lambda text: PROMPTS[text][0], lambda: tuple(PROMPTS))
    return baselines.substitute(RunSettings(**variant), lambda: None)


@functools.cache
def mean_updates(model) -> list[Tensor]:
    """The mean of what each layer adds to the baseline prompts' tokens, `[d]`, float64."""
    result = []
    for layer in range(len(blocks(model))):
        ends = [layer_ends(model, ids, layer) for ids in PROMPTS.values()]
        result.append(torch.from_numpy(np.concatenate([after - h for h, after in ends]).mean(0)))
    return result


def changes_of(model, layers: Sequence[int], variant):
    """For hooks: each layer writes its mean update, or nothing; at token 0 it does its work."""
    updates = mean_updates(model) if variant["ablate"] == "mean" else None

    def change(layer: int):
        def function(before: Tensor, after: Tensor) -> Tensor:
            changed = before if updates is None else before + updates[layer].to(before.dtype)
            if variant["keep_first_token"]:
                changed = torch.cat([after[:, :1], changed[:, 1:]], dim=1)
            return changed

        return function

    return [(layer, change(layer)) for layer in layers]


def naive_kl(model, ids: Tensor, layers: Sequence[int], variant) -> np.ndarray:
    """KL(p || p~) at tokens 1 … T-1, of two whole forwards."""
    whole = probabilities(model, ids)
    changed = probabilities(model, ids, changes_of(model, layers, variant))
    return (whole * (whole.log() - changed.log())).sum(dim=-1)[1:].numpy()


def replayed(model, tokens: int = TOKENS):
    ids = random_ids(tokens)
    anatomy = probe_architecture(model)
    return ids, anatomy, Replay(model, anatomy, ids[0])


def ablated(model, variant, part: str = "layer"):
    _ids, anatomy, replay = replayed(model)
    substitute = substitute_of(model, anatomy, variant)
    skipped = skipped_residuals(anatomy, replay, part, substitute)
    return ablation_loss(replay, anatomy.unembedding, skipped, part, substitute=substitute)


def own(model, variant, search: str = "ranked") -> Kept:
    """Layers that suffice, in orders of the prompt's own halves."""
    _ids, anatomy, replay = replayed(model)
    substitute = substitute_of(model, anatomy, variant)
    with torch.no_grad():
        layers = LayersToLeave([replay], substitute)
        (found,) = own_orders(layers, anatomy.unembedding, [search], LAYERS)
        orders = RunOrders(
            tuple(order.whole(LAYERS) for order in found), tuple(len(o.pieces) for o in found)
        )
        start = begun(layers, Kept, "own", search, orders)
        return OrderedRows(layers, anatomy.unembedding).with_pieces_left_out(start)


@on_unlike_models
def test_ablation_against_one_forward_a_layer(name: str, variant) -> None:
    model = tiny(name)
    result, ids = ablated(model, variant), random_ids(TOKENS)
    for layer in range(LAYERS):
        kl = naive_kl(model, ids, [layer], variant)
        np.testing.assert_allclose(result.kl[layer, 1:], kl, rtol=3e-3, atol=3e-5)
    kl = naive_kl(model, ids, np.flatnonzero(result.together).tolist(), variant)
    assert result.together_kl == pytest.approx(kl.mean(), rel=3e-3, abs=3e-5)
    usual = ablated(model, {})
    assert not np.allclose(result.kl[:, 1:], usual.kl[:, 1:], rtol=0.01)


@on_unlike_models
def test_pairs_against_one_forward_a_pair(name: str, variant) -> None:
    model = tiny(name)
    ids, anatomy, replay = replayed(model)
    substitute = substitute_of(model, anatomy, variant)
    result = pairs(replay, anatomy.unembedding, substitute=substitute)
    for place in result.places:
        kl = naive_kl(model, ids, sorted(set(place)), variant)
        assert result.kl[place] == pytest.approx(kl.mean(), rel=3e-3, abs=3e-5)


@on_unlike_models
def test_layers_that_suffice_against_whole_forwards(name: str, variant) -> None:
    model = tiny(name)
    result, ids = own(model, variant), random_ids(TOKENS)
    alone = [naive_kl(model, ids, [layer], variant) for layer in range(LAYERS)]
    for way, order in enumerate(result.orders):
        # The order of one half of the blocks is found on the other one.
        starts = range(1 + 4 * way, TOKENS, 8)
        costs = [np.mean([kl[at - 1 : at + 3].mean() for at in starts]) for kl in alone]
        assert list(order) == sorted(range(LAYERS), key=lambda layer: (costs[layer], -layer))
        tokens = result.way == way
        for count in range(LAYERS):
            kl = naive_kl(model, ids, order[:count], variant)[tokens[1:]]
            np.testing.assert_allclose(result.kl[count, tokens], kl, rtol=3e-3, atol=3e-5)


@variants
@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2"])
def test_a_greedy_order_leaves_out_with_the_same_stand_in(name: str, variant) -> None:
    model = tiny(name)
    result, ids = own(model, variant, "greedy"), random_ids(TOKENS)
    for way, order in enumerate(result.orders):
        starts, gone = range(1 + 4 * way, TOKENS, 8), []
        for layer in order:
            costs = {}
            for other in set(range(LAYERS)) - set(gone):
                kl = naive_kl(model, ids, [*gone, other], variant)
                costs[other] = np.mean([kl[at - 1 : at + 3].mean() for at in starts])
            assert layer == min(costs, key=lambda one: (costs[one], -one))
            gone.append(layer)


@variants
@pytest.mark.parametrize("name", ["llama", "gpt2", "falcon", "mamba", "mixtral"])
@pytest.mark.parametrize("positions", [[0], [8, 6]])
def test_skip_effects_against_whole_forwards(name: str, positions, variant) -> None:
    model = tiny(name)
    ids, anatomy, replay = replayed(model)
    skipped = skipped_residuals(anatomy, replay, "layer", substitute_of(model, anatomy, variant))
    actual = skip_effects(replay, anatomy.unembedding, skipped, positions)
    clean, output = layer_changes(model, ids)
    for layer in range(LAYERS):
        ((_, everywhere),) = changes_of(model, [layer], variant)
        moved = 0.0
        for position in positions:

            def before_it(before, after, position=position, everywhere=everywhere):
                changed = everywhere(before, after)
                if not position:
                    return changed
                rest = changed[:, 1:position]
                return torch.cat([after[:, :1], rest, after[:, position:]], dim=1)

            changed, changed_output = layer_changes(model, ids, [(layer, before_it)])
            moved = max(moved, float((changed_output - output)[position:].norm(dim=-1).max()))
            if positions == [0]:
                far = (changed - clean).norm(dim=-1) / clean.norm(dim=-1).clamp(min=1e-6)
                expected = far.amax(dim=1)[layer + 1 :]
                np.testing.assert_allclose(actual.layers[layer, layer + 1 :], expected, rtol=1e-3)
        assert actual.output[layer] == pytest.approx(moved, rel=1e-3, abs=2e-5)


@on_unlike_models
def test_context_depth_against_whole_forwards(name: str, variant) -> None:
    model, start = tiny(name), 7
    ids, anatomy, replay = replayed(model)
    substitute = substitute_of(model, anatomy, variant)
    actual = context_depth(replay, anatomy.unembedding, start, substitute=substitute)

    def losses(depth: int) -> np.ndarray:
        def of_earlier(change):
            def function(before: Tensor, after: Tensor) -> Tensor:
                earlier = change(before, after)[:, :start]
                return torch.cat([earlier, after[:, start:]], dim=1)

            return function

        every = changes_of(model, range(depth, LAYERS), variant)
        changes = [(layer, of_earlier(change)) for layer, change in every]
        output = probabilities(model, ids, changes)[:-1]
        return -output.gather(1, ids[0, 1:, None])[:, 0].log().numpy()[start - 1 :]

    for depth in range(LAYERS + 1):
        expected = losses(depth) - losses(LAYERS)
        np.testing.assert_allclose(actual.loss_change[depth, start - 1 :], expected, 3e-3, 1e-4)


@variants
def test_direct_effects_take_away_what_the_stand_in_does_not_write(variant) -> None:
    model = tiny("llama")
    ids, anatomy, replay = replayed(model)
    skipped = skipped_residuals(anatomy, replay, "layer", substitute_of(model, anatomy, variant))
    result = direct_effects(replay, skipped, [0])
    source, reader = 0, 2
    h, after = layer_ends(model, ids, source)
    ((_, change),) = changes_of(model, [source], variant)
    h, after = torch.from_numpy(h)[None], torch.from_numpy(after)[None]
    written = (after - change(h, after))[0].float()
    clean = call_alone(model, ids, reader, lambda before: before)
    changed = call_alone(model, ids, reader, lambda before: before - written)
    far = (changed - clean).norm(dim=-1) / clean.norm(dim=-1)
    assert result.layers[source, reader] == pytest.approx(float(far.max()), rel=1e-3)


@on_unlike_models
def test_texts_are_written_with_the_same_stand_in(name: str, variant) -> None:
    model, ids = tiny(name), random_ids(9)
    anatomy = probe_architecture(model)
    substitute = substitute_of(model, anatomy, variant)
    cached = reads_on(model, anatomy) and name != "phi3_longrope"
    expected = []
    for layer in range(LAYERS):
        text = ids
        for _ in range(3):
            output = probabilities(model, text, changes_of(model, [layer], variant))
            text = torch.cat([text, output[-1].argmax()[None, None]], dim=1)
        expected.append(text[0, -3:].numpy())
    alone = [(layer,) for layer in range(LAYERS)]
    for from_cache in {cached, False}:
        actual = write_greedily(
            model,
            anatomy,
            ids[0],
            3,
            alone,
            cached=from_cache,
            substitute=substitute,
        )
        np.testing.assert_array_equal(actual, expected)


def test_a_sublayer_is_kept_at_token_0() -> None:
    """Where all but token 0 lacks its MLP: a model whose MLP is silenced there by a hook."""
    variant = {"keep_first_token": True}
    for name in ("llama", "gpt2", "mixtral"):
        model, ids = fresh(name), random_ids(TOKENS)
        result, usual = ablated(model, variant, "mlp"), ablated(model, {}, "mlp")
        whole = probabilities(model, ids)
        block = blocks(model)[1]
        mlp = block.block_sparse_moe if hasattr(block, "block_sparse_moe") else block.mlp

        def silence(_module, _args, output):
            out = output[0] if isinstance(output, tuple) else output
            quiet = torch.zeros_like(out)
            quiet[:, :1] = out[:, :1]
            return with_states(output, quiet)

        handle = mlp.register_forward_hook(silence)
        changed = probabilities(model, ids)
        handle.remove()
        kl = (whole * (whole.log() - changed.log())).sum(dim=-1)[1:].numpy()
        np.testing.assert_allclose(result.kl[1, 1:], kl, rtol=3e-3, atol=3e-5)
        assert not np.allclose(result.kl[:, 1:], usual.kl[:, 1:], rtol=0.01)


# In closed form -----------------------------------------------------------------


def test_a_layer_that_adds_the_same_everywhere_costs_nothing_under_its_mean() -> None:
    model = fresh("gpt2")
    with torch.no_grad():
        for module in (blocks(model)[1].attn.c_proj, blocks(model)[1].mlp.c_proj):
            module.weight.zero_()
    mean, zero = (ablated(model, {"ablate": how}) for how in ("mean", "zero"))
    assert mean.kl[1, 1:].max() < 1e-6
    assert zero.kl[1, 1:].mean() > 0.01
    assert [order[0] for order in own(model, {"ablate": "mean"}).orders] == [1, 1]


def test_a_layer_that_writes_at_token_0_alone_costs_nothing_where_that_is_kept() -> None:
    model = fresh("llama")

    def write_first_alone(_module, args, kwargs, output):
        before = args[0] if args else kwargs["hidden_states"]
        after = output[0] if isinstance(output, tuple) else output
        return with_states(output, torch.cat([after[:, :1], before[:, 1:]], dim=1))

    blocks(model)[1].register_forward_hook(write_first_alone, with_kwargs=True)
    kept, zero = (ablated(model, {"keep_first_token": keeps}) for keeps in (True, False))
    assert kept.kl[1, 1:].max() < 1e-6
    assert zero.kl[1, 1:].mean() > 1e-3
    assert [order[0] for order in own(model, {"keep_first_token": True}).orders] == [1, 1]


def test_by_default_a_layer_leaves_behind_what_it_reads() -> None:
    _ids, anatomy, replay = replayed(tiny("llama"))
    skipped = skipped_residuals(anatomy, replay, "layer")
    pairs = zip(skipped, replay.residual, strict=False)
    assert all(left is residual for left, residual in pairs)
    assert NOTHING(0, skipped[0], skipped[1]) is skipped[0]


def test_updates_are_added_in_float32_to_residuals_of_16_bits() -> None:
    # bfloat16 has 8 bits: 1 + 2^-8 is no number of it, and 2^-8 rounded by itself is.
    update = Substitute([torch.tensor([2.0**-8 + 2.0**-12])])
    before = torch.ones(1, 1, dtype=torch.bfloat16)
    assert update(0, before, before).item() == 1 + 2.0**-7
    assert update(0, before, before).dtype == torch.bfloat16


def test_all_layers_out_leave_the_sum_of_their_means() -> None:
    model = tiny("llama")
    _ids, anatomy, replay = replayed(model)
    substitute = substitute_of(model, anatomy, {"ablate": "mean", "keep_first_token": True})
    with torch.no_grad():
        (actual,) = without_first(replay, [2, 0, 1, 3], [4], substitute)
    expected = replay.residual[0] + sum(mean_updates(model)).float()
    torch.testing.assert_close(actual[1:], expected[1:], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(actual[0], replay.residual[-1][0])


# Keys and words -----------------------------------------------------------------

METRICS = (
    "ablation",
    "head_ablation",
    "kept",
    "parts",
    "kept_heads",
    "skip_effects",
    "direct_effects",
    "accuracy",
    "context_depth",
    "pairs",
    "perplexity",
)


def test_these_metrics_leave_layers_out() -> None:
    for setting in STAND_INS:
        assert {metric.name for metric in depending_on(setting)} == set(METRICS)


@pytest.mark.parametrize("name", METRICS)
def test_variants_have_keys_of_their_own(name: str) -> None:
    metric = METRIC_BY_NAME[name]

    def key(**settings: object) -> str:
        result = full_run()
        result.settings = RunSettings(**settings)
        make = metric.cache_key or (lambda result: key_parts(result, metric.depends_on))
        return repr(make(result))

    keys = [key(), *(key(**variant) for variant in VARIANTS)]
    assert len(set(keys)) == 4
    assert not any(word in keys[0] for word in (*STAND_INS, "baseline"))
    # A mean is over the baseline prompts; nothing else hangs on them.
    assert key(ablate="mean", baseline=("a",)) != key(ablate="mean")
    assert key(baseline=("a",)) == key()


def test_files_name_variants_only_where_they_are_chosen() -> None:
    assert not {*STAND_INS} & set(settings_keys(RunSettings()))
    chosen = settings_keys(RunSettings(**VARIANTS[2]))
    assert (chosen["ablate"], chosen["keep_first_token"]) == ("mean", True)


@pytest.mark.parametrize("part", ["attention", "mlp"])
def test_a_sublayer_has_no_mean_update(part: str) -> None:
    result = full_run()
    result.settings = RunSettings(ablate="mean", skip_part=part)
    reasons = {name: METRIC_BY_NAME[name].why_unavailable(result) for name in METRICS}
    title = {"attention": "attention", "mlp": "MLP"}[part]
    # These leave out whole layers, whatever the part.
    of_layers = ("kept", "accuracy", "context_depth", "pairs", "perplexity")
    assert {reasons.pop(name) for name in of_layers} == {""}
    of_parts = {reasons.pop(name) for name in ("parts", "head_ablation", "kept_heads")}
    assert of_parts == {"only a whole layer has a mean update, not its parts"}
    assert set(reasons.values()) == {f"only a whole layer has a mean update, not its {title}"}
    result.settings = RunSettings(keep_first_token=True, skip_part=part)
    assert METRIC_BY_NAME["ablation"].why_unavailable(result) == ""


WORDS = {
    "mean": "a layer left out writes its mean update",
    "first": "token 0 keeps every layer",
    "both": "a layer left out writes its mean update, token 0 keeps every layer",
}


@pytest.mark.parametrize("variant", [*zip(NAMES, VARIANTS, strict=True)], ids=NAMES)
def test_every_report_says_what_stands_in(variant) -> None:
    name, settings = variant
    words, result = WORDS[name], full_run()
    result.settings = replace(result.settings, **settings)
    assert choice_words(RunSettings(**settings)) == words
    (group,) = group_runs([result], SummarySettings())
    assert group.title.endswith(f", {words}")
    reading = reading_of([result], SummarySettings())
    remarks = [
        line.remark
        for metric in ALL
        if (value := reading.get(metric)) is not None
        for line in metric.findings(value, reading)
    ]
    assert sum(remark.endswith(f"; {words}") for remark in remarks) >= 3
    assert f"{words[0].upper()}{words[1:]}." in str(reading.verdict.sentence)


def test_runs_of_variants_are_never_pooled() -> None:
    results = []
    for settings in ({}, *VARIANTS):
        result = full_run()
        result.settings = replace(result.settings, **settings)
        results.append(result)
    assert len(group_runs(results, SummarySettings())) == 4
    usual = reading_of(results[:1], SummarySettings()).verdict
    assert "mean update" not in str(usual.sentence)


def test_a_verdict_says_nothing_of_it_where_no_layer_was_left_out() -> None:
    result = full_run()
    result.settings = replace(result.settings, **VARIANTS[0])
    for name in METRICS:
        result.measured.pop(name, None)
    assert "mean update" not in str(reading_of([result], SummarySettings()).verdict.sentence)
