"""The change of the output when a layer is left out at all tokens: loss, KL, first choices."""

from __future__ import annotations

import numpy as np
import torch

from depthtui.metrics.ablation import Ablation
from depthtui.metrics.choices import chosen_layers, measured_layers
from depthtui.metrics.context import Context
from depthtui.metrics.loss_change_kernel import Ran, fill_rows
from depthtui.metrics.output_change import OutputChange
from depthtui.metrics.skip_effects.compute import SkipSweep
from depthtui.tracing.left_out import without_first


def compute(context: Context, partial: Ablation | None) -> Ablation:
    """The change of the output without each layer; the last layers come first.

    Layers already in `partial` are not left out again. At the end the layers of `spare_layers` are
    left out together.
    """
    replay, skipped, layers = context.replay, context.skipped, measured_layers(context.result)
    count = replay.n_layers
    at_once = context.rows_at_once(len(layers), replay.n_tokens)
    with torch.no_grad():
        change = OutputChange(context.unembedding, replay.states[-1], replay.ids)

        def fill(result: Ablation, group: list[int], ran: Ran) -> Ablation:
            sweep = SkipSweep(replay, skipped, [0], group[0])
            for layer in range(group[0], count):
                sweep.run(layer)
                ran(sweep.n_runs)
                if layer in group:
                    sweep.begin(layer)
            ((_, ends),) = sweep.ends()
            changes = change(ends)
            result = result.filled(group, changes.loss.numpy())
            result.fill_outputs(group, changes.kl.numpy(), changes.kept.numpy())
            return result

        start = partial
        if start is None:
            part, chosen = context.result.settings.skip_part, chosen_layers(context.result)
            start = Ablation.unknown(count, replay.n_tokens, part=part, chosen=chosen)
            start.loss[:] = change.losses.numpy()
        costs = {layer: count - 1 - layer for layer in layers}
        result = fill_rows(context, start, costs, at_once, fill)
        if result.is_whole:
            return result
        spare = result.spare_layers
        result = result.copied()
        result.together[:] = np.isin(np.arange(count), spare)
        if spare:
            changes = change(without_first(replay, spare, [len(spare)], context.substitute))
            result.together_kl = float(changes.kl[0, 1:].mean())
            result.together_choices = float(changes.kept[0, 1:].mean())
        return result
