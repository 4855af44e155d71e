"""Measure the losses of a prompt with layers left out in the model's order, and one at a time."""

from __future__ import annotations

import torch

from depthtui.metrics.context import Context
from depthtui.metrics.loss_change_kernel import token_losses
from depthtui.metrics.perplexity import Perplexity
from depthtui.tracing.batching import slices
from depthtui.tracing.parts_left_out import pieces_of


def compute(context: Context, partial: Perplexity | None) -> Perplexity:
    """Compute the metric of a run."""
    searched = context.order("layer")
    assert searched is not None, "the metric needs the model's order"
    pieces = pieces_of("layer", [context.replay], context.anatomy, context.substitute)
    n_layers, n_tokens = len(pieces), pieces.replay.n_tokens
    order = searched.whole(n_layers)
    # Without the first layer of the order alone is a row of both.
    rows = [*(order[:count] for count in range(n_layers + 1)), *((layer,) for layer in order[1:])]
    losses = torch.empty(len(rows), n_tokens - 1)
    with torch.no_grad():
        for part in slices(len(rows), context.layers_at_once(n_tokens)):
            states = pieces.without(rows[part])[:, 0]
            losses[part] = token_losses(context.unembedding, states, pieces.ids)
            context.report(part.stop, len(rows), None)
    result = Perplexity.unknown(n_layers, n_tokens, order=order)
    result.along[:] = losses[: n_layers + 1]
    result.alone[list(order)] = losses[[1, *range(n_layers + 1, len(rows))]]
    return result
