"""Layers that run twice in one pass: the naive way, on every architecture."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from depthtui.data.run_settings import Repeated, Skip, path_of
from depthtui.tracing.probe import probe_architecture
from depthtui.tracing.trace import LayerActivations, trace
from tests.naive import naive_repeated, naive_without
from tests.tiny_models import on_few_models, random_ids, tiny


def outputs(
    name: str, repeated: tuple[Repeated, ...], skipped: tuple[Skip, ...] = ()
) -> tuple[np.ndarray, list[LayerActivations]]:
    """Log-probabilities `[T, V]` of a pass, and the layers that it handed on."""
    model, ids = tiny(name), random_ids(12)
    anatomy = probe_architecture(model)
    layers: list[LayerActivations] = []
    trace(model, anatomy, ids[0], layers.append, skipped=skipped, repeated=repeated)
    assert anatomy.unembedding is not None
    with torch.no_grad():
        logits = anatomy.unembedding.logits(layers[-1].h_next)
    return logits.double().log_softmax(dim=-1).numpy(), layers


@pytest.mark.parametrize(("first", "last"), [(1, 2), (0, 0), (0, 3)])
@on_few_models()
def test_a_block_runs_twice(name: str, first: int, last: int) -> None:
    logits, layers = outputs(name, (Repeated(first, last),))
    expected = naive_repeated(tiny(name), random_ids(12), first, last)
    np.testing.assert_allclose(logits, expected, rtol=2e-4, atol=2e-4)
    assert [layer.layer for layer in layers] == [0, 1, 2, 3]
    assert np.abs(logits - naive_without(tiny(name), random_ids(12), ())).max() > 0.01
    # The second pass reads what the first one wrote.
    clean = outputs(name, ())[1]
    torch.testing.assert_close(layers[first].h, clean[last].h_next, rtol=1e-4, atol=1e-4)


def test_two_blocks_and_a_layer_that_is_off() -> None:
    once, _ = outputs("llama", (Repeated(0, 0), Repeated(2, 2)), (Skip(1),))
    longer, _ = outputs("llama", (Repeated(0, 1), Repeated(2, 2)), (Skip(1),))
    # A layer that is off adds nothing, however often.
    np.testing.assert_allclose(once, longer, rtol=1e-5, atol=1e-5)
    single, _ = outputs("llama", (Repeated(0, 0),), (Skip(1),))
    assert np.abs(once - single).max() > 0.01


def test_the_model_is_left_as_it_was() -> None:
    before, _ = outputs("llama", ())
    outputs("llama", (Repeated(1, 2),))
    after, layers = outputs("llama", ())
    np.testing.assert_array_equal(before, after)
    assert len(layers) == 4


def test_the_path_of_layers() -> None:
    assert path_of(4, ()) == (0, 1, 2, 3)
    assert path_of(6, [Repeated(4, 4), Repeated(1, 2)]) == (0, 1, 2, 1, 2, 3, 4, 4, 5)
