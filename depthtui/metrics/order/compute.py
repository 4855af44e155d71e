"""Two layers that follow each other, side by side and swapped, at all tokens."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from depthtui.metrics.choices import layers_a_part
from depthtui.metrics.context import Context
from depthtui.metrics.loss_change_kernel import Ran, fill_rows, token_losses
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
        context.report,
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
        pairs_at_once, on_rows: as of `fill_rows`.
        partial: what was done before, to go on from.
    """
    count = replay.n_layers
    with torch.no_grad():
        clean = token_losses(unembedding, replay.residual[-1][None], replay.ids)

        def losses_of(group: list[int], ran: Ran) -> Tensor:
            rows = replay.residual[group[0]][None]
            for layer in range(group[0], count):
                pair = layer - 1
                if pair in group:
                    *others, second = replay.run_layer(layer, _with(rows, replay.residual[pair]))
                    rows = torch.stack([*others, *_reordered(replay, pair, second)])
                    ran(len(others) + 1)
                else:
                    rows = replay.run_layer(layer, rows)
                    ran(len(rows) - 1)
            return token_losses(unembedding, rows, replay.ids) - clean

        return fill_rows(
            partial or Order.unknown(count, replay.n_tokens),
            range(count - 1),
            # Of the pair l two layers, and for each of its two runs those behind.
            lambda pair: 2 * (count - 1 - pair),
            pairs_at_once,
            losses_of,
            on_rows,
        )


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
