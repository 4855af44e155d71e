"""What the loss gains when a layer is left out at all tokens: the ground truth for pruning."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from depthtui.metrics.ablation import Ablation
from depthtui.metrics.choices import chosen_layers, layers_a_part
from depthtui.metrics.context import Context
from depthtui.metrics.loss_change_kernel import Ran, fill_rows, token_losses
from depthtui.metrics.skip_effects.compute import SkipSweep
from depthtui.tracing.anatomy import Unembedding
from depthtui.tracing.replay import Replay


def compute(context: Context, partial: Ablation | None) -> Ablation:
    """The metric of a run; the layers that `partial` has are not left out again."""
    replay, chosen = context.replay, chosen_layers(context.result)
    part = layers_a_part(len(chosen or range(replay.n_layers)))
    return ablation_loss(
        replay,
        context.unembedding,
        context.skipped,
        context.result.settings.skip_part,
        min(part, context.layers_at_once(replay.n_tokens)),
        context.report,
        chosen,
        partial,
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
) -> Ablation:
    """NLL(without layer l) - NLL of the token after each, in nats; the last layers come first.

    Args:
        replay: the clean run.
        unembedding: final norm and LM head.
        skipped: for every layer, the residual after it where it is left out, `[T, d]`.
        part: what `skipped` leaves out, for the record.
        layers_at_once, on_rows: as of `fill_rows`.
        chosen: the layers to leave out, in order; none for every one.
        partial: what was done before, to go on from.
    """
    count = replay.n_layers
    with torch.no_grad():
        clean = token_losses(unembedding, replay.residual[-1][None], replay.ids)

        def losses_of(group: list[int], ran: Ran) -> Tensor:
            sweep = SkipSweep(replay, skipped, [0], group[0])
            for layer in range(group[0], count):
                sweep.run(layer)
                ran(sweep.n_runs)
                if layer in group:
                    sweep.begin(layer)
            ((_, ends),) = sweep.ends()
            return token_losses(unembedding, ends, replay.ids) - clean

        begun = Ablation.unknown(count, replay.n_tokens, part=part, chosen=tuple(chosen))
        begun.loss[:] = clean[0].numpy()
        return fill_rows(
            partial or begun,
            list(chosen) or range(count),
            lambda layer: count - 1 - layer,
            layers_at_once,
            losses_of,
            on_rows,
        )
