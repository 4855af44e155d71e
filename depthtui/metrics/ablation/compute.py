"""What the loss gains when a layer is left out at all tokens: the ground truth for pruning."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from depthtui.metrics.ablation import Ablation
from depthtui.metrics.choices import chosen_layers
from depthtui.metrics.context import Context
from depthtui.metrics.logit_lens.compute import ROW_BYTES
from depthtui.metrics.part_bytes import part_bytes
from depthtui.metrics.skip_effects.compute import SkipSweep
from depthtui.tracing.anatomy import Unembedding, execution_device
from depthtui.tracing.parts import at_once
from depthtui.tracing.replay import Replay


def compute(context: Context, _partial: object) -> Ablation:
    """The metric of a run."""
    return ablation_loss(
        context.replay,
        context.unembedding,
        context.skipped,
        context.result.settings.skip_part,
        context.layers_at_once(context.replay.n_tokens),
        lambda done, total: context.report(None, done, total),
        chosen_layers(context.result),
    )


def ablation_loss(
    replay: Replay,
    unembedding: Unembedding,
    skipped: Sequence[Tensor],
    part: str = "layer",
    layers_at_once: int = 0,
    on_rows: Callable[[int, int], None] = lambda done, total: None,
    chosen: Sequence[int] = (),
) -> Ablation:
    """NLL(without layer l) - NLL of the token after each, in nats.

    Args:
        replay: the clean run.
        unembedding: final norm and LM head.
        skipped: for every layer, the residual after it where it is left out, `[T, d]`.
        part: what `skipped` leaves out, for the record.
        layers_at_once: how many left-out layers are kept in memory; 0 for all.
        on_rows: called with how many pairs of a left-out and a later layer are done, and of how
            many.
        chosen: the layers to leave out, in order; none for every one.
    """
    count = replay.n_layers
    layers = list(chosen) or list(range(count))
    done, total = 0, sum(count - 1 - layer for layer in layers)
    size = layers_at_once or count
    changes = torch.full((count, replay.n_tokens - 1), torch.nan)
    with torch.no_grad():
        clean = token_losses(unembedding, replay.residual[-1][None], replay.ids)
        unchanged = torch.zeros(replay.n_tokens - 1)
        for first in range(0, len(layers), size):
            group = layers[first : first + size]
            sweep = SkipSweep(replay, skipped, [0], group[0])
            for layer in range(group[0], count):
                sweep.run(layer)
                done += sweep.n_runs
                on_rows(done, total)
                if layer in group:
                    sweep.begin(layer)
            ((_, ends),) = sweep.ends()
            moved = token_losses(unembedding, ends, replay.ids) - clean
            unchanged = torch.maximum(unchanged, moved[0].abs())
            changes[group] = moved[1:]
    return Ablation(part, clean[0].numpy(), changes.numpy(), unchanged.numpy(), tuple(chosen))


def token_losses(unembedding: Unembedding, residual: Tensor, ids: Tensor) -> Tensor:
    """Negative log-likelihood of `ids` `[T]` under h_L `[batch, T, d]`, in nats.

    Returns:
        `[batch, T-1]`, column t that of token t + 1.
    """
    batch, tokens, _ = residual.shape
    room = part_bytes(ROW_BYTES, execution_device(unembedding.head))
    rows = at_once(tokens, room, 4 * unembedding.vocab_size)
    losses = torch.zeros(batch, tokens - 1)
    for row in range(batch):
        for first in range(0, tokens - 1, rows):
            part = slice(first, min(first + rows, tokens - 1))
            logits = unembedding.logits(residual[row, part])
            following = ids[part.start + 1 : part.stop + 1].to(logits.device)
            loss = torch.nn.functional.cross_entropy(logits, following, reduction="none")
            losses[row, part] = loss.to("cpu")
    return losses
