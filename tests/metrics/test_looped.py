"""A model that runs its blocks in three passes: each call is a layer, against ordinary forwards."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from depthtui import analyze
from depthtui.data.run_settings import RunSettings, Skip
from depthtui.engine.metric_context import Baselines
from depthtui.errors import DepthError
from depthtui.metrics.contributions import Contributions
from depthtui.metrics.neighbours.compute import neighbours
from depthtui.metrics.skip_effects.compute import skipped_residuals
from depthtui.tracing.activations import Activations, record_residuals
from depthtui.tracing.decoding import reads_on, write_greedily
from depthtui.tracing.left_out import without_first
from depthtui.tracing.probe import probe_architecture
from depthtui.tracing.replay import Replay
from depthtui.tracing.trace import trace
from tests.builders.kernels import ablation_loss, context_depth, residual_erasure, skip_effects
from tests.builders.models import model_info
from tests.naive import (
    hooks,
    layer_ends,
    naive_answer,
    naive_context_losses,
    naive_contributions,
    naive_erasure,
    naive_skip_effects,
    naive_without,
    probabilities,
    read_states,
    speak_from,
    token_losses,
    turns_of,
)
from tests.tiny_models import random_ids, tiny, with_tokenizer

LAYERS, ENTERED = 9, (3, 6)
"""Three blocks in three passes, with a norm before the second and the third."""


@pytest.fixture(scope="module")
def looped():
    model, ids = tiny("looped"), random_ids(14)
    anatomy = probe_architecture(model)
    return model, ids, anatomy, Replay(model, anatomy, ids[0])


def test_each_call_is_a_layer(looped):
    model, _ids, anatomy, replay = looped
    assert [block for _turn, block in anatomy.calls] == [0, 1, 2] * 3
    assert [turn for turn, _block in anatomy.calls] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert dict(anatomy.between) == dict.fromkeys(ENTERED, (model.model.norm,))
    assert (anatomy.split_missing, anatomy.lens_missing, anatomy.replay_missing) == ("", "", "")
    assert len(anatomy.attention) == LAYERS
    assert replay.can_resume
    for layer in range(LAYERS):
        rows = replay.residual[layer][None].expand(2, -1, -1)
        after = replay.run_layer(layer, rows)[1]
        torch.testing.assert_close(after, replay.residual[layer + 1], rtol=1e-4, atol=1e-5)


def test_contributions_are_of_what_each_call_reads():
    model, tokenizer = with_tokenizer("looped")
    runs = analyze(model, "Seven plus five is twelve.", tokenizer, progress=False)
    (result,) = runs
    assert result.model.n_layers == LAYERS
    ids = torch.from_numpy(result.tokens.ids)[None]
    ends = [layer_ends(model, ids, layer) for layer in range(LAYERS)]
    h, h_next = (np.stack(column) for column in zip(*ends, strict=True))
    expected = naive_contributions(h, h * 0, h_next - h, h_next, parallel=False)
    actual = result.get(Contributions)
    for name in ("layer_norm_ratio", "layer_cosine"):
        np.testing.assert_allclose(getattr(actual, name), expected[name], rtol=1e-4, atol=2e-5)


def test_the_lens_speaks_from_each_call(looped):
    model, ids, anatomy, replay = looped
    for depth in set(range(LAYERS + 1)) - set(ENTERED):
        actual = anatomy.unembedding.logits(replay.residual[depth]).log_softmax(dim=-1)
        np.testing.assert_allclose(actual.detach(), speak_from(model, ids, depth), atol=2e-5)
    for depth in ENTERED:
        # A pass ends as the last one does: norm and head.
        _read, written = layer_ends(model, ids, depth - 1)
        normed = model.model.norm(torch.from_numpy(written).float())
        expected = model.lm_head(normed).log_softmax(dim=-1)
        actual = anatomy.unembedding.logits(replay.residual[depth]).log_softmax(dim=-1)
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


def test_skip_effects_against_one_forward_a_call(looped):
    model, ids, anatomy, replay = looped
    actual = skip_effects(
        replay, anatomy.unembedding, skipped_residuals(anatomy, replay, "layer"), [9, 6]
    )
    expected, output = naive_skip_effects(model, ids, [9, 6])
    np.testing.assert_allclose(actual.layers, expected, rtol=2e-4, atol=2e-5)
    np.testing.assert_allclose(actual.output, output, rtol=2e-4, atol=2e-5)
    assert actual.floor < 1e-4


@pytest.mark.parametrize(
    "left_out",
    [*((layer,) for layer in range(LAYERS)), (3, 4, 5), (1, 4, 7), (2, 3), (8,)],
    ids=str,
)
def test_a_call_a_pass_and_a_layer_in_all_passes_are_left_out(looped, left_out):
    model, ids, anatomy, replay = looped
    clean = naive_without(model, ids, ())
    expected = (np.exp(clean) * (clean - naive_without(model, ids, left_out))).sum(-1)
    with torch.no_grad():
        end = without_first(replay, left_out, [len(left_out)])[0]
        actual = anatomy.unembedding.logits(end).double().log_softmax(dim=-1).numpy()
    kl = (np.exp(clean) * (clean - actual)).sum(-1)
    np.testing.assert_allclose(kl, expected, rtol=2e-3, atol=2e-5)
    assert kl.max() > 0.01
    traced = []
    skips = [Skip(layer, "layer") for layer in left_out]
    trace(model, anatomy, ids[0], traced.append, skipped=skips)
    torch.testing.assert_close(traced[-1].h_next, end, rtol=1e-4, atol=1e-4)


def test_ablation_by_the_mean_update_of_each_call(looped):
    model, ids, anatomy, replay = looped
    texts = [random_ids(10, seed=5)[0], random_ids(7, seed=6)[0]]
    baselines = Baselines(model, anatomy, lambda text: texts[int(text)], lambda: ("0", "1"))
    settings = RunSettings(ablate="mean", baseline=("0", "1"))
    substitute = baselines.substitute(settings, lambda: None)
    skipped = skipped_residuals(anatomy, replay, "layer", substitute)
    result = ablation_loss(replay, anatomy.unembedding, skipped, substitute=substitute)
    whole = probabilities(model, ids)
    for layer in range(LAYERS):
        ends = [layer_ends(model, text[None], layer) for text in texts]
        update = np.concatenate([after - before for before, after in ends]).mean(axis=0)
        add = torch.from_numpy(update).float()
        changed = probabilities(model, ids, [(layer, lambda before, _, add=add: before + add)])
        kl = (whole * (whole.log() - changed.log())).sum(dim=-1)[1:]
        np.testing.assert_allclose(result.kl[layer, 1:], kl, rtol=3e-3, atol=3e-5)


def test_erasure_against_one_forward_a_place(looped):
    model, ids, anatomy, replay = looped
    baseline = [residual.mean(dim=0) for residual in replay.residual]
    actual = residual_erasure(replay, anatomy.unembedding, baseline, answer_start=9)
    expected = naive_erasure(model, ids, baseline, 9)
    np.testing.assert_allclose(actual.effect, expected, rtol=2e-4, atol=2e-5)


def test_context_depth_against_one_forward_a_depth(looped):
    model, ids, anatomy, replay = looped
    actual = context_depth(replay, anatomy.unembedding, 7)
    clean = token_losses(model, ids)
    for depth in range(LAYERS + 1):
        expected = naive_context_losses(model, ids, 7, depth) - clean
        np.testing.assert_allclose(
            actual.loss_change[depth, 6:], expected[6:], rtol=2e-4, atol=2e-5
        )


def test_what_is_written_without_a_call_is_what_the_model_writes_by_itself(looped):
    model, ids, anatomy, _replay = looped
    assert reads_on(model, anatomy)
    every = [None, *range(LAYERS)]
    left_out = [() if layer is None else (layer,) for layer in every]
    expected = [naive_answer(model, ids, 4, layer) for layer in every]
    for cached in (True, False):
        actual = write_greedily(model, anatomy, ids[0], 4, left_out, cached=cached)
        np.testing.assert_array_equal(actual, expected)
    assert len({tuple(answer) for answer in expected}) > 2


def test_neighbours_are_updates_of_what_each_call_reads(looped):
    model, ids, anatomy, _replay = looped
    recorded = record_residuals(model, anatomy, ids[0])
    assert tuple(recorded.layer_inputs) == ENTERED
    actual = neighbours(list(recorded.residual), recorded.layer_inputs)
    ends = [layer_ends(model, ids, layer) for layer in range(LAYERS)]
    updates = [after - before for before, after in ends]
    for layer, (one, other) in enumerate(itertools.pairwise(updates)):
        sizes = np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1)
        np.testing.assert_allclose(actual.cosine[layer], (one * other).sum(-1) / sizes, atol=2e-4)
    again = Activations.from_bytes(recorded.to_bytes())
    for kept, expected in zip(again.layers(), recorded.layers(), strict=True):
        torch.testing.assert_close(kept.h, expected.h)


def test_what_has_no_meaning_in_passes_says_so():
    model, tokenizer = with_tokenizer("looped")
    runs = analyze(model, "Seven plus five.", tokenizer, ["order", "direct_logits"], progress=False)
    for reason in runs[0].unavailable.values():
        assert "between its passes" in reason
    assert len(runs[0].unavailable) == 2


@pytest.mark.parametrize("left_out", [(1,), (0, 2), (4,)], ids=str)
def test_a_what_if_runs_where_layers_read_more_than_the_stream(left_out):
    model, ids = tiny("looped_injected"), random_ids(14)
    anatomy = probe_architecture(model)
    first, core, last = model.model.layers
    turns = turns_of([first, core, core, core, last])

    def hand_on(_module, args, kwargs, output):
        return read_states(args, kwargs)

    handles = [turns[layer].register_forward_hook(hand_on, with_kwargs=True) for layer in left_out]
    with torch.no_grad(), hooks(handles):
        expected = model(input_ids=ids, use_cache=False).logits[0]
    traced = []
    trace(model, anatomy, ids[0], traced.append, skipped=[Skip(layer) for layer in left_out])
    torch.testing.assert_close(anatomy.unembedding.logits(traced[-1].h_next), expected)


def test_a_model_is_written_without_a_block_in_all_passes_or_in_none():
    info = replace(model_info(layers=LAYERS), calls=probe_architecture(tiny("looped")).calls)
    assert (info.n_blocks, info.blocks_of((1, 4, 7))) == (3, (1,))
    assert model_info(layers=LAYERS).blocks_of((1, 4)) == (1, 4)
    with pytest.raises(DepthError, match=r"Layer 4 \(2\.1\) runs in 3 passes"):
        info.blocks_of((4, 7))
