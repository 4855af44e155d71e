"""A tiny model with random weights of any type that transformers predicts text with."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import CONFIG_MAPPING, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES,
)

from tests.tiny_models import draw_weights, tiny_tokenizer

WIDTH, HEADS, HEAD_WIDTH = 64, 4, 16
VOCAB = 512
LAYERS, TOWER_LAYERS = 4, 2
"""Layers of what reads text, and of what reads images and sounds."""

_MOST_KINDS = 6
_MOST_PARAMETERS = 100_000_000

_AT_MOST = {
    r"(.*_)?(hidden_size|hidden_dim|embed_dim|embedding_size|embedding_dim|output_dim|emb_dim)"
    r"|d_model|n_embd|width|projection_dim|adapter_(in|out)_dim|word_embed_proj_dim|dim_model"
    r"|lru_width|adapter_input_size|vision_output_dim|backbone_hidden_size": WIDTH,
    r".*(intermediate_size|ffn_dim|ffn_hidden_size|d_ff|dff|dim_ff|d_inner|mlp_dim"
    r"|feed_forward_size|share_expert_dim).*": 48,
    r".*(attention_heads|num_heads|n_heads?|num_query_groups)": HEADS,
    r".*(num_key_value_heads|num_kv_heads|kv_n_heads)": HEADS // 2,
    r".*head_dim|d_kv|kv_channels|d_head|dim_head|attention_head_size|mamba_(headdim|d_head)": (
        HEAD_WIDTH
    ),
    r"qk_(nope|rope)_head_dim|rotary_dim": HEAD_WIDTH // 2,
    r".*lora_rank|hc_lowrank": 16,
    r"(moe_)?(num|n)(_routed|_local)?_experts|zero_expert_num": 4,
    r".*(experts_per_tok|experts_per_token|moe_k|moe_topk|moe_top_k|top_k_experts)": 2,
    r"n_group|topk_group|num_expert_group": 1,
    r"(.*_)?vocab_size|vocab_size_per_layer_input|ngram_vocab_size_base"
    r"|encoder_hash_byte_group_vocab": VOCAB,
    r"max_position_embeddings|n_positions|n_ctx|max_seq_len|max_(source|target)_positions": 256,
    r"depth|n_layers?|(num_)?((hidden|encoder|decoder)_)?layers": TOWER_LAYERS,
    r"image_size|crop_size": 28,
    r"patch_size": 14,
    r"sliding_window|.*window_size": 6,
    r"base_channels|num_filters": 32,
}
"""The whole name of a configuration's field -> what it is at most; the last one that fits."""

_SHARED_KEYS = {
    "hidden_size": WIDTH,
    "intermediate_size": 48,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": HEADS // 2,
    "head_dim": HEAD_WIDTH,
    "vocab_size": VOCAB,
    "layer_types": ["sliding_attention", "full_attention"] * (LAYERS // 2),
    "num_kv_shared_layers": LAYERS,
}
_ASSISTANTS = {
    "gemma4_assistant": _SHARED_KEYS
    | {"hidden_size_per_layer_input": 0, "vocab_size_per_layer_input": 0},
    "gemma4_unified_assistant": _SHARED_KEYS,
}
"""Types whose configurations cannot be made without one for text -> the fields of that."""

_NEEDED: dict[str, dict[str, Any]] = {
    # Widths of a state-space mixer that must be a multiple of the model's.
    "Bamba": {"mamba_n_heads": 8},
    "GraniteMoeHybrid": {"mamba_n_heads": 8},
    "FalconH1": {"mamba_n_heads": 16, "mamba_d_ssm": 128},
    "Mamba2": {"num_heads": 8, "n_groups": 1},
    "NemotronH": {"n_groups": 1},
    # Fields that the type needs, and that are None by default.
    "Nemotron": {"num_key_value_heads": 2},
    "HunYuanDenseV1": {"head_dim": HEAD_WIDTH},
    "HunYuanMoEV1": {"head_dim": HEAD_WIDTH},
    "HunYuanVLText": {"head_dim": HEAD_WIDTH},
    "Ministral": {"head_dim": HEAD_WIDTH},
    "Chameleon": {"vocabulary_map": {"<image>": 500, "IMGIMGAZ": 501}},
    "DeepseekV2": {"num_experts_per_tok": 2},
    "DeepseekOcr2Text": {
        "mlp_layer_types": ["dense", "sparse", "sparse", "sparse"],
        "num_experts_per_tok": 2,
    },
    "Dots1": {"n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1},
    "Lfm2Moe": {"layer_types": ["conv", "full_attention"] * 2},
    "Step3p7Text": {"sliding_window": 6},
    "Qwen4ExpText": {
        "indexer_n_heads": 2,
        "indexer_kv_heads": 1,
        "indexer_head_dim": HEAD_WIDTH,
        "indexer_budget": 8,
        "indexer_compress_ratio": 2,
    },
    "DiffusionGemmaText": {"num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 48},
    "Granite4Vision": {"downsample_rate": "1/2", "deepstack_layer_map": [[-2, 0]]},
    "CohereCompassText": {
        "rope_parameters": {
            "full_attention": {
                "rope_type": "default",
                "rope_theta": 1e4,
                "mrope_section": [3, 3, 2],
            }
        }
    },
    "PaddleOCRText": {
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 1e4,
            "mrope_section": [3, 3, 2],
        }
    },
    "Dbrx": {"attn_config": {"kv_n_heads": 2, "clip_qkv": 8, "rope_theta": 1e4}},
    "Xmod": {"default_language": "en_XX"},
    "Reformer": {"is_decoder": True, "axial_pos_embds_dim": [32, 32]},
    "Qwen3OmniMoeTalkerText": {"shared_expert_intermediate_size": 48},
    "Qwen3OmniMoeTalker": {"spatial_merge_size": 2},
    # Sizes that must go together.
    "LongcatFlash": {"head_dim": HEAD_WIDTH // 2},
    "Dory": {"n_input_layers": 1, "n_output_layers": 1},
    "Gemma3nText": {
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "num_kv_shared_layers": 2,
    },
    "Zamba": {"layers_block_type": ["linear_attention", "hybrid"] * 2},
    "Dots3NoteText": {
        "per_layer_config": {
            layer: {
                "num_attention_heads": HEADS,
                "num_key_value_heads": HEADS,
                "q_lora_rank": 16,
                "kv_lora_rank": 16,
                "head_dim": 16,
                "qk_nope_head_dim": 8,
                "qk_rope_head_dim": 8,
                "v_head_dim": 16,
            }
            for layer in range(LAYERS)
        }
    },
    "MuseSparkAudio": {"patch_sizes": [4, 2], "hidden_sizes": [16, 32], "depths": [1, 1]},
    "Molmo2Adapter": {"vision_feature_layer": [-1, -2]},
    "FunAsrNanoAdaptor": {"intermediate_size": WIDTH // 4},
    "WavTokenizerEncoder": {"codebook_dim": WIDTH, "codebook_size": 32},
    "Apertus1p5VisionTokenizer": {"codebook_size": 32, "base_channels": 32},
    "Apertus1p5": {"image_token_offset": 400, "audio_token_offset": 432},
    "Mimi": {"upsample_groups": WIDTH},
    "Emu3": {"vocabulary_map": {"<image>": 500, "<|visual token 000000|>": 501}},
    "InklingVision": {"num_hidden_layers": 4, "patch_size": 8},
    "KyutaiSpeechToText": {"audio_pad_token_id": 0},
    "Nemotron3_5TranscribeWordTimestamp": {"blank_token_id": 0},
    "VibeVoiceAcousticTokenizerEncoder": {"num_filters": 2},
    "Qwen2_5Omni": {"enable_audio_output": False},
    "Qwen3OmniMoe": {"enable_audio_output": False},
}
"""By the name of the configuration's class: what the rules do not find."""


def kinds() -> list[str]:
    """The types that transformers has a class for which predicts text tokens."""
    return sorted({*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, *MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES})


def class_name(kind: str) -> str:
    """The class that a type's downloads are of: one that reads all that the type reads."""
    named = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES | MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES
    return str(named[kind])


def small_config(kind: str) -> PreTrainedConfig:
    """The type's own configuration, with everything in it that costs made small."""
    if kind in _ASSISTANTS:
        return CONFIG_MAPPING[kind](text_config=_ASSISTANTS[kind], backbone_hidden_size=WIDTH)
    default = CONFIG_MAPPING[kind]()
    return _small(default, default.get_text_config(decoder=True))


def small_model(kind: str) -> PreTrainedModel:
    """A tiny model of a type, ready to run, its weights drawn so that each layer does something.

    Raises:
        Exception: transformers cannot make it; the type says why.
    """
    config = small_config(kind)
    make = getattr(transformers, class_name(kind))._from_config
    with torch.device("meta"):
        size = sum(parameter.numel() for parameter in make(config).parameters())
    if size > _MOST_PARAMETERS:
        raise ValueError(f"{size:,} parameters are too many for a tiny model")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = make(config, dtype=torch.float32)
    draw_weights(model, seed=0)
    return model.eval().requires_grad_(False)


def small_folder(parent: Path, kind: str) -> Path:
    """A folder such as one downloads: a tiny model of a type and a tokenizer that fits it."""
    folder = parent / f"tiny-{kind}"
    small_model(kind).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def _small(default: Any, text: Any) -> Any:
    """A configuration made small; `text` is the part of it that reads text."""
    plain = vars(type(default)())
    declared = {field.name: field for field in dataclasses.fields(default)}
    fields = {name: value for name, value in vars(default).items() if not name.startswith("_")}
    depth = getattr(default, "num_hidden_layers", None)
    is_text = default is text and isinstance(depth, int)
    per_layer = {
        name: value
        for name, value in fields.items()
        if isinstance(value, list | tuple) and len(value) == depth
    }
    kept = _kept(per_layer, depth) if is_text else [*range(TOWER_LAYERS)]
    given: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, PreTrainedConfig):
            given[name] = _small(value, text)
            continue
        chosen = value != plain.get(name)
        derived = not chosen and (name not in declared or declared[name].default is None)
        size = _at_most(name, value)
        if name in per_layer:
            if len({str(of_layer) for of_layer in value}) > 1:
                given[name] = [value[layer] for layer in kept]
        elif name == "pad_token_id" and isinstance(value, int) and value >= VOCAB:
            given[name] = 0
        elif derived or name == "rope_parameters" or name.endswith(("token_id", "token_index")):
            continue
        elif name == "num_key_value_heads" and value == fields.get("num_attention_heads"):
            given[name] = HEADS
        elif size is not None:
            given[name] = size
        elif chosen:
            given[name] = value
    if is_text:
        alias = getattr(default, "attribute_map", {}).get("num_hidden_layers", "num_hidden_layers")
        given[alias] = len(kept)
    if rope := fields.get("rope_parameters"):
        given["rope_parameters"] = _small_rope(rope, default, given)
    needed = _NEEDED.get(type(default).__name__.removesuffix("Config"), {})
    return type(default)(**given | needed)


def _at_most(name: str, value: Any) -> int | None:
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    found = [size for pattern, size in _AT_MOST.items() if re.fullmatch(pattern, name)]
    return min(value, found[-1]) if found else None


def _kept(per_layer: dict[str, Any], depth: int) -> list[int]:
    """Layers of every kind that there is, and as many others as make up the number."""
    first: dict[str, int] = {}
    for layer in range(depth):
        first.setdefault(str([value[layer] for value in per_layer.values()]), layer)
    kept = [*first.values()][:_MOST_KINDS]
    others = [layer for layer in range(depth) if layer not in kept]
    missing = max(0, LAYERS - len(kept))
    return sorted(kept + others[len(others) - missing :])


def _small_rope(rope: Any, default: Any, given: dict[str, Any]) -> Any:
    """Rotary parameters whose lists fit the small heads."""
    if not isinstance(rope, dict):
        return rope
    if "rope_type" not in rope:
        return {kind: _small_rope(value, default, given) for kind, value in rope.items()}
    head = given.get("qk_rope_head_dim") or given.get("head_dim", HEAD_WIDTH)
    pairs = int(head * rope.get("partial_rotary_factor", 1.0)) // 2
    small = dict(rope)
    if "mrope_section" in {*rope, *(type(default).ignore_keys_at_rope_validation or ())}:
        small["mrope_section"] = [pairs // 3 + (part < pairs % 3) for part in range(3)]
    for name in ("short_factor", "long_factor"):
        if rope.get(name):
            small[name] = rope[name][:pairs]
    return small
