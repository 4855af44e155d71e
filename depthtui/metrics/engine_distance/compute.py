"""Transformers' own pass beside the states of another engine, and each layer on these states."""

from __future__ import annotations

import torch
from torch import Tensor

from depthtui.metrics.context import Context
from depthtui.metrics.engine_distance import EngineDistance
from depthtui.tracing.norms import norm
from depthtui.tracing.patches import at_all_tokens
from depthtui.tracing.rounding import (
    MOST_ROUNDINGS,
    coarsest_dtype,
    layer_roundings,
    roundings,
)
from depthtui.tracing.trace import LayerActivations


def compute(context: Context, _partial: object) -> EngineDistance:
    """Compute the metric of a run."""
    states, model = context.residuals, context.result.model
    served = torch.empty(0, dtype=getattr(torch, model.dtype))
    dtype = coarsest_dtype(context.anatomy.layers[0], states[0], served)
    distance = torch.zeros(len(states), len(states[0]))
    own = torch.zeros_like(distance)
    steps = 2 * model.n_layers

    def beside(layer: LayerActivations) -> None:
        """Compare a layer of the ordinary pass with the states."""
        if layer.layer == 0:
            distance[0] = _distance(states[0], layer.h)
            own[0] = roundings(_miss(states[0], layer.h), (layer.h,), dtype).cpu()
        distance[layer.layer + 1] = _distance(states[layer.layer + 1], layer.h_next)
        context.report(layer.layer + 1, steps, None)

    def alone(layer: LayerActivations) -> None:
        """Compare a layer's output for the state before it with the state after it."""
        after = states[layer.layer + 1]
        own[layer.layer + 1] = layer_roundings(layer.h_next, layer.h, after, dtype).cpu()
        context.report(model.n_layers + layer.layer + 1, steps, None)

    context.trace(beside)
    context.trace(alone, at_all_tokens("layer", states[:-1]))
    return EngineDistance(
        distance.numpy(), own.numpy(), MOST_ROUNDINGS, str(dtype).removeprefix("torch.")
    )


def _miss(state: Tensor, expected: Tensor) -> Tensor:
    return state.to(expected.device).float() - expected.float()


def _distance(state: Tensor, expected: Tensor) -> Tensor:
    """The distance of states `[T, d]` from the expected ones, as a share of their norm, `[T]`."""
    length = norm(expected).clamp(min=torch.finfo().tiny)
    return (norm(_miss(state, expected)) / length).cpu()
