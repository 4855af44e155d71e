"""Each attention head left out at all tokens, from its layer on; many of them run together."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from depthtui.metrics.context import Context
from depthtui.metrics.head_ablation import HeadAblation, layer_calls
from depthtui.metrics.output_change import OutputChange
from depthtui.tracing.heads_left_out import HeadsToLeave
from depthtui.tracing.left_out import LayersToLeave, ShortenedModel


def compute(context: Context, partial: HeadAblation | None) -> HeadAblation:
    """The change of the output without each head; those of the last layers come first.

    Heads already in `partial` are not left out again.

    Raises:
        DepthError: the heads of a layer cannot be told apart.
    """
    replay, count = context.replay, context.replay.n_layers
    with torch.no_grad():
        pieces = HeadsToLeave([replay], context.anatomy, context.substitute)
        change = OutputChange(context.unembedding, replay.states[-1], replay.ids)
        result = partial
        if result is None:
            result = HeadAblation.unknown(count, replay.n_tokens).widened("H", pieces.per_layer)
            result.sink[:] = pieces.sinks.numpy()
            result.unchanged[1:] = change(_unchanged(pieces)).kl[0, 1:].numpy()
        unknown = np.flatnonzero(~result.is_known).tolist()
        at_once = context.rows_at_once(len(pieces), replay.n_tokens)
        total, model = layer_calls(context.result), ShortenedModel(pieces)
        for stop in range(len(unknown), 0, -at_once):
            group = unknown[max(0, stop - at_once) : stop]
            changes = change(model.without_each(group)[:, 0])
            # Copied: the listener keeps a reference to a reported result.
            result, (layers, heads) = result.copied(), np.divmod(group, pieces.per_layer)
            result.loss_change[layers, heads] = changes.loss.numpy()
            result.kl[layers, heads, 1:] = changes.kl[:, 1:].numpy()
            result.kept[layers, heads, 1:] = changes.kept[:, 1:].numpy()
            layers_left = np.repeat(count - np.arange(count), pieces.per_layer)
            left = int(layers_left[~result.is_known].sum())
            context.report(total - left, total, result)
    return result


def _unchanged(pieces: LayersToLeave) -> Tensor:
    """The last states of the text with nothing left out, run again, `[1, T, D]`."""
    states = pieces.clean[0]
    for layer in range(pieces.replay.n_layers):
        states = pieces.after(layer, states, ())
    return states
