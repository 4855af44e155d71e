"""What the loss gains when a layer is left out at all tokens: the ground truth for pruning."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from depthtui.metrics.ablation import Ablation
from depthtui.metrics.choices import chosen_layers, layers_a_part
from depthtui.metrics.context import Context
from depthtui.metrics.logit_lens.compute import ROW_BYTES
from depthtui.metrics.part_bytes import part_bytes
from depthtui.metrics.skip_effects.compute import SkipSweep
from depthtui.models.devices import execution_device
from depthtui.tracing.anatomy import Unembedding
from depthtui.tracing.parts import at_once
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
        lambda done, total, value: context.report(value, done, total),
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
        layers_at_once: how many left-out layers are kept in memory; 0 for all.
        on_rows: called with how many pairs of a left-out and a later layer are done, of how
            many, and what is known by then; None where that is nothing.
        chosen: the layers to leave out, in order; none for every one.
        partial: what was done before, to go on from.
    """
    count = replay.n_layers
    layers = list(chosen) or list(range(count))
    changes = torch.full((count, replay.n_tokens - 1), torch.nan)
    unchanged = torch.zeros(replay.n_tokens - 1)
    if partial is not None:
        changes = torch.from_numpy(partial.loss_change.copy())
        unchanged = torch.from_numpy(partial.unchanged.copy())
    missing = [layer for layer in layers if not changes[layer].isfinite().all()]
    total = sum(count - 1 - layer for layer in layers)
    done = total - sum(count - 1 - layer for layer in missing)
    size = layers_at_once or count

    def result() -> Ablation:
        changed = changes.numpy().copy()
        return Ablation(part, clean[0].numpy(), changed, unchanged.numpy(), tuple(chosen))

    with torch.no_grad():
        clean = token_losses(unembedding, replay.residual[-1][None], replay.ids)
        for stop in range(len(missing), 0, -size):
            group = missing[max(0, stop - size) : stop]
            sweep = SkipSweep(replay, skipped, [0], group[0])
            for layer in range(group[0], count):
                sweep.run(layer)
                done += sweep.n_runs
                on_rows(done, total, partial)
                if layer in group:
                    sweep.begin(layer)
            ((_, ends),) = sweep.ends()
            moved = token_losses(unembedding, ends, replay.ids) - clean
            unchanged = torch.maximum(unchanged, moved[0].abs())
            changes[group] = moved[1:]
            partial = result()
    return partial or result()


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
