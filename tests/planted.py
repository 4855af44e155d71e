"""Models whose use of depth is known, since layers were planted that write nothing."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn
from transformers import PreTrainedModel

from tests.naive import blocks


def with_idle(model: PreTrainedModel, before: Sequence[int]) -> tuple[PreTrainedModel, list[int]]:
    """A copy of a Llama-like model with layers that write nothing put between its own.

    Args:
        model: stays as it is.
        before: for each new layer, the layer of the model that it stands before; L for one at the
            end.

    Returns:
        the copy, and the numbers of its new layers.
    """
    planted = copy.deepcopy(model)
    layers, numbers = [], []
    own = [*blocks(planted), None]
    for place, block in enumerate(own):
        for _ in range(list(before).count(place)):
            numbers.append(len(layers))
            layers.append(_silent(own[min(place, len(own) - 2)]))
        if block is not None:
            layers.append(block)
    for number, block in enumerate(layers):
        block.self_attn.layer_idx = number
    planted.model.layers = nn.ModuleList(layers)
    planted.config.num_hidden_layers = len(layers)
    if kinds := getattr(planted.config, "layer_types", None):
        planted.config.layer_types = [kinds[0]] * len(layers)
    return planted, numbers


def _silent(block: nn.Module) -> nn.Module:
    """A copy of a layer that writes exactly nothing: o and down projections are zero."""
    silent = copy.deepcopy(block)
    with torch.no_grad():
        for module in (silent.self_attn.o_proj, silent.mlp.down_proj):
            module.weight.zero_()
            if module.bias is not None:
                module.bias.zero_()
    return silent
