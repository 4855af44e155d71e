"""The output without each pair of layers, at all tokens."""

from __future__ import annotations

import torch

from depthtui.metrics.choices import chosen_layers
from depthtui.metrics.context import Context
from depthtui.metrics.loss_change_kernel import Ran, fill_rows
from depthtui.metrics.output_change import OutputChange
from depthtui.metrics.pairs import LayerPairs
from depthtui.tracing.left_out import left_out


def compute(context: Context, partial: LayerPairs | None) -> LayerPairs:
    """Run without each layer, and without each pair of layers; the last layers come first.

    The runs of all pairs with the same lower layer are one run, without this layer alone, up to the
    upper one: in all `(L - 1) L (L + 1) / 6` layers run, where all pairs run together. A row is one
    of `LayerPairs.places`; pairs already in `partial` do not run again.
    """
    replay, chosen, substitute = context.replay, chosen_layers(context.result), context.substitute
    count = replay.n_layers
    at_once = context.layers_at_once(replay.n_tokens)
    start_result = partial or LayerPairs.unknown(count, replay.n_tokens, chosen=chosen)
    places = start_result.places
    change = OutputChange(context.unembedding, replay.states[-1], replay.ids)

    def fill(result: LayerPairs, group: list[int], ran: Ran) -> LayerPairs:
        group_places = {places[number] for number in group}
        lowers = sorted({lower for lower, _ in group_places})
        runs: list[tuple[int, int]] = []
        rows = replay.states[lowers[0]][None]
        for layer in range(lowers[0], count):
            clean, after = replay.states[layer : layer + 2]
            begun = {
                (lower, layer): clean if lower == layer else rows[1 + runs.index((lower, lower))]
                for lower in lowers
                if lower == layer or (lower, layer) in group_places
            }
            shortened = [
                left_out(replay, layer, before, after, substitute) for before in begun.values()
            ]
            rows = replay.run_layer(layer, rows)
            ran(sum(run in group_places for run in runs))
            rows = torch.cat([rows, *(state[None].to(rows.device) for state in shortened)])
            runs += begun
        return result.filled(runs, change(rows).kl.numpy())

    with torch.no_grad():
        costs = {number: count - 1 - later for number, (_, later) in enumerate(places)}
        return fill_rows(context, start_result, costs, at_once, fill)
