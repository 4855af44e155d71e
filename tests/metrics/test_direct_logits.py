"""Direct logit attribution: a sum over layers where it is one, and a refusal where not."""

import numpy as np
import pytest
import torch
from torch import nn

from depthtui.errors import DepthError
from depthtui.metrics.direct_logits import compute as module
from depthtui.metrics.direct_logits.compute import direct_logits
from depthtui.tracing.anatomy import Unembedding
from tests.metrics.streams import stream
from tests.tiny_models import FEW, TINY, fresh, on_few_models, random_ids, tiny

WITHOUT = {"deepseek_v4", "gemma2", "hy_v4", "opt_post_norm", "recurrent_gemma"}


def head_of(rows):
    head = nn.Linear(2, len(rows), bias=False)
    with torch.no_grad():
        head.weight.copy_(torch.tensor(rows))
    return head


def test_in_closed_form():
    """Without a norm, each layer's share is W[tok] . c."""
    unembedding = Unembedding((), head_of([[1.0, 2.0], [0.0, -1.0]]), scale=0.5)
    residuals = [torch.tensor([item]) for item in ([1.0, 0.0], [1.0, 3.0], [4.0, 2.0])]
    result = direct_logits(unembedding, residuals)
    assert result.token_ids.tolist() == [0]
    assert result.attribution[:, 0].tolist() == pytest.approx([0.5, 3.0, 0.5])


def test_an_rms_norm_divides_by_the_final_size():
    norm = nn.RMSNorm(2, eps=0.0)
    unembedding = Unembedding((norm,), head_of([[1.0, 0.0], [0.0, 0.0]]))
    residuals = [torch.tensor([item]) for item in ([0.0, 1.0], [2.0, 1.0], [1.0, 7.0])]
    result = direct_logits(unembedding, residuals)
    assert result.attribution[:, 0].tolist() == pytest.approx([0, 2 / 5, -1 / 5])


@on_few_models(set(TINY) - WITHOUT, [*FEW, "bloom", "cohere", "gpt2"])
def test_the_shares_add_up_to_the_models_own_logit(name):
    model, ids = tiny(name), random_ids()
    result = direct_logits(*stream(model, ids))
    with torch.no_grad():
        logits = model(input_ids=ids, use_cache=False).logits[0]
    best = logits.max(dim=-1)
    assert result.token_ids.tolist() == best.indices.tolist()
    np.testing.assert_allclose(result.attribution.sum(axis=0), best.values, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["llama", "gemma3", "gpt2", "phi", "cohere", "mpt"])
def test_each_share_is_the_gradient_of_the_frozen_logit_along_the_write(name):
    """For LayerNorm and RMSNorm alike, freezing the scale by detaching it is the definition."""
    model, ids = tiny(name), random_ids()
    unembedding, residuals = stream(model, ids)
    actual = direct_logits(unembedding, residuals)
    final = residuals[-1].double()
    centred = name in {"gpt2", "phi", "cohere", "mpt"}
    stream_ = final - final.mean(-1, keepdim=True) if centred else final
    norm = unembedding.norm[0]
    gain = norm.weight.double() + (1.0 if name == "gemma3" else 0.0)
    eps = getattr(norm, "eps", None) or getattr(norm, "variance_epsilon", 1e-5)
    sigma = (stream_.square().mean(-1, keepdim=True) + eps).sqrt()
    rows = unembedding.head.weight[torch.tensor(actual.token_ids)].double() * unembedding.scale
    for layer in range(4):
        change = residuals[layer + 1].double() - residuals[layer].double()
        change = change - change.mean(-1, keepdim=True) if centred else change
        expected = (rows * gain * change / sigma).sum(-1)
        np.testing.assert_allclose(actual.attribution[layer + 1], expected, rtol=1e-4, atol=1e-4)


def test_a_layer_that_writes_nothing_has_no_share():
    model = fresh("llama")
    with torch.no_grad():
        model.model.layers[2].self_attn.o_proj.weight.zero_()
        model.model.layers[2].mlp.down_proj.weight.zero_()
    result = direct_logits(*stream(model, random_ids()))
    assert (result.attribution[3] == 0).all()
    assert (np.abs(result.attribution[[0, 1, 2, 4]]) > 0).all()


def test_small_parts_change_nothing(monkeypatch):
    unembedding, residuals = stream(tiny("llama"), random_ids())
    whole = direct_logits(unembedding, residuals)
    monkeypatch.setattr(module, "PART_BYTES", 1)
    parts = direct_logits(unembedding, residuals)
    assert parts.token_ids.tolist() == whole.token_ids.tolist()
    np.testing.assert_allclose(parts.attribution, whole.attribution, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "reason"), [("gemma2", "softly"), ("opt_post_norm", "changes the width")]
)
def test_what_is_no_sum_is_refused(name, reason):
    with pytest.raises(DepthError, match=reason):
        direct_logits(*stream(tiny(name), random_ids()))


def test_another_norm_is_refused():
    class Odd(nn.Module):
        def forward(self, x):
            return x.tanh()

    unembedding = Unembedding((Odd(),), head_of([[1.0, 2.0], [0.0, -1.0]]))
    residuals = [torch.tensor([[1.0, 0.5]]), torch.tensor([[0.3, 2.0]])]
    with pytest.raises(DepthError, match="neither"):
        direct_logits(unembedding, residuals)


def test_bfloat16_is_within_its_rounding():
    model = fresh("llama").to(torch.bfloat16)
    unembedding, residuals = stream(model, random_ids())
    result = direct_logits(unembedding, residuals)
    logits = unembedding.logits(residuals[-1]).amax(-1)
    np.testing.assert_allclose(result.attribution.sum(axis=0), logits, rtol=0.02)


def test_a_head_that_does_more_than_multiply_is_refused():
    class Odd(nn.Linear):
        def forward(self, x):
            return super().forward(x) + 1.0

    unembedding = Unembedding((), Odd(2, 3, bias=False))
    residuals = [torch.tensor([[1.0, 0.5]]), torch.tensor([[0.3, 2.0]])]
    with pytest.raises(DepthError, match="do not add up"):
        direct_logits(unembedding, residuals)


@pytest.mark.parametrize(
    "weight", [torch.ones(3, 2, dtype=torch.int8), torch.ones(3, 2).to("meta")]
)
def test_a_head_whose_weights_cannot_be_read_is_refused(weight):
    head = nn.Linear(2, 3, bias=False)
    head.weight = nn.Parameter(weight, requires_grad=False)
    with pytest.raises(DepthError, match="quantised or not in memory"):
        direct_logits(Unembedding((), head), [torch.ones(1, 2)] * 2)
