"""Loss and KL of the output when the weights of one layer are rounded, at all tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from depthtui.errors import DepthError
from depthtui.metrics.choices import chosen_layers, layers_a_part
from depthtui.metrics.context import Context
from depthtui.metrics.loss_change_kernel import Ran, fill_rows
from depthtui.metrics.output_change import OutputChange
from depthtui.metrics.quantisation import BITS, Quantisation
from depthtui.tracing.anatomy import Unembedding
from depthtui.tracing.replay import Replay
from depthtui.tracing.rounded_weights import LinearWeight, linear_weights, rounded


def compute(context: Context, partial: Quantisation | None) -> Quantisation:
    """The metric of a run; the layers that `partial` has are not rounded again."""
    # Before anything is recorded: of some models nothing can be rounded.
    check(list(map(linear_weights, context.anatomy.layers)))
    replay, chosen = context.replay, chosen_layers(context.result)
    part = layers_a_part(len(chosen or range(replay.n_layers)))
    return quantisation(
        replay,
        context.unembedding,
        min(part, context.layers_at_once(len(BITS) * replay.n_tokens)),
        context.report,
        chosen,
        partial,
    )


def check(weights: Sequence[Sequence[LinearWeight]]) -> None:
    """See that some of the layers' linear weights can be rounded.

    Raises:
        DepthError: none can.
    """
    if not any(weight.has_blocks for of_layer in weights for weight in of_layer):
        raise DepthError("no layer has linear weights that can be cut into blocks of 32")


def quantisation(
    replay: Replay,
    unembedding: Unembedding,
    layers_at_once: int = 0,
    on_rows: Callable[[int, int, Quantisation | None], None] = lambda done, total, partial: None,
    chosen: Sequence[int] = (),
    partial: Quantisation | None = None,
) -> Quantisation:
    """Round each layer's weights to each number of bits; the last layers come first.

    Args:
        replay: the clean run.
        unembedding: final norm and LM head.
        layers_at_once, on_rows: as of `fill_rows`.
        chosen: the layers to round, in order; none for every one.
        partial: what was done before, to go on from.
    """
    count = replay.n_layers
    with torch.no_grad():
        change = OutputChange(unembedding, replay.residual[-1], replay.ids)

        def fill(result: Quantisation, group: list[int], ran: Ran) -> Quantisation:
            rows = replay.residual[group[0]][None]
            for layer in range(group[0], count):
                runs = [replay.run_layer(layer, rows)]
                if layer in group:
                    before = replay.residual[layer][None]
                    for bits in BITS:
                        with rounded(replay.layers[layer], bits):
                            runs.append(replay.run_layer(layer, before))
                rows = torch.cat(runs)
                ran(len(rows) - 1)
            changes = change(rows)
            found = result.filled(group, changes.loss.numpy())
            found.fill_outputs(group, changes.kl.numpy())
            return found

        begun = partial
        if begun is None:
            begun = Quantisation.unknown(count, replay.n_tokens, chosen=tuple(chosen))
            begun.loss[:] = change.losses.numpy()
            begun.weights[:], begun.whole_rows[:] = _counts(replay)
        return fill_rows(
            begun,
            list(chosen) or range(count),
            lambda layer: len(BITS) * (count - layer),
            layers_at_once,
            fill,
            on_rows,
        )


def _counts(replay: Replay) -> tuple[np.ndarray, np.ndarray]:
    """How many weights of each layer are rounded, and how many linear ones are not, `[L]`."""
    every = [linear_weights(layer) for layer in replay.layers]
    rounded_, whole = (
        [
            sum(weight.value.numel() for weight in weights if weight.has_blocks == blocks)
            for weights in every
        ]
        for blocks in (True, False)
    )
    return np.array(rounded_), np.array(whole)
