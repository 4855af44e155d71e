"""Linear maps by least squares with a ridge, from sums of products over tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


def solve_ridge(
    gram: Tensor, cross: Tensor, pull: float, width: int, identity: float = 0.0
) -> Tensor:
    """B of min |X B - Y|^2 + pull |B_w - identity I|^2, B_w the first `width` rows of B.

    Args:
        gram: X^T X, `[p, p]`.
        cross: X^T Y, `[p, q]`.
        pull: weight of the pull, which rows after the first `width` are free of.
        width: number of rows that are pulled.
        identity: what they are pulled towards, as a multiple of I.

    Returns:
        B, `[p, q]`.
    """
    gram, cross = gram.clone(), cross.clone()
    gram.diagonal()[:width] += pull
    cross.diagonal()[:width] += pull * identity
    return torch.linalg.solve(gram, cross)


@dataclass
class SecondMoments:
    """Sums over tokens of the products of rows with themselves and with their targets, float64.

    Attributes:
        gram: `[d, d]`, of rows with themselves.
        cross: `[d, d]`, of rows with targets.
        tokens: the number of tokens.
    """

    gram: Tensor
    cross: Tensor
    tokens: int = 0

    @classmethod
    def empty(cls, width: int, device: torch.device) -> SecondMoments:
        """The sums over no token."""
        gram, cross = torch.zeros(2, width, width, dtype=torch.float64, device=device)
        return cls(gram, cross)

    def add(self, rows: Tensor, targets: Tensor) -> None:
        """Add some tokens' rows and targets, each `[T, d]`."""
        rows, targets = (values.to(self.gram.device).double() for values in (rows, targets))
        self.gram.addmm_(rows.T, rows)
        self.cross.addmm_(rows.T, targets)
        self.tokens += len(rows)

    def map(self, ridge: float) -> Tensor:
        """A of min sum |A x - y|^2 + ridge m |A|^2, `[d, d]`; m is the mean diagonal of `gram`."""
        pull = ridge * float(self.gram.diagonal().mean())
        return solve_ridge(self.gram, self.cross, pull, len(self.gram)).T
