"""Modules of 16-bit weights that compute in float32 for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

_NARROW = (torch.bfloat16, torch.float16)


def can_widen(modules: Iterable[nn.Module]) -> bool:
    """Whether some of the weights have 16 bits, and all are in memory and not quantised."""
    weights = [weight for module in modules for weight in module.parameters()]
    plain = all(weight.is_floating_point() and not weight.is_meta for weight in weights)
    return plain and any(weight.dtype in _NARROW for weight in weights)


@contextlib.contextmanager
def in_float32(*modules: nn.Module) -> Iterator[None]:
    """Let modules compute in float32 for a while, with copies of their weights.

    A graph of gradients made meanwhile must be made again in the backward pass
    (`torch.utils.checkpoint`), since the weights are put back.
    """
    originals: list[tuple[nn.Module, str, Tensor]] = []
    handles = [
        module.register_forward_pre_hook(_widen_arguments, with_kwargs=True) for module in modules
    ]
    try:
        for part in (part for module in modules for part in module.modules()):
            for name, parameter in list(part.named_parameters(recurse=False)):
                if parameter.dtype in _NARROW:
                    originals.append((part, name, parameter))
                    setattr(part, name, nn.Parameter(parameter.float(), requires_grad=False))
            for name, buffer in list(part.named_buffers(recurse=False)):
                if buffer.dtype in _NARROW:
                    originals.append((part, name, buffer))
                    setattr(part, name, buffer.float())
        yield
    finally:
        for part, name, tensor in reversed(originals):
            setattr(part, name, tensor)
        for handle in handles:
            handle.remove()


def _widen_arguments(
    _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return _wide(args), {name: _wide(value) for name, value in kwargs.items()}


def _wide(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.float() if value.dtype in _NARROW else value
    if type(value) in (tuple, list):
        return type(value)(_wide(part) for part in value)
    return value
