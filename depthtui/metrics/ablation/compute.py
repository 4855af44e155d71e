"""The change of the output when a layer is left out at all tokens: loss, KL, first choices."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from depthtui.metrics.ablation import Ablation
from depthtui.metrics.choices import chosen_layers, layers_per_part
from depthtui.metrics.context import Context
from depthtui.metrics.loss_change_kernel import Ran, fill_rows
from depthtui.metrics.output_change import OutputChange
from depthtui.metrics.skip_effects.compute import SkipSweep
from depthtui.tracing.anatomy import Unembedding
from depthtui.tracing.left_out import NOTHING, Substitute, without_first
from depthtui.tracing.replay import Replay


def compute(context: Context, partial: Ablation | None) -> Ablation:
    """Compute the metric of a run; layers already in `partial` are not left out again."""
    replay, chosen = context.replay, chosen_layers(context.result)
    part = layers_per_part(len(chosen or range(replay.n_layers)))
    return ablation_loss(
        replay,
        context.unembedding,
        context.skipped,
        context.result.settings.skip_part,
        min(part, context.layers_at_once(replay.n_tokens)),
        context.report,
        chosen,
        partial,
        context.substitute,
    )


def ablation_loss(
    replay: Replay,
    unembedding: Unembedding,
    skipped: Sequence[Tensor],
    part: str = "layer",
    layers_at_once: int = 0,
    on_rows: Callable[[int, int, Ablation | None], None] = lambda done, total, partial: None,
    chosen: Sequence[int] = (),
    partial: Ablation | None = None,
    substitute: Substitute = NOTHING,
) -> Ablation:
    """The change of the output without each layer; the last layers come first.

    At the end the layers of `spare_layers` are left out together.

    Args:
        replay: the clean run.
        unembedding: final norm and LM head.
        skipped: for every layer, the residual after it where it is left out, `[T, d]`.
        part: the part that `skipped` leaves out, for the record.
        layers_at_once, on_rows: as in `fill_rows`.
        chosen: the layers to leave out, in order; empty for every one.
        partial: the result so far, to continue from.
        substitute: the substitute for the layers that are left out together; `skipped` contains it.
    """
    count = replay.n_layers
    with torch.no_grad():
        change = OutputChange(unembedding, replay.states[-1], replay.ids)

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
            start = Ablation.unknown(count, replay.n_tokens, part=part, chosen=tuple(chosen))
            start.loss[:] = change.losses.numpy()
        costs = {layer: count - 1 - layer for layer in chosen or range(count)}
        result = fill_rows(start, costs, layers_at_once, fill, on_rows)
        if result.is_whole:
            return result
        layers = result.spare_layers
        result = result.copied()
        result.together[:] = np.isin(np.arange(count), layers)
        if layers:
            changes = change(without_first(replay, layers, [len(layers)], substitute))
            result.together_kl = float(changes.kl[0, 1:].mean())
            result.together_choices = float(changes.kept[0, 1:].mean())
        return result
