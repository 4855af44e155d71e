"""The Jacobian lens against torch's own Jacobian."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from depthtui.errors import DepthError, RunStopped
from depthtui.lenses import jacobian
from depthtui.lenses.jacobian import JacobianSums, add_prompt, seconds_of_prompt, usable_prompts
from depthtui.tracing.probe import probe_architecture
from tests.naive import blocks, hook, states
from tests.tiny_models import HIDDEN, LAYERS, random_ids, tiny

SKIPPED = 3


def naive_jacobian(model, ids, depth):
    """dh_L / dh_depth by putting h_depth in, summed over later positions, averaged over earlier."""
    residuals = {}

    def keep(_module, args, kwargs, output):
        residuals["h"] = (args[0] if args else kwargs["hidden_states"]).clone()

    with torch.no_grad(), hook(blocks(model)[depth], keep, with_kwargs=True):
        model(input_ids=ids, use_cache=False)

    def last_of(h):
        def put(_module, args, kwargs):
            if args:
                return (h, *args[1:]), kwargs
            return args, {**kwargs, "hidden_states": h}

        out = {}

        def take(_module, _args, output):
            out["h"] = states(output)

        handle = blocks(model)[depth].register_forward_pre_hook(put, with_kwargs=True)
        with hook(blocks(model)[-1], take):
            model(input_ids=ids, use_cache=False)
        handle.remove()
        return out["h"][0, SKIPPED:-1].sum(dim=0)

    whole = torch.autograd.functional.jacobian(last_of, residuals["h"])
    return whole[:, 0, SKIPPED:-1].mean(dim=1)


@pytest.mark.parametrize(
    ("name", "tokens_at_once"),
    [("llama", 4096), ("llama", 50), ("qwen3_moe", 4096), ("gpt_neox", 4096), ("gemma2", 50)],
)
def test_against_torch(name, tokens_at_once, monkeypatch):
    monkeypatch.setattr(jacobian, "_TOKENS_AT_ONCE", tokens_at_once)
    model = tiny(name)
    prompts = [random_ids(9, 1), random_ids(11, 2)]
    sums = JacobianSums.empty(LAYERS, HIDDEN)
    for ids in prompts:
        add_prompt(sums, model, probe_architecture(model), ids[0], SKIPPED)
    assert (sums.prompts, sums.tokens) == (2, 5 + 7)
    for depth in range(LAYERS):
        expected = torch.stack([naive_jacobian(model, ids, depth) for ids in prompts]).mean(0)
        np.testing.assert_allclose(sums.at(depth).weight, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("tokens_at_once", "passes"), [(1, HIDDEN), (4096, 1)])
def test_a_prompt_takes_as_long_as_its_backward_passes(monkeypatch, tokens_at_once, passes):
    model, ids = tiny("llama"), random_ids(20)[0]
    monkeypatch.setattr(jacobian, "_TOKENS_AT_ONCE", tokens_at_once)
    moments = itertools.count()
    monkeypatch.setattr(jacobian, "time", SimpleNamespace(perf_counter=lambda: next(moments)))
    seconds = seconds_of_prompt(HIDDEN, model, probe_architecture(model), ids)
    # A pass takes one of these moments, and the one forwards half of it.
    assert seconds == passes + 0.5
    assert next(moments) == 4


def test_a_prompt_that_is_stopped_adds_nothing():
    model = tiny("llama")
    sums = JacobianSums.empty(LAYERS, HIDDEN)

    def stop():
        raise RunStopped

    with pytest.raises(RunStopped):
        add_prompt(sums, model, probe_architecture(model), random_ids(9)[0], checkpoint=stop)
    assert sums.prompts == 0
    assert not sums.sums.any()


def test_prompts_without_a_position_are_left_out():
    texts = [random_ids(17)[0], random_ids(18)[0], random_ids(200)[0]]
    assert [len(ids) for ids in usable_prompts(texts)] == [18, 128]
    with pytest.raises(DepthError, match="18 tokens or more"):
        usable_prompts(texts[:1])
