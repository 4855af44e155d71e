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
from depthtui.metrics.skip_effects import positions_of
from depthtui.metrics.skip_effects.compute import SkipSweep, relative_changes
from depthtui.tracing.replay import Replay


def compute(context: Context, _partial: object) -> DirectEffects:
    """The metric of a run."""
    replay, positions = context.replay, positions_of(context.result)
    tokens = max(positions) + sum(replay.n_tokens - position for position in positions)
    return direct_effects(
        replay,
        context.skipped,
        positions,
        context.result.settings.skip_part,
        lambda done, total: context.report(None, done, total),
        context.layers_at_once(tokens),
        chosen_layers(context.result),
    )


def direct_effects(
    replay: Replay,
    skipped: Sequence[Tensor],
    positions: Sequence[int],
    part: str = "layer",
    on_rows: Callable[[int, int], None] = lambda done, total: None,
    sources_at_once: int = 0,
    chosen: Sequence[int] = (),
) -> DirectEffects:
    """Call every layer without what each earlier one wrote before each position.

    Args:
        replay: the clean run.
        skipped: for every layer, the residual after it where it, or a part of it, is left out,
            `[T, d]`: what it writes is the rest of the clean residual there.
        positions: the positions t; 0 stands for what was written at all tokens.
        part: what `skipped` leaves out, for the record.
        on_rows: called with how many pairs of a source and a reader are done, and of how many.
        sources_at_once: how many sources a reader is called without in one batch; 0 for all.
        chosen: the sources, in order; none for every layer.
    """
    count = replay.n_layers
    layers = list(chosen) or list(range(count))
    effects = torch.full((count, count), torch.nan)
    effects[layers] = 0.0
    floor = 0.0
    done, total = 0, sum(count - 1 - layer for layer in layers)
    with torch.no_grad():
        for reader in range(1, count):
            sources = [layer for layer in layers if layer < reader]
            size = sources_at_once or count
            for first in range(0, len(sources), size):
                group = sources[first : first + size]
                sweep = SkipSweep(replay, skipped, positions, reader)
                for source in group:
                    sweep.add(replay.residual[reader], _unread(replay, skipped, source, reader))
                for unchanged, *changes in relative_changes(replay, sweep, reader):
                    floor = max(floor, float(unchanged.max()))
                    largest = torch.stack(changes).amax(dim=1)
                    effects[group, reader] = torch.maximum(effects[group, reader], largest)
                done += len(group)
                on_rows(done, total)
    return DirectEffects(part, tuple(positions), effects.numpy(), floor, tuple(chosen))


def _unread(replay: Replay, skipped: Sequence[Tensor], source: int, reader: int) -> Tensor:
    """What `reader` reads, less what `source` wrote, `[T, d]`."""
    # In float32: a difference of 16-bit residuals has more digits than they.
    after = replay.residual[source + 1].float()
    written = after - skipped[source].float().to(after.device)
    clean = replay.residual[reader]
    return (clean.float() - written.to(clean.device)).to(clean.dtype)
