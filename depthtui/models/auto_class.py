"""The class of transformers that builds a model from its configuration."""

from __future__ import annotations

from typing import Any

from transformers import AutoModelForCausalLM, AutoModelForMultimodalLM, PreTrainedConfig
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MULTIMODAL_LM_MAPPING,
)


def has_auto_class(config: PreTrainedConfig) -> bool:
    """Whether transformers has a class that predicts text tokens from such a configuration."""
    return type(config) in MODEL_FOR_CAUSAL_LM_MAPPING or _reads_more_than_text(config)


def auto_class(config: PreTrainedConfig) -> Any:
    """The causal class; of a model that has none, that which reads images or sounds beside text."""
    return AutoModelForMultimodalLM if _reads_more_than_text(config) else AutoModelForCausalLM


def _reads_more_than_text(config: PreTrainedConfig) -> bool:
    kind = type(config)
    return kind not in MODEL_FOR_CAUSAL_LM_MAPPING and kind in MODEL_FOR_MULTIMODAL_LM_MAPPING
