"""Jensen-Shannon divergence and the depth at which it settles."""

import numpy as np
import pytest
import torch
from torch import nn

from depthtui.metrics.logit_lens import compute as lens_module
from depthtui.metrics.settling import Settling, reduce_settling, settling_depth
from depthtui.metrics.settling import compute as module
from depthtui.metrics.settling.compute import Divergence, divergence
from depthtui.tracing.anatomy import Unembedding
from tests.builders.results import run
from tests.metrics.streams import stream
from tests.naive import speak_from
from tests.tiny_models import fresh, on_few_models, random_ids, tiny

PLAIN = nn.Linear(3, 3, bias=False)
with torch.no_grad():
    PLAIN.weight.copy_(torch.eye(3))


def naive(model, ids):
    depths = [speak_from(model, ids, depth) for depth in range(5)]
    p = np.exp(depths[-1])
    rows = []
    for log_q in depths:
        q = np.exp(log_q)
        m = np.log((p + q) / 2)
        rows.append((p * (depths[-1] - m) + q * (log_q - m)).sum(-1) / 2)
    return np.stack(rows)


def test_in_closed_form():
    """Of two certainties it is log 2; of (1, 0) and (1/2, 1/2), the mean is (3/4, 1/4)."""
    low = -200.0
    residuals = [torch.tensor([item]) for item in ([low, 0.0, low], [0.0, 0.0, low])]
    output = torch.tensor([[0.0, low, low]])
    actual = divergence(Unembedding((), PLAIN), [*residuals, output, output])
    half_sure = (np.log(4 / 3) + 0.5 * np.log(2 / 3) + 0.5 * np.log(2)) / 2
    expected = [np.log(2), half_sure, 0, 0]
    assert actual.divergence[:, 0] == pytest.approx(expected, abs=1e-6)
    assert (actual.divergence[2:] == 0).all(), "exactly: nothing is left over by rounding"


@pytest.mark.parametrize("name", ["llama", "gemma2", "opt_post_norm", "mamba"])
@pytest.mark.parametrize("part_bytes", [1, 4 * 128 * 5, 1 << 20])
def test_against_the_naive_way(name, part_bytes, monkeypatch):
    monkeypatch.setattr(module, "PART_BYTES", part_bytes)
    model, ids = tiny(name), random_ids()
    result = divergence(*stream(model, ids))
    np.testing.assert_allclose(result.divergence, naive(model, ids), rtol=1e-4, atol=1e-6)


def test_layers_that_write_nothing_leave_no_divergence():
    model = fresh("llama")
    with torch.no_grad():
        for layer in list(model.model.layers)[2:]:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
    result = divergence(*stream(model, random_ids()))
    assert (result.divergence[2:] == 0).all()
    assert (result.divergence[:2] > 0).all()


def test_it_can_be_stopped():
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        divergence(*stream(tiny("llama"), random_ids()), stop)


def test_it_settles_where_it_stays_below():
    rows = [[0.6, 0.6, 0.1, 0.6], [0.4, 0.6, 0.1, 0.4], [0.6, 0.6, 0.1, 0.4], [0.4, 0.6, 0.1, 0.4]]
    settling = np.array([*rows, [0, 0, 0, 0]], np.float32)
    assert settling_depth(settling, 0.5).tolist() == [3, 4, 0, 1]
    assert settling_depth(settling, 0.05).tolist() == [4, 4, 4, 4]
    result = reduce_settling(Settling(settling), run(tokens=4), slice(0, None))
    assert (result.mean_depth, result.late_share) == (2, 0.25)
    assert result.settled.tolist() == [0.25, 0.5, 0.5, 0.75, 1]


@pytest.mark.parametrize("gap", [0, 1, 2, 3])
def test_a_depth_without_a_map_settles_nothing_and_unsettles_nothing(gap):
    """Two tokens settle at depth 2; where that depth is the gap, at the next one that is read."""
    settling = np.array([[0.6, 0.6], [0.6, 0.6], [0.1, 0.1], [0.1, 0.1], [0, 0]], np.float32)
    settling[gap] = np.nan
    settled_at = 3 if gap == 2 else 2
    assert settling_depth(settling).tolist() == [settled_at, settled_at]
    actual = reduce_settling(Settling(settling), run(tokens=2), slice(0, None))
    expected = np.where(np.arange(5) == gap, np.nan, np.arange(5) >= settled_at)
    np.testing.assert_array_equal(actual.settled, expected)


def test_what_the_lens_has_not_read_yet_is_not_settled():
    settling = np.array([[0.6], [0.1], [np.nan], [np.nan]], np.float32)
    assert settling_depth(settling).tolist() == [3]
    result = reduce_settling(Settling(settling), run(tokens=1), slice(0, None))
    np.testing.assert_array_equal(result.settled, [0, 0, np.nan, np.nan])


@on_few_models()
@pytest.mark.parametrize("in_blocks", [True, False])
def test_with_the_lens(name, in_blocks, monkeypatch):
    """A head that is quantised or moved about is called as it is, and finished afterwards."""
    if not in_blocks:
        monkeypatch.setattr(lens_module, "_plain_weight", lambda unembedding: None)
    monkeypatch.setattr(lens_module, "_BLOCK", 64)
    monkeypatch.setattr(module, "_BLOCK", 50)
    model, ids = tiny(name), random_ids()
    unembedding, residuals = stream(model, ids)
    result = Divergence(len(residuals), len(residuals[0]))
    lens_module.read_lens(unembedding, residuals, ids[0], 5, keeping({}), on_logits=result.add)
    np.testing.assert_allclose(result.value.divergence, naive(model, ids), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["llama", "gemma2", "opt_post_norm", "mamba"])
@pytest.mark.parametrize("row_bytes", [1, 4 * 128 * 5, 1 << 20])
def test_it_comes_with_the_lens_at_the_lenss_products(name, row_bytes, monkeypatch):
    """The head multiplies as many rows as for the lens alone, and both are what they are alone."""
    monkeypatch.setattr(lens_module, "ROW_BYTES", row_bytes)
    rows = []
    product = lens_module.linear_into

    def counted(out, normed, *weights):
        rows.append(len(normed))
        product(out, normed, *weights)

    monkeypatch.setattr(lens_module, "linear_into", counted)
    model, ids = tiny(name), random_ids()
    unembedding, residuals = stream(model, ids)
    alone, both = {}, {}
    lens_module.read_lens(unembedding, residuals, ids[0], 5, keeping(alone))
    products = rows.copy()
    rows.clear()
    result = Divergence(len(residuals), len(residuals[0]))
    lens_module.read_lens(unembedding, residuals, ids[0], 5, keeping(both), on_logits=result.add)
    assert rows == products != []
    assert both.keys() == alone.keys()
    for place, value in both.items():
        np.testing.assert_array_equal(value, alone[place])
    np.testing.assert_allclose(result.value.divergence, naive(model, ids), rtol=1e-4, atol=1e-6)


def keeping(values):
    """Keeps the rows of a lens."""

    def on_rows(first, first_token, rows):
        for name, value in vars(rows).items():
            values[name, first, first_token] = value.numpy().copy()

    return on_rows
