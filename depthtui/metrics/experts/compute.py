"""Chosen experts at all tokens, one layer at a time and as many tokens at once as fit."""

from __future__ import annotations

import numpy as np
import torch

from depthtui.errors import DepthError
from depthtui.metrics.context import Context
from depthtui.metrics.experts import ChosenExperts
from depthtui.tracing.batching import slices
from depthtui.tracing.layer_call import (
    NO_EXPERTS,
    ExpertsCall,
    LayerCall,
    call_at,
    may_have_experts,
)
from depthtui.tracing.layer_parts import experts_of


def compute(context: Context, partial: ChosenExperts | None) -> ChosenExperts:
    """Record the experts that every layer chooses at all tokens.

    Layers already in `partial` do not run again. Where tokens cannot be run behind others, all go
    through a layer together.

    Raises:
        DepthError: no layer has experts.
    """
    replay, anatomy = context.replay, context.anatomy
    count, tokens = replay.n_layers, replay.n_tokens
    at_once = context.tokens_with_attention if replay.can_resume else tokens
    result = partial or ChosenExperts.unknown(count, tokens)
    with torch.no_grad():
        for layer in np.flatnonzero(~result.done).tolist():
            result = result.copied()
            if may_have_experts(anatomy.layers[layer]):
                for part in slices(tokens, at_once):
                    call = call_at(replay, anatomy, layer, part.start, part.stop)
                    if call.experts is None:
                        break
                    result = _with_tokens(result, layer, part, call.experts)
                    if part.stop == tokens:
                        _check(result, layer, call)
            result.done[layer] = True
            context.report(int(result.done.sum()), count, result)
    if not result.n_experts:
        raise DepthError(NO_EXPERTS)
    return result


def _with_tokens(
    result: ChosenExperts, layer: int, part: slice, experts: ExpertsCall
) -> ChosenExperts:
    """The result with the experts chosen at some tokens of a layer."""
    order = experts.weights.float().argsort(dim=-1, descending=True, stable=True)
    weights = experts.weights.float().gather(-1, order)
    shares = weights / weights.sum(dim=-1, keepdim=True)
    k = weights.shape[-1]
    result = result.widened("K", k)
    result.numbers[layer, :k, part] = experts.numbers.gather(-1, order).T.cpu().numpy()
    result.weights[layer, :k, part] = weights.T.cpu().numpy()
    result.entropy[layer, part] = torch.special.entr(shares).sum(dim=-1).cpu().numpy()
    result.n_experts = max(result.n_experts, experts.count)
    return result


def _check(result: ChosenExperts, layer: int, call: LayerCall) -> None:
    """Record the error of experts against their block's output; drop them where it is too large."""
    try:
        result.error = max(result.error, experts_of(call).error)
    except DepthError as error:
        result.notes = tuple(dict.fromkeys((*result.notes, error.message.rstrip("."))))
        result.numbers[layer], result.weights[layer], result.entropy[layer] = -1, np.nan, np.nan
