"""Norms whose squares overflow."""

from __future__ import annotations

import torch

from depthtui.tracing.norms import norm


def test_ordinary_norms_are_torchs_own() -> None:
    vectors = torch.randn(3, 5, 16, generator=torch.Generator().manual_seed(1))
    assert torch.equal(norm(vectors), vectors.norm(dim=-1))
    assert torch.equal(norm(vectors.bfloat16()), vectors.bfloat16().float().norm(dim=-1))
    assert norm(torch.zeros(0, 4)).shape == (0,)


def test_squares_that_overflow_are_scaled() -> None:
    vectors = torch.randn(4, 16, generator=torch.Generator().manual_seed(1))
    vectors *= torch.tensor([[1e30], [0.0], [1.0], [1e37]])
    torch.testing.assert_close(norm(vectors).double(), vectors.double().norm(dim=-1))


def test_what_is_not_finite_has_no_norm() -> None:
    norms = norm(torch.tensor([[1.0, torch.inf], [torch.nan, 1.0], [3.0, 4.0]]))
    assert norms[:2].isnan().all()
    assert norms[2] == 5
