"""The attention that is written out in a model's own code, with its weights.

Nearly every attention module of transformers has such an `eager_attention_forward` beside it, with
soft-capping, sinks and biases. It adds its mask to the scores, where faster functions use the pairs
of tokens that may be read, or no mask at all. It replaces the function that the configuration
names; the name stays, since models look at it too.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface

from depthtui.tracing.modules import hidden_states, hooks

_EAGER = "eager_attention_forward"
_LEAST = -1e9
"""Added to the score of a token that may not be read, if its dtype can represent it."""


@dataclass
class AttentionTensors:
    """The last attention of a layer.

    Attributes:
        weights: `[batch, heads, queries, keys]`; None before it has run.
        values: `[batch, key heads, keys, width]`.
    """

    weights: Tensor | None = None
    values: Tensor | None = None


_attended: ContextVar[AttentionTensors | None] = ContextVar("attended", default=None)


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Any,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """The module's own eager attention, with a mask to add to the scores."""
    if attention_mask is None and query.shape[2] > 1:
        attention_mask = _causal(query, key.shape[2], kwargs.get("sliding_window"))
    mask = _additive_mask(attention_mask, query.dtype)
    output = _eager_of(module)(module, query, key, value, mask, *args, **kwargs)
    tensors = _attended.get()
    if tensors is not None:
        tensors.weights, tensors.values = output[1], value
    return output


@contextlib.contextmanager
def written_out(layer: nn.Module) -> Iterator[AttentionTensors]:
    """Let a layer use the attention that is written out in its model's own code, for a while."""
    modules = list(layer.modules())
    tensors = AttentionTensors()
    before = _attended.set(tensors)
    functions = AttentionInterface._global_mapping
    replaced = {name: functions[name] for name in map(_function_of, modules) if name in functions}
    try:
        with hooks() as handles:
            for module in modules:
                if _eager_of(module) is None and _function_of(module) in replaced:
                    handles.append(
                        module.register_forward_pre_hook(_request_weights, with_kwargs=True)
                    )
                handles.append(module.register_forward_hook(_keep_weights))
            functions.update(dict.fromkeys(replaced, _attend))
            yield tensors
    finally:
        functions.update(replaced)
        _attended.reset(before)


def _eager_of(module: nn.Module) -> Any:
    return getattr(sys.modules[type(module).__module__], _EAGER, None)


def _function_of(module: nn.Module) -> str:
    """The name of the attention function of a module's configuration."""
    return str(getattr(getattr(module, "config", None), "_attn_implementation", ""))


def _keep_weights(_module: nn.Module, _args: object, output: Any) -> None:
    """Record the weights that a module returns beside its output, unless a function has already."""
    tensors = _attended.get()
    weights = output[1] if isinstance(output, tuple) and len(output) > 1 else None
    if tensors is not None and tensors.weights is None and isinstance(weights, Tensor):
        tensors.weights = weights if weights.dim() == 4 else None


def _request_weights(
    _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments that make a module without a registered function return its weights."""
    if "output_attentions" in kwargs:
        kwargs = kwargs | {"output_attentions": True}
        states, mask = hidden_states(args, kwargs), kwargs.get("attention_mask")
        if mask is None:
            mask = _causal(states[:, None], states.shape[1])
        kwargs["attention_mask"] = _additive_mask(mask, states.dtype)
    return args, kwargs


def _causal(queries: Tensor, keys: int, window: int | None = None) -> Tensor:
    """The pairs of tokens that may be read, `[1, 1, queries, keys]`, the queries at the end."""
    count = queries.shape[2]
    pairs = torch.ones(count, keys, dtype=torch.bool, device=queries.device)
    pairs = pairs.tril(keys - count)
    if window:
        pairs = pairs.triu(keys - count - window + 1)
    return pairs[None, None]


def _additive_mask(mask: Any, dtype: torch.dtype) -> Any:
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        return mask
    added = torch.zeros(mask.shape, dtype=dtype, device=mask.device)
    return added.masked_fill_(~mask, max(_LEAST, torch.finfo(dtype).min))
