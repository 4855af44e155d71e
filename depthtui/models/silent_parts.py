"""The parts of layers that write nothing in a written model, as other tools name them."""

from __future__ import annotations

import copy
import json
from typing import Any

from transformers import PreTrainedConfig

from depthtui.data.model import ModelInfo
from depthtui.data.pieces import NumberedParts

SKIP_LAYERS = "skip_layers.json"
"""The file name that SWIFT and Draft & Verify use."""

DROP_LISTS = ("drop_attn_list", "drop_mlp_list")
"""The fields of a configuration in which LLM-Drop lists layers without attention, or MLP."""


def with_drop_lists(config: PreTrainedConfig, parts: NumberedParts) -> PreTrainedConfig:
    """A configuration that lists parts as LLM-Drop does, beside those that it lists already."""
    config = copy.deepcopy(config)
    text: Any = config.get_text_config(decoder=True)
    for name, layers in zip(DROP_LISTS, (parts.attention, parts.mlp), strict=True):
        setattr(text, name, sorted({*(getattr(text, name, None) or ()), *layers}))
    return config


def dropped_parts(config: PreTrainedConfig) -> NumberedParts:
    """The parts that a configuration lists."""
    text: Any = config.get_text_config(decoder=True)
    return NumberedParts(*(tuple(getattr(text, name, None) or ()) for name in DROP_LISTS))


def skip_layers(model: ModelInfo, parts: NumberedParts) -> bytes:
    """The layers whose attention, or MLP, is skipped, under the model's name, as JSON."""
    lists = {"attention": parts.attention, "mlp": parts.mlp}
    return json.dumps({model.name: lists}).encode()
