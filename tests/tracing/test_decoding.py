"""Texts that a model writes without a layer: against one whole forward a token."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from depthtui.tracing.decoding import reads_on, write_greedily
from depthtui.tracing.probe import probe_architecture
from tests.naive import blocks, naive_answer
from tests.tiny_models import LAYERS, fresh, on_few_models, random_ids, tiny

EVERY = [None, *range(LAYERS)]
EACH = [(), *((layer,) for layer in range(LAYERS))]


STUBBORN = {"biogpt", "gemma", "gemma2", "gemma3", "xglm"}
"""Those that say one token again and again, whatever layer is missing."""


@on_few_models()
def test_what_is_written_without_a_layer_is_what_the_model_writes_by_itself(name: str) -> None:
    model, ids = tiny(name), random_ids(9)
    anatomy = probe_architecture(model)
    # A longer text has other rotary tables there, to its first token.
    cached = reads_on(model, anatomy) and name != "phi3_longrope"
    actual = write_greedily(model, anatomy, ids[0], 5, EACH, cached=cached)
    expected = [naive_answer(model, ids, 5, layer) for layer in EVERY]
    np.testing.assert_array_equal(actual, expected)
    assert (len({tuple(answer) for answer in expected}) > 2) == (name not in STUBBORN)


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("name", ["llama", "bloom", "falcon", "mixtral", "granite_moe", "opt"])
def test_what_is_written_without_an_mlp_is_what_a_model_without_it_writes(
    name: str, cached: bool
) -> None:
    model, ids = tiny(name), random_ids(9)
    anatomy = probe_architecture(model)
    actual = write_greedily(model, anatomy, ids[0], 4, EACH, "mlp", cached=cached)
    expected = [naive_answer(model, ids, 4, layer, "mlp") for layer in EVERY]
    np.testing.assert_array_equal(actual, expected)


def test_attention_alone_can_be_left_out_too() -> None:
    """Without its MLP a layer's attention is the layer: leaving out either is the same."""
    model, ids = fresh("llama"), random_ids(9)
    with torch.no_grad():
        for block in blocks(model):
            block.mlp.down_proj.weight.zero_()
    anatomy = probe_architecture(model)
    layers, attention, mlp = (
        write_greedily(model, anatomy, ids[0], 4, EACH, part)
        for part in ("layer", "attention", "mlp")
    )
    np.testing.assert_array_equal(attention, layers)
    np.testing.assert_array_equal(mlp, layers[[0] * len(EVERY)])
    assert len({tuple(answer) for answer in layers}) > 2


def test_the_writing_leaves_the_model_as_it_was_and_can_be_stopped() -> None:
    model, ids = fresh("llama"), random_ids(9)
    anatomy = probe_architecture(model)
    calls: list[None] = []

    def stop() -> None:
        calls.append(None)
        if len(calls) == 2 * LAYERS + 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_greedily(model, anatomy, ids[0], 9, EACH, checkpoint=stop)
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


def test_a_layer_that_writes_nothing_loses_nothing() -> None:
    model, ids = fresh("llama"), random_ids(9)
    with torch.no_grad():
        blocks(model)[2].self_attn.o_proj.weight.zero_()
        blocks(model)[2].mlp.down_proj.weight.zero_()
    anatomy = probe_architecture(model)
    result = write_greedily(model, anatomy, ids[0], 5, EACH)
    np.testing.assert_array_equal(result[3], result[0])
    assert (result[[1, 2]] != result[0]).any()
