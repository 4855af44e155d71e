"""Two layers that follow each other, side by side and swapped, at all tokens."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from depthtui.metrics.ablation.compute import token_losses
from depthtui.metrics.context import Context
from depthtui.metrics.order import Order
from depthtui.tracing.anatomy import Unembedding
from depthtui.tracing.replay import Replay


def compute(context: Context, _partial: object) -> Order:
    """The metric of a run."""
    return order(
        context.replay,
        context.unembedding,
        context.layers_at_once(2 * context.replay.n_tokens),
        lambda done, total: context.report(None, done, total),
    )


def order(
    replay: Replay,
    unembedding: Unembedding,
    pairs_at_once: int = 0,
    on_rows: Callable[[int, int], None] = lambda done, total: None,
) -> Order:
    """Run each layer and the next one side by side, and swapped, and measure the loss.

    Args:
        replay: the clean run.
        unembedding: final norm and LM head.
        pairs_at_once: how many pairs are kept in memory together; 0 for all.
        on_rows: called with how many layers have been run of all pairs', and of how many.
    """
    count = replay.n_layers
    found = Order.unknown(count, replay.n_tokens)
    pairs = list(range(count - 1))
    # Of the pair l two layers, and for each of its two runs those behind.
    done, total = 0, count * (count - 1)
    size = pairs_at_once or count
    unchanged = torch.zeros(replay.n_tokens - 1)
    with torch.no_grad():
        clean = token_losses(unembedding, replay.residual[-1][None], replay.ids)
        for first in range(0, len(pairs), size):
            group = pairs[first : first + size]
            rows = replay.residual[group[0]][None]
            for layer in range(group[0], count):
                pair = layer - 1
                if pair in group:
                    *others, second = replay.run_layer(layer, _with(rows, replay.residual[pair]))
                    rows = torch.stack([*others, *_reordered(replay, pair, second)])
                    done += len(others) + 1
                else:
                    rows = replay.run_layer(layer, rows)
                    done += len(rows) - 1
                on_rows(done, total)
            moved = token_losses(unembedding, rows, replay.ids) - clean
            unchanged = torch.maximum(unchanged, moved[0].abs())
            found.parallel[group] = moved[1::2].numpy()
            found.swapped[group] = moved[2::2].numpy()
    found.unchanged[:] = unchanged.numpy()
    return found


def _with(rows: Tensor, row: Tensor) -> Tensor:
    return torch.cat([rows, row[None].to(rows.device)])


def _reordered(replay: Replay, layer: int, second: Tensor) -> tuple[Tensor, Tensor]:
    """The residual after a layer and the next one, side by side and swapped.

    Args:
        replay: the clean run.
        layer: the first of the two.
        second: what the second makes of `h_l`, `[T, d]`.
    """
    h, h_next = (replay.residual[depth].to(second.device) for depth in (layer, layer + 1))
    parallel = (h_next.float() + second.float() - h.float()).to(second.dtype)
    swapped = replay.run_layer(layer, second[None])[0]
    return parallel, swapped.to(second.device)
