"""What the logit lens sums up over the vocabulary, against float64."""

from __future__ import annotations

import math

import pytest
import torch

from depthtui.metrics.logit_lens.row_sums import GROUP, RowSums, add_columns, padded

CPU = torch.device("cpu")
DEPTHS, TOKENS = 2, 3
FIELDS = ("shift", "total", "logit", "reference", "maxima")


def logits_of(kind, vocab, device=CPU):
    normal = torch.randn(DEPTHS * TOKENS, vocab, generator=torch.Generator().manual_seed(vocab))
    made = {
        "ordinary": 3 * normal,
        "far below 0": normal - 1e4,
        "large": 1e4 * normal,
        "capped": 30 * normal.tanh(),
        "capped, all alike": torch.full_like(normal, 30.0),
        "growing": normal + torch.linspace(-300, 50, vocab),
        "falling": normal + torch.linspace(50, -300, vocab),
    }
    return made[kind].to(device)


KINDS = ("ordinary", "far below 0", "large", "capped", "capped, all alike", "growing", "falling")


def summed(add, logits, reference, block=None):
    """The sums, some columns at a time, in memory that others have used before."""
    rows, vocab = logits.shape
    whole = torch.full((rows, padded(vocab) + GROUP), 7e7, device=logits.device)
    sums = RowSums.of_nothing(whole.new_full((rows, padded(vocab) // GROUP), math.nan))
    for start in range(0, vocab, block or vocab):
        stop = min(start + (block or vocab), vocab)
        whole[:, start:stop] = logits[:, start:stop]
        whole[:, stop : padded(stop)] = -torch.inf
        add(sums, whole, reference, slice(start, stop), whole.new_empty)
    return sums


def largest_differences(sums, logits, reference):
    """How far each field is off from float64, as a share of the sum of absolute terms."""
    x = logits.double()
    weights = (x - sums.shift[:, None]).exp()
    r = torch.zeros_like(x) if reference is None else reference.double().repeat(DEPTHS, 1)
    groups = torch.nn.functional.pad(x, (0, -x.shape[1] % GROUP), value=-torch.inf)
    maxima = groups.unflatten(1, (-1, GROUP)).amax(-1)
    assert (sums.shift >= x.amax(1) - 60).all()
    assert (sums.shift <= x.amax(1)).all()

    def off(found, terms):
        scale = terms.abs().sum(1)
        error = (found - terms.sum(1)).abs()
        return torch.where(scale > 0, error / scale, error).max().item()

    return {
        "total": off(sums.total, weights),
        "logit": off(sums.logit, weights * x),
        "reference": off(sums.reference, weights * r),
        "maxima": (sums.maxima - maxima).abs().max().item(),
    }


def check(add, kind, vocab, block, compared, device=CPU):
    logits = logits_of(kind, vocab, device)
    reference = None
    if compared:
        # Rows lie as far apart as in the lens, and what lies between them is not to be read.
        wide = torch.full((TOKENS, padded(vocab)), math.nan, device=device)
        wide[:, :vocab] = logits_of("ordinary", vocab, device)[TOKENS:].flip(1)
        reference = wide[:, :vocab]
    sums = summed(add, logits, reference, block)
    differences = largest_differences(sums, logits, reference)
    assert differences.pop("maxima") == 0
    assert max(differences.values()) < 3e-6, differences


@pytest.mark.parametrize("compared", [True, False])
@pytest.mark.parametrize(("vocab", "block"), [(1, None), (101, 64), (640, 128), (5003, 2048)])
@pytest.mark.parametrize("kind", KINDS)
def test_sums_are_those_of_float64(kind, vocab, block, compared):
    check(add_columns, kind, vocab, block, compared)
