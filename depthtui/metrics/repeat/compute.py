"""Blocks of layers that run twice, at all tokens."""

from __future__ import annotations

import torch

from depthtui.metrics.context import Context
from depthtui.metrics.loss_change_kernel import Ran, fill_rows
from depthtui.metrics.output_change import OutputChange
from depthtui.metrics.repeat import LONGEST, Repeat, lengths_from


def compute(context: Context, partial: Repeat | None) -> Repeat:
    """Run every block of 1 to 8 layers twice; those that begin with the last layers come first.

    After its first pass a block is at a depth of the clean run. The second pass and all later
    layers are the layers from the block's first one on, without a gap: the run of every block
    begins at its first layer, with the residual after its last one. A row is the blocks that begin
    with a layer; those already in `partial` do not run again.
    """
    replay = context.replay
    count = replay.n_layers
    at_once = context.rows_at_once(count, LONGEST * replay.n_tokens)
    change = OutputChange(context.unembedding, replay.residual[-1], replay.ids)

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
        return fill_rows(context, start_result, costs, at_once, fill)
