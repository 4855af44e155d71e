"""Blocks that run several times in one pass: each of their calls is a layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn


def of_call(
    layers: Sequence[nn.Module], index: int, hook: Callable[..., Any]
) -> Callable[..., Any]:
    """The hook of one layer, for a block that may run as several of the layers.

    It must be registered before a pass begins, and is useless after a pass that ended early.

    Args:
        layers: the block of each layer, in the order in which they run.
        index: the layer.
        hook: called when this layer runs, and not when the block runs as another.
    """
    block = layers[index]
    turns = sum(layer is block for layer in layers)
    if turns == 1:
        return hook
    turn, calls = sum(layer is block for layer in layers[:index]), 0

    def in_turn(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        return hook(*args) if (calls - 1) % turns == turn else None

    return in_turn
