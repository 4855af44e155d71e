"""A model's modules: its layers, what they are called with and return, hooks on them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from depthtui.errors import DepthError


def first_tensor(output: Any) -> Tensor:
    """A module's hidden states, whether it returns a tensor or a tuple that begins with one."""
    while isinstance(output, tuple | list):
        output = output[0]
    return output


def with_first_tensor(output: Any, value: Tensor) -> Any:
    """`output` with its hidden states replaced by `value`."""
    if isinstance(output, tuple | list):
        return type(output)((with_first_tensor(output[0], value), *output[1:]))
    return value


def hidden_states(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """A block's input, positional or not."""
    return args[0] if args else kwargs["hidden_states"]


def with_hidden_states(
    args: tuple[Any, ...], kwargs: dict[str, Any], value: Tensor
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A block's arguments with its input replaced by `value`."""
    if args:
        return (value, *args[1:]), kwargs
    return args, {**kwargs, "hidden_states": value}


@contextmanager
def hooks() -> Iterator[list[Any]]:
    """A list for hook handles, all removed at the end."""
    handles: list[Any] = []
    try:
        yield handles
    finally:
        for handle in handles:
            handle.remove()


def decoder(model: nn.Module) -> nn.Module:
    """The model without its LM head."""
    causal: Any = model
    found = causal.get_decoder() if hasattr(causal, "get_decoder") else None
    if found is None or found is model:
        found = getattr(causal, getattr(causal, "base_model_prefix", ""), None)
    return model if found is None else found


def text_config(model: nn.Module) -> Any:
    """The configuration of what reads text, of a model that may read more."""
    config: Any = model.config
    return config.get_text_config(decoder=True) if hasattr(config, "get_text_config") else config


def find_layers(model: nn.Module) -> tuple[nn.Module, ...]:
    """The model's blocks, in order.

    Raises:
        DepthError: there is no list of as many modules as the config names layers.
    """
    expected = getattr(text_config(model), "num_hidden_layers", None)
    for module in decoder(model).modules():
        if isinstance(module, nn.ModuleList) and len(module) == expected:
            return tuple(module)
    raise DepthError(
        f"{type(model).__name__} has no list of {expected} layers that depthtui can follow.",
        "Decoder-only models with one residual stream are supported.",
    )
