"""A loaded model that runs only some of its blocks, at the speed of a model of as many layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn

from depthtui.models.pruning import cut_config
from depthtui.tracing.modules import decoder, find_blocks, text_config


@contextmanager
def shortened(model: nn.Module, layers: Sequence[int]) -> Iterator[None]:
    """Let a model run only these of its blocks, in this order, each at its new place in a cache.

    Args:
        model: a model with one list of blocks.
        layers: the indices of the blocks that run.
    """
    blocks = find_blocks(model)
    parent, name = _place_of(model, blocks)
    config = text_config(model)
    with ExitStack() as stack:

        def change(owner: Any, name: str, value: Any) -> None:
            stack.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, value)

        change(parent, name, nn.ModuleList(blocks[layer] for layer in layers))
        for field, value in vars(cut_config(config, layers)).items():
            if value != getattr(config, field):
                change(config, field, value)
        for place, layer in enumerate(layers):
            for part in blocks[layer].modules():
                if isinstance(getattr(part, "layer_idx", None), int):
                    change(part, "layer_idx", place)
        yield


def _place_of(model: nn.Module, blocks: Sequence[nn.Module]) -> tuple[Any, str]:
    """The module that has the list of these blocks, and the list's name in it."""
    for parent in decoder(model).modules():
        for name, child in parent.named_children():
            if isinstance(child, nn.ModuleList) and tuple(child) == tuple(blocks):
                return parent, name
    raise ValueError("the blocks are in no list of their own")
