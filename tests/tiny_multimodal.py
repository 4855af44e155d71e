"""Tiny seeded models that read images or sounds beside text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForMultimodalLM, PreTrainedModel

from tests.tiny_models import tiny_tokenizer

LAYERS = 3
"""Those of the text decoder; other towers have two."""

_SIZES = {
    **dict.fromkeys(("hidden_size", "d_model", "out_hidden_size", "projection_dim"), 32),
    **dict.fromkeys(("intermediate_size", "encoder_ffn_dim"), 48),
    **dict.fromkeys(("num_attention_heads", "num_heads", "encoder_attention_heads"), 4),
    **dict.fromkeys(("depth", "encoder_layers"), 2),
    "num_key_value_heads": 2,
    "head_dim": 8,
    "moe_intermediate_size": 24,
    "moe_num_experts": 4,
    "image_size": 28,
    "max_position_embeddings": 256,
    "deepstack_visual_indexes": [0],
}

KINDS = (
    "qwen3_vl",  # positions along three axes
    "mistral3",  # another model's text decoder and vision tower, by their configurations
    "llava",
    "aria",  # experts
    "qwen2_audio",
    "voxtral",
)


def tiny_multimodal(kind: str) -> PreTrainedModel:
    """A model of a type, with room for each token of the tiny tokenizer."""
    config: Any = CONFIG_MAPPING[kind]()
    parts = [getattr(config, name) for name in config.sub_configs]
    for part in (config, *parts):
        for name, value in _SIZES.items():
            if hasattr(part, name):
                setattr(part, name, value)
        if hasattr(part, "num_hidden_layers"):
            part.num_hidden_layers = 2
    text = config.get_text_config(decoder=True)
    text.num_hidden_layers, text.vocab_size, text.pad_token_id = LAYERS, len(tiny_tokenizer()), 0
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[:LAYERS]
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForMultimodalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" not in name:
                parameter.normal_(std=0.2 if parameter.dim() > 1 else 0.05)
    return model.eval()


def multimodal_folder(parent: Path, kind: str) -> Path:
    """A folder such as one downloads."""
    folder = parent / f"tiny-{kind}"
    tiny_multimodal(kind).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder
