"""A model with an adapter beside its base: both streams, and both models' layers on one stream."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from depthtui.metrics.adapter import AdapterChange
from depthtui.metrics.context import Context
from depthtui.metrics.contributions.compute import NORM_FLOOR, PART_BYTES
from depthtui.metrics.loss_change_kernel import token_losses
from depthtui.tracing.activations import ActivationRecorder, Activations
from depthtui.tracing.batching import at_once, slices
from depthtui.tracing.norms import norm
from depthtui.tracing.patches import at_all_tokens
from depthtui.tracing.trace import LayerActivations

_PASSES = 4


def compute(context: Context, _partial: object) -> AdapterChange:
    """Compute the metric of a run.

    The base runs three times: by itself; each layer on the stream of the model with the adapter;
    each MLP behind the attention of that model.
    """
    n_layers = len(context.anatomy.layers)
    change = AdapterChange.unknown(n_layers, len(context.result.tokens))
    recorder = ActivationRecorder(n_layers, keep_writes=True)
    context.trace(recorder.add)
    adapted = recorder.activations()
    losses = _losses(context, adapted.residual[-1])
    context.report(1, _PASSES, None)
    with context.without_adapter():
        change.loss_change = losses - _losses(context, _move(context, adapted, change))
        context.report(2, _PASSES, None)
        _change_layers(context, adapted, change)
        context.report(3, _PASSES, None)
        if adapted.attention is not None:
            _change_mlps(context, adapted, change)
    return change


def _move(context: Context, adapted: Activations, change: AdapterChange) -> Tensor:
    """Fill in the distance of the base's stream from the adapted one; return h_L of the base."""
    last: list[Tensor] = []

    def on_layer(layer: LayerActivations) -> None:
        if layer.layer == 0:
            change.stream[0] = _share(adapted.residual[0], layer.h, layer.h)
        depth = layer.layer + 1
        change.stream[depth] = _share(adapted.residual[depth], layer.h_next, layer.h_next)
        last[:] = [layer.h_next]

    context.trace(on_layer)
    return last[0]


def _change_layers(context: Context, adapted: Activations, change: AdapterChange) -> None:
    """Fill in how layers and their attention differ from the base's on the same stream."""

    def on_layer(layer: LayerActivations) -> None:
        number = layer.layer
        change.layer[number] = _share(adapted.residual[number + 1], layer.h_next, layer.h)
        if adapted.attention is not None and layer.attention is not None:
            change.attention[number] = _share(adapted.attention[number], layer.attention, layer.h)

    context.trace(on_layer, at_all_tokens("layer", adapted.residual[:-1]))


def _change_mlps(context: Context, adapted: Activations, change: AdapterChange) -> None:
    """Fill in how MLPs differ from the base's on the same input."""
    assert adapted.attention is not None
    assert adapted.mlp is not None
    writes = adapted.mlp

    def on_layer(layer: LayerActivations) -> None:
        if layer.mlp is not None:
            change.mlp[layer.layer] = _share(writes[layer.layer], layer.mlp, layer.h)

    patches = {
        **at_all_tokens("layer", adapted.residual[:-1]),
        **at_all_tokens("attention", adapted.attention),
    }
    context.trace(on_layer, patches)


def _share(adapted: Tensor, base: Tensor, stream: Tensor) -> np.ndarray:
    """|adapted - base| / |stream| at each token, `[T]`, of `[T, d]` each."""
    size = at_once(len(stream), PART_BYTES, 4 * stream.shape[-1])
    parts = []
    for tokens in slices(len(stream), size):
        ours, theirs, reference = (
            states[tokens].to(stream.device).float() for states in (adapted, base, stream)
        )
        parts.append(norm(ours - theirs) / norm(reference).clamp(min=NORM_FLOOR))
    return torch.cat(parts).cpu().numpy()


def _losses(context: Context, residual: Tensor) -> np.ndarray:
    """The loss of the token after each, `[T - 1]`; NaN without a lens."""
    unembedding, ids = context.anatomy.unembedding, context.result.tokens.ids
    if unembedding is None:
        return np.full(len(ids) - 1, np.nan, np.float32)
    with torch.inference_mode():
        return token_losses(unembedding, residual[None], torch.from_numpy(ids))[0].numpy()
