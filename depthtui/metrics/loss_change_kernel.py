"""The losses of interventions, measured one group after another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias, TypeVar

import numpy as np
import torch
from torch import Tensor

from depthtui.metrics.logit_lens.compute import ROW_BYTES
from depthtui.metrics.part_bytes import part_bytes
from depthtui.models.devices import execution_device
from depthtui.tracing.anatomy import Unembedding
from depthtui.tracing.batching import at_once, slices


class InRows(Protocol):
    """A result that is known row by row."""

    @property
    def known_rows(self) -> np.ndarray:
        """Whether each row is known, `[rows]`."""

    @property
    def is_known(self) -> np.ndarray:
        """Whether each part to compute is known."""


Found = TypeVar("Found", bound=InRows)

Ran: TypeAlias = Callable[[int], None]
"""Reports a layer: the number of changed runs that went through it."""


def fill_rows(
    start_result: Found,
    costs: Mapping[int, int],
    rows_at_once: int,
    fill: Callable[[Found, list[int], Ran], Found],
    on_rows: Callable[[int, int, Found | None], None],
) -> Found:
    """Compute the rows of a result that are not known yet, the last rows first.

    Args:
        start_result: the result so far; it is not changed.
        costs: the rows to compute, in order, and how many layers the runs of each go through.
        rows_at_once: the number of rows in memory together; 0 for all.
        fill: runs a group of rows through the layers, and returns a copy of a result with them
            filled in (such as `LossChange.filled`).
        on_rows: called after each layer with the number of layers run, their total, and the result
            so far; None where no row is known.
    """
    result = start_result
    unknown_rows = [row for row in costs if not start_result.known_rows[row]]
    total = sum(costs.values())
    done = total - sum(costs[row] for row in unknown_rows)

    def ran(count: int) -> None:
        nonlocal done
        done += count
        on_rows(done, total, result if result.is_known.any() else None)

    size = rows_at_once or max(1, len(unknown_rows))
    for stop in range(len(unknown_rows), 0, -size):
        group = unknown_rows[max(0, stop - size) : stop]
        # Copied: the listener keeps a reference to a reported result.
        result = fill(result, group, ran)
    return result


def token_losses(unembedding: Unembedding, residual: Tensor, ids: Tensor) -> Tensor:
    """Negative log-likelihood of `ids` `[T]` under h_L `[batch, T, d]`, in nats.

    Returns:
        `[batch, T-1]`; column t is of token t + 1.
    """
    batch, tokens, _ = residual.shape
    room = part_bytes(ROW_BYTES, execution_device(unembedding.head))
    rows = at_once(tokens, room, 4 * unembedding.vocab_size)
    losses = torch.zeros(batch, tokens - 1)
    for row in range(batch):
        for part in slices(tokens - 1, rows):
            logits = unembedding.logits(residual[row, part])
            following = ids[part.start + 1 : part.stop + 1].to(logits.device)
            loss = torch.nn.functional.cross_entropy(logits, following, reduction="none")
            losses[row, part] = loss.to("cpu")
    return losses
