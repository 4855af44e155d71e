"""Blocks of layers that run twice, at all tokens."""

from __future__ import annotations

from collections.abc import Callable

import torch

from depthtui.metrics.choices import layers_per_part
from depthtui.metrics.context import Context
from depthtui.metrics.loss_change_kernel import Ran, fill_rows
from depthtui.metrics.output_change import OutputChange
from depthtui.metrics.repeat import LONGEST, Repeat, lengths_from
from depthtui.tracing.anatomy import Unembedding
from depthtui.tracing.replay import Replay


def compute(context: Context, partial: Repeat | None) -> Repeat:
    """Compute the metric of a run; blocks already in `partial` do not run again."""
    replay = context.replay
    return repeat(
        replay,
        context.unembedding,
        min(
            layers_per_part(replay.n_layers),
            context.layers_at_once(LONGEST * replay.n_tokens),
        ),
        context.report,
        partial,
    )


def repeat(
    replay: Replay,
    unembedding: Unembedding,
    layers_at_once: int = 0,
    on_rows: Callable[[int, int, Repeat | None], None] = lambda done, total, partial: None,
    partial: Repeat | None = None,
) -> Repeat:
    """Run every block of 1 to 8 layers twice; those that begin with the last layers come first.

    After its first pass a block is at a depth of the clean run. The second pass and all later
    layers are the layers from the block's first one on, without a gap: the run of every block
    begins at its first layer, with the residual after its last one.

    Args:
        replay: the clean run.
        unembedding: final norm and LM head.
        layers_at_once, on_rows: as in `fill_rows`; a row is the blocks that begin with a layer.
        partial: the result so far, to continue from.
    """
    count = replay.n_layers
    change = OutputChange(unembedding, replay.residual[-1], replay.ids)

    def fill(result: Repeat, group: list[int], ran: Ran) -> Repeat:
        rows = replay.residual[group[0]][None]
        for layer in range(group[0], count):
            if layer in group:
                repeated = [replay.residual[layer + n] for n in lengths_from(layer, count)]
                rows = torch.cat([rows, torch.stack([row.to(rows.device) for row in repeated])])
            rows = replay.run_layer(layer, rows)
            ran(len(rows) - 1)
        return result.filled(group, *(values.numpy() for values in change(rows)))

    with torch.no_grad():
        start_result = partial or Repeat.unknown(count, replay.n_tokens)
        costs = {row: len(lengths_from(row, count)) * (count - row) for row in range(count)}
        return fill_rows(start_result, costs, layers_at_once, fill, on_rows)
