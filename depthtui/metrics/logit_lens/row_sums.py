"""The logit lens's sums of each row of logits, added up over blocks of the vocabulary."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

GROUP = 64
"""Columns of a group, whose maximum is kept: the top k are in the k groups of largest maxima."""


def padded(columns: int) -> int:
    """The number of columns, rounded up to whole groups."""
    return -(-columns // GROUP) * GROUP


@dataclass
class RowSums:
    """Sums over the logits x of some rows; r is the logits that a row is compared with.

    Attributes:
        shift: `[rows]`, near the largest logit of each row, so that exponentials relative to
            it neither overflow nor vanish.
        total: `[rows]`, the sum of exp(x - shift).
        logit: `[rows]`, the sum of exp(x - shift) x.
        reference: `[rows]`, the sum of exp(x - shift) r; 0 where there is no r.
        maxima: `[rows, groups]`, the largest logit of each `GROUP` columns.
    """

    shift: Tensor
    total: Tensor
    logit: Tensor
    reference: Tensor
    maxima: Tensor

    @classmethod
    def of_nothing(cls, maxima: Tensor) -> RowSums:
        """The sums before any column is added; `maxima` is the memory for the maxima."""
        total = maxima.new_zeros(len(maxima))
        shift = torch.full_like(total, -torch.inf)
        return cls(shift, total, torch.zeros_like(total), torch.zeros_like(total), maxima)


Scratch: TypeAlias = Callable[[int, int], Tensor]
"""Returns memory, `[rows, columns]` float32, with undefined values."""

AddColumns: TypeAlias = Callable[[RowSums, Tensor, Tensor | None, slice, Scratch], None]
"""An implementation of `add_columns`."""


def add_columns(
    sums: RowSums, logits: Tensor, reference: Tensor | None, columns: slice, scratch: Scratch
) -> None:
    """Add some columns of the logits to the sums.

    Args:
        sums: the sums of the columns before; changed in place.
        logits: `[depths * tokens, padded(V)]` float32, -inf from the last of the columns to
            the end of its group.
        reference: `[tokens, V]` float32 that each depth is compared with, if any.
        columns: the columns to add; they begin with a group.
        scratch: memory for values as large as the columns.
    """
    rows, first, stop = len(logits), columns.start, padded(columns.stop)
    grouped = logits[:, first:stop].view(rows, -1, GROUP).amax(dim=-1)
    sums.maxima[:, first // GROUP : stop // GROUP] = grouped
    largest = grouped.amax(dim=1)
    if first == 0:
        sums.shift = largest
    elif bool((largest - sums.shift > 60).any()):
        grown = torch.maximum(sums.shift, largest)
        for row_sum in (sums.total, sums.logit, sums.reference):
            row_sum.mul_((sums.shift - grown).exp())
        sums.shift = grown
    block = logits[:, columns]
    weights = torch.sub(block, sums.shift[:, None], out=scratch(*block.shape)).exp_()
    sums.total += weights.sum(dim=1)
    sums.logit += torch.linalg.vecdot(weights, block)
    if reference is not None:
        by_depth = weights.view(-1, len(reference), block.shape[1])
        sums.reference += torch.linalg.vecdot(by_depth, reference[:, columns]).flatten()
