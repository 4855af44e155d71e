"""Time the model with ever fewer layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from depthtui.metrics.context import Context
from depthtui.metrics.speed import MOST_DRAFTED, ROUNDS, STEPS, Speed


@dataclass(frozen=True)
class _Round:
    """The times of one round, in seconds.

    Attributes:
        seconds: of the prompt's pass and of one token, by the number of layers left out, `[2, L]`.
        whole: of the whole model, the mean of both ends of the round, `[2]`.
        verify: of a pass over 1, 2, … tokens, by the whole model.
        cache_bytes: that a token takes in the cache, `[L]`.
    """

    seconds: np.ndarray
    whole: np.ndarray
    verify: np.ndarray
    cache_bytes: np.ndarray


def compute(context: Context, partial: Speed | None) -> Speed:
    """Compute the metric of a run, in rounds over every number of layers.

    A machine may grow slower within minutes: each time is compared with the whole model's of the
    same round.
    """
    model, searched = context.result.model, context.order("layer")
    n_layers = model.n_layers
    # In orders of the prompt's own tokens none is the model's.
    order = tuple(reversed(range(n_layers))) if searched is None else searched.whole(n_layers)
    # The first pass takes longer than all others.
    context.timed(range(n_layers), (1,))
    rounds = [_round(context, order, number) for number in range(ROUNDS)]
    seconds = np.median([each.seconds for each in rounds], axis=0)
    ratios = np.array([each.seconds / each.whole[:, None] for each in rounds])
    # Both ends are the whole model: nothing is compared with itself.
    ratios[:, :, 0] = 1
    cache_bytes = rounds[0].cache_bytes
    weights = [list(layer.parameters()) for layer in context.anatomy.layers]
    gone = np.zeros((2, n_layers + 1))
    for count, layer in enumerate(order, start=1):
        of_layer = [(weight.numel(), weight.nbytes) for weight in weights[layer]]
        gone[:, count] = gone[:, count - 1] + np.sum(of_layer, axis=0)
    result = Speed.unknown(n_layers, len(context.result.tokens), order=order)
    result = result.widened("V", MOST_DRAFTED + 1).widened("R", len(rounds))
    result.parameters[:] = model.parameters - gone[0]
    result.weight_bytes[:] = model.memory_bytes - gone[1]
    result.cache_bytes[:n_layers], result.cache_bytes[n_layers] = cache_bytes, 0
    result.prefill[:n_layers], result.token[:n_layers] = seconds
    result.prefill_ratios[:, :n_layers], result.token_ratios[:, :n_layers] = ratios.swapaxes(0, 1)
    result.verify_ratios[:] = [each.verify / each.whole[1] for each in rounds]
    # A pass over one token is the step itself.
    result.verify_ratios[:, 0] = 1
    return result


def _round(context: Context, order: Sequence[int], number: int) -> _Round:
    """Time every number of layers once, the whole model first and last."""
    n_layers, steps = len(order), (1,) * STEPS
    verified = tuple(range(1, MOST_DRAFTED + 2))
    seconds, cache_bytes = np.empty((2, n_layers)), np.empty(n_layers)
    for count in range(n_layers):
        times = context.timed(sorted(order[count:]), steps if count else steps + verified)
        seconds[:, count] = times.prefill, np.median(times.passes[:STEPS])
        cache_bytes[count] = times.cache_bytes
        if not count:
            verify = np.array(times.passes[STEPS:])
        context.report(number * n_layers + count + 1, ROUNDS * n_layers, None)
    last = context.timed(range(n_layers), steps)
    whole = (seconds[:, 0] + [last.prefill, np.median(last.passes)]) / 2
    return _Round(seconds, whole, verify, cache_bytes)
