"""Two successive layers, side by side and swapped, at all tokens.

No layer is left out, so nothing stands in for one.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from depthtui.metrics.context import Context
from depthtui.metrics.loss_change_kernel import Ran, fill_rows, token_losses
from depthtui.metrics.order import Order
from depthtui.tracing.replay import Replay


def compute(context: Context, partial: Order | None) -> Order:
    """Run each layer and the next one side by side, and swapped, and measure the loss.

    The last pairs come first; those already in `partial` are not computed again. A layer that
    writes nothing is in no pair: its row is 0.
    """
    replay, unembedding = context.replay, context.unembedding
    count = replay.n_layers
    at_once = context.rows_at_once(count - 1, 2 * replay.n_tokens)
    writing = [layer for layer in range(count) if _writes(replay, layer)]
    firsts = dict(zip(writing[1:], writing, strict=False))
    with torch.no_grad():
        clean = token_losses(unembedding, replay.residual[-1][None], replay.ids)

        def fill(result: Order, group: list[int], ran: Ran) -> Order:
            rows = replay.residual[group[0]][None]
            for layer in range(group[0], count):
                if (first := firsts.get(layer, -1)) in group:
                    *others, second = replay.run_layer(layer, _with(rows, replay.residual[first]))
                    rows = torch.stack([*others, *_reordered(replay, first, layer, second)])
                    ran(len(others) + 1)
                else:
                    rows = replay.run_layer(layer, rows)
                    ran(len(rows) - 1)
            changes = token_losses(unembedding, rows, replay.ids) - clean
            return result.filled(group, changes.numpy())

        start_result = partial
        if start_result is None:
            idle = np.setdiff1d(np.arange(count), writing)
            start_result = Order.unknown(count, replay.n_tokens, idle=tuple(idle.tolist()))
            unpaired = np.setdiff1d(np.arange(count - 1), list(firsts.values()))
            start_result.parallel[unpaired] = start_result.swapped[
                unpaired
            ] = start_result.unchanged[:] = 0.0
        # Two layers for the pair, and the layers behind it for each of its two runs.
        costs = {first: 2 * (count - second) for second, first in firsts.items()}
        return fill_rows(context, start_result, costs, at_once, fill)


def _writes(replay: Replay, layer: int) -> bool:
    """Whether a layer changes the residual stream at any token."""
    before, after = replay.residual[layer : layer + 2]
    return not torch.equal(before.to(after.device), after)


def _with(rows: Tensor, row: Tensor) -> Tensor:
    return torch.cat([rows, row[None].to(rows.device)])


def _reordered(replay: Replay, first: int, second: int, h_second: Tensor) -> tuple[Tensor, Tensor]:
    """The residual after two layers, side by side and swapped.

    Args:
        replay: the clean run.
        first, second: the layers; layers between them write nothing.
        h_second: the second layer's output for the first layer's input, `[T, d]`.
    """
    h, h_next = (replay.residual[depth].to(h_second.device) for depth in (first, second))
    parallel = (h_next.float() + h_second.float() - h.float()).to(h_second.dtype)
    swapped = replay.run_layer(first, h_second[None])[0]
    return parallel, swapped.to(h_second.device)
