"""The losses of interventions, measured one group after another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias, TypeVar

import torch
from torch import Tensor

from depthtui.metrics.context import Context
from depthtui.metrics.logit_lens.compute import ROW_BYTES
from depthtui.metrics.loss_change import InRows
from depthtui.metrics.part_bytes import part_bytes
from depthtui.models.devices import execution_device
from depthtui.tracing.anatomy import Unembedding
from depthtui.tracing.batching import at_once, slices

Found = TypeVar("Found", bound=InRows)

Ran: TypeAlias = Callable[[int], None]
"""Reports a layer: the number of changed runs that went through it."""


def fill_rows(
    context: Context,
    start_result: Found,
    costs: Mapping[int, int],
    rows_at_once: int,
    fill: Callable[[Found, list[int], Ran], Found],
) -> Found:
    """Compute the rows of a result that are not known yet, the last rows first.

    Args:
        context: its `report` gets, after each layer, the layers run, and the result so far.
        start_result: the result so far; it is not changed.
        costs: the rows to compute, in order, and how many layers the runs of each go through.
        rows_at_once: the number of rows in memory together.
        fill: runs a group of rows through the layers, and returns a copy of a result with them
            filled in (such as `LossChange.filled`).
    """
    result = start_result
    unknown_rows = [row for row in costs if not start_result.known_rows[row]]
    total = sum(costs.values())
    done = total - sum(costs[row] for row in unknown_rows)

    def ran(count: int) -> None:
        nonlocal done
        done += count
        context.report(done, total, result if result.is_known.any() else None)

    for stop in range(len(unknown_rows), 0, -rows_at_once):
        group = unknown_rows[max(0, stop - rows_at_once) : stop]
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
