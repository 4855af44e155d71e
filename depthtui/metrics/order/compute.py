"""Two layers that follow each other, side by side and swapped, at all tokens."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from depthtui.metrics.ablation.compute import token_losses
from depthtui.metrics.choices import layers_a_part
from depthtui.metrics.context import Context
from depthtui.metrics.order import Order
from depthtui.tracing.anatomy import Unembedding
from depthtui.tracing.replay import Replay


def compute(context: Context, partial: Order | None) -> Order:
    """The metric of a run; the pairs that `partial` has are not computed again."""
    replay = context.replay
    return order(
        replay,
        context.unembedding,
        min(layers_a_part(replay.n_layers - 1), context.layers_at_once(2 * replay.n_tokens)),
        lambda done, total, value: context.report(value, done, total),
        partial,
    )


def order(
    replay: Replay,
    unembedding: Unembedding,
    pairs_at_once: int = 0,
    on_rows: Callable[[int, int, Order | None], None] = lambda done, total, partial: None,
    partial: Order | None = None,
) -> Order:
    """Run each layer and the next one side by side, and swapped, and measure the loss.

    The last pairs come first.

    Args:
        replay: the clean run.
        unembedding: final norm and LM head.
        pairs_at_once: how many pairs are kept in memory together; 0 for all.
        on_rows: called with how many layers have been run of all pairs', of how many, and what
            is known by then; None where that is nothing.
        partial: what was done before, to go on from.
    """
    count = replay.n_layers
    result = partial or Order.unknown(count, replay.n_tokens)
    if partial is None:
        result.unchanged[:] = 0.0
    missing = [pair for pair in range(count - 1) if not result.is_known[pair]]
    # Of the pair l two layers, and for each of its two runs those behind.
    total = count * (count - 1)
    done = total - sum(2 * (count - 1 - pair) for pair in missing)
    size = pairs_at_once or count
    with torch.no_grad():
        clean = token_losses(unembedding, replay.residual[-1][None], replay.ids)
        for stop in range(len(missing), 0, -size):
            group = missing[max(0, stop - size) : stop]
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
                on_rows(done, total, result if result.is_known.any() else None)
            moved = (token_losses(unembedding, rows, replay.ids) - clean).numpy()
            # What was told of stays as it was.
            result = result.copied()
            result.unchanged[:] = np.maximum(result.unchanged, np.abs(moved[0]))
            result.parallel[group], result.swapped[group] = moved[1::2], moved[2::2]
    return result


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
