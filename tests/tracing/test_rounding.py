"""What rounding explains, and what it does not, in every dtype."""

import copy

import pytest
import torch

from depthtui.tracing.probe import probe_architecture
from depthtui.tracing.replay import Replay
from depthtui.tracing.rounding import coarsest_dtype, is_rounding, layer_agrees, roundings
from tests.tiny_models import fresh, on_few_models, random_ids

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_rounding_counts_as_one(dtype):
    noise = torch.Generator().manual_seed(0)
    exact = torch.randn(20, 1000, generator=noise, dtype=torch.float64)
    exact[:, 3] *= 1000
    miss = exact.to(dtype).double() - exact
    counts = roundings(miss, [exact], dtype)
    # The spacing is eps |x| at powers of two alone, and half of it just below the next.
    scale = 1 if dtype is not torch.float32 else 2.0**-7
    assert 0.6 * scale < counts.min()
    assert counts.max() < 1.0 * scale


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_massive_dimension_hides_no_error(dtype):
    value = torch.ones(5, 64)
    value[:, 7] = 3000
    miss = torch.full((5, 64), 0.1)
    assert not is_rounding(miss, [value], dtype)
    assert is_rounding(torch.zeros(5, 64), [value], dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_large_values_hide_no_error(dtype):
    before, after = torch.ones(5, 64), torch.full((5, 64), 1e30)
    assert not layer_agrees(1.1 * after, before, after, dtype)
    assert layer_agrees(after, before, after, dtype)


def test_a_module_rounds_to_the_coarsest_of_its_dtypes():
    layer = torch.nn.Linear(4, 4, dtype=torch.bfloat16)
    assert coarsest_dtype(layer, torch.zeros(1, dtype=torch.float32)) is torch.bfloat16
    assert coarsest_dtype(torch.nn.Identity(), torch.zeros(1, dtype=torch.float16)) is torch.float16


def test_what_is_no_number_is_an_error():
    value = torch.ones(5, 64)
    miss = torch.zeros(5, 64)
    miss[:, 0] = torch.nan
    assert not is_rounding(miss, [value], torch.float32)


def check_layers(name, dtype):
    model, ids = fresh(name).to(dtype), random_ids(16)[0]
    exact = copy.deepcopy(model).float()
    replay = Replay(model, probe_architecture(model), ids)
    wide = Replay(exact, probe_architecture(exact), ids)
    for layer in range(replay.n_layers):
        h, h_next = replay.residual[layer : layer + 2]
        with torch.no_grad():
            output = wide.run_layer(layer, h.float()[None])[0]
        assert layer_agrees(output, h, h_next, dtype)
        assert not layer_agrees(output + 0.1 * (output - h.float()), h, h_next, dtype)


@on_few_models()
def test_bfloat16_layers_agree_with_float32_and_a_tenth_more_does_not(name):
    check_layers(name, torch.bfloat16)


@pytest.mark.parametrize("name", ["llama", "gpt2", "bloom", "mixtral", "nemotron"])
def test_float16_layers_agree_with_float32_and_a_tenth_more_does_not(name):
    check_layers(name, torch.float16)
