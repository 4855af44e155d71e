"""Which layers read an earlier layer's write: layers are called by themselves, without it.

Layer l is called on its clean input minus the update of layer s at tokens 1 … t-1; no later layer
runs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from depthtui.metrics.choices import chosen_layers, measured_layers
from depthtui.metrics.context import Context
from depthtui.metrics.direct_effects import DirectEffects
from depthtui.metrics.skip_effects import positions_of, tokens_run
from depthtui.metrics.skip_effects.compute import SkipSweep, relative_changes
from depthtui.tracing.replay import Replay


def compute(context: Context, partial: DirectEffects | None) -> DirectEffects:
    """Call every layer without the write of each earlier layer before each position.

    The write of a layer is the clean residual after it minus the one where it, or a part of it, is
    left out. Layers already called in `partial` are not called again. Progress is in pairs of a
    layer that writes and one that reads.
    """
    replay, skipped, positions = context.replay, context.skipped, positions_of(context.result)
    count, layers = replay.n_layers, measured_layers(context.result)
    result = DirectEffects.unknown(
        count,
        replay.n_tokens,
        part=context.result.settings.skip_part,
        positions=tuple(positions),
        floor=0.0,
        chosen=chosen_layers(context.result),
    )
    for layer in layers:
        result.layers[layer, : layer + 1] = 0.0
    if partial is not None:
        result = partial.copied()
    is_known = result.is_known
    readers = [reader for reader in range(1, count) if not is_known[reader]]
    total = sum(count - 1 - layer for layer in layers)
    done = total - sum(layer < reader for reader in readers for layer in layers)
    size = context.layers_at_once(tokens_run(context.result))
    with torch.no_grad():
        for reader in readers:
            sources = [layer for layer in layers if layer < reader]
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
                context.report(done, total, result.copied())
    return result


def _unread(replay: Replay, skipped: Sequence[Tensor], source: int, reader: int) -> Tensor:
    """The input of `reader` minus the write of `source`, `[T, d]`."""
    # In float32: a difference of 16-bit residuals has more digits than the residuals.
    after = replay.residual[source + 1].float()
    update = after - skipped[source].float().to(after.device)
    clean = replay.residual[reader]
    return (clean.float() - update.to(clean.device)).to(clean.dtype)
