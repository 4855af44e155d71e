"""The class of transformers that builds a model from its configuration."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import AutoModelForCausalLM, AutoModelForMultimodalLM, PreTrainedConfig
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MULTIMODAL_LM_MAPPING,
)


def has_auto_class(config: PreTrainedConfig) -> bool:
    """Whether transformers has a class that predicts text tokens from such a configuration."""
    return type(config) in MODEL_FOR_CAUSAL_LM_MAPPING or reads_more_than_text(config)


def auto_class(config: PreTrainedConfig) -> Any:
    """The causal class; without one, the class that reads images or sounds beside text."""
    is_causal = type(config) in MODEL_FOR_CAUSAL_LM_MAPPING or not reads_more_than_text(config)
    return AutoModelForCausalLM if is_causal else AutoModelForMultimodalLM


def reads_more_than_text(config: PreTrainedConfig) -> bool:
    """Whether transformers knows the type as one that reads images or sounds beside text."""
    return type(config) in MODEL_FOR_MULTIMODAL_LM_MAPPING


def part_that_predicts(config: PreTrainedConfig) -> PreTrainedConfig:
    """The configuration of the part that predicts text in a model that also speaks.

    The class of such a model only contains others, and has no forward pass of its own.
    """
    if not reads_more_than_text(config):
        return config
    model_class: Any = MODEL_FOR_MULTIMODAL_LM_MAPPING[type(config)]
    if model_class.forward is not nn.Module.forward:
        return config
    parts = (getattr(config, name) for name in config.sub_configs)
    return next((part for part in parts if reads_more_than_text(part)), config)
