"""Which layer reads what an earlier one wrote: layers called alone, without that.

Layer l is called on its clean input less what layer s added to the tokens 1 … t-1, and nothing
runs on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from depthtui.metrics.choices import chosen_layers
from depthtui.metrics.context import Context
from depthtui.metrics.direct_effects import DirectEffects
from depthtui.metrics.skip_effects import positions_of, tokens_run
from depthtui.metrics.skip_effects.compute import SkipSweep, relative_changes
from depthtui.tracing.replay import Replay


def compute(context: Context, partial: DirectEffects | None) -> DirectEffects:
    """The metric of a run; the layers that `partial` has called are not called again."""
    return direct_effects(
        context.replay,
        context.skipped,
        positions_of(context.result),
        context.result.settings.skip_part,
        context.report,
        context.layers_at_once(tokens_run(context.result)),
        chosen_layers(context.result),
        partial,
    )


def direct_effects(
    replay: Replay,
    skipped: Sequence[Tensor],
    positions: Sequence[int],
    part: str = "layer",
    on_rows: Callable[[int, int, DirectEffects], None] = lambda done, total, partial: None,
    sources_at_once: int = 0,
    chosen: Sequence[int] = (),
    partial: DirectEffects | None = None,
) -> DirectEffects:
    """Call every layer without what each earlier one wrote before each position.

    Args:
        replay: the clean run.
        skipped: for every layer, the residual after it where it, or a part of it, is left out,
            `[T, d]`: what it writes is the rest of the clean residual there.
        positions: the positions t; 0 stands for what was written at all tokens.
        part: what `skipped` leaves out, for the record.
        on_rows: called after each reader with how many pairs of a source and a reader are done,
            of how many, and what is known by then.
        sources_at_once: how many sources a reader is called without in one batch; 0 for all.
        chosen: the sources, in order; none for every layer.
        partial: what was done before, to go on from.
    """
    count = replay.n_layers
    layers = list(chosen) or list(range(count))
    result = DirectEffects.unknown(
        count, replay.n_tokens, part=part, positions=tuple(positions), floor=0.0
    )
    result.chosen = tuple(chosen)
    for layer in layers:
        result.layers[layer, : layer + 1] = 0.0
    if partial is not None:
        result = partial.copied()
    is_known = result.is_known
    missing = [reader for reader in range(1, count) if not is_known[reader]]
    total = sum(count - 1 - layer for layer in layers)
    done = total - sum(layer < reader for reader in missing for layer in layers)
    with torch.no_grad():
        for reader in missing:
            sources = [layer for layer in layers if layer < reader]
            size = sources_at_once or count
            for first in range(0, len(sources), size):
                group = sources[first : first + size]
                sweep = SkipSweep(replay, skipped, positions, reader)
                for source in group:
                    sweep.add(replay.residual[reader], _unread(replay, skipped, source, reader))
                largest = torch.zeros(len(group))
                for unchanged, *changes in relative_changes(replay, sweep, reader):
                    result.floor = max(result.floor, float(unchanged.max()))
                    largest = torch.maximum(largest, torch.stack(changes).amax(dim=1))
                result.layers[group, reader] = largest.numpy()
                done += len(group)
                on_rows(done, total, result.copied())
    return result


def _unread(replay: Replay, skipped: Sequence[Tensor], source: int, reader: int) -> Tensor:
    """What `reader` reads, less what `source` wrote, `[T, d]`."""
    # In float32: a difference of 16-bit residuals has more digits than they.
    after = replay.residual[source + 1].float()
    written = after - skipped[source].float().to(after.device)
    clean = replay.residual[reader]
    return (clean.float() - written.to(clean.device)).to(clean.dtype)
