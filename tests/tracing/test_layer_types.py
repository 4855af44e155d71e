"""The type of each layer, by its configuration and its parameters."""

import pytest
import torch
import transformers
from torch import nn
from transformers import AutoModelForCausalLM

from depthtui.tracing.layer_types import _has_experts, layer_types
from depthtui.tracing.modules import find_blocks
from tests.tiny_models import TINY, tiny

TWO = {
    "afmoe": ("sliding attention, dense", "full attention, experts"),
    "bamba": ("mamba", "full attention"),
    "cohere2": ("sliding attention", "full attention"),
    "deepseek_v3": ("dense", "experts"),
    "deepseek_v32": ("dense", "experts"),
    "deepseek_v4": ("sliding attention", "compressed sparse attention"),
    "exaone4": ("sliding attention", "full attention"),
    "gemma2": ("sliding attention", "full attention"),
    "gemma3": ("sliding attention", "full attention"),
    "gemma4": ("sliding attention", "full attention"),
    "gpt_neo": ("full attention", "sliding attention"),
    "gpt_oss": ("sliding attention", "full attention"),
    "granite_hybrid": ("mamba", "full attention"),
    "hy_v4": ("dense", "experts"),
    "lfm2": ("convolution", "full attention"),
    "lfm2_moe": ("convolution, dense", "full attention, experts"),
    "minimax": ("linear attention", "full attention"),
    "olmo3": ("sliding attention", "full attention"),
    "qwen3_5": ("linear attention", "full attention"),
    "qwen3_next": ("linear attention", "full attention"),
    "recurrent_gemma": ("recurrent", "sliding attention"),
}
"""The types of the first two layers."""

THIRD = {
    "afmoe": "sliding attention, experts",
    "deepseek_v3": "experts",
    "deepseek_v32": "experts",
    "deepseek_v4": "heavily compressed attention",
    "hy_v4": "experts",
    "lfm2_moe": "convolution, experts",
}
"""The type of the third layer where it is not that of the first."""

FOURTH = {"deepseek_v3": "experts", "deepseek_v32": "experts", "hy_v4": "experts"}

_FEW_EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 24}
MORE = {
    "JambaConfig": (
        {
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "attn_layer_period": 4,
            "attn_layer_offset": 2,
            "mamba_d_state": 8,
            "use_mamba_kernels": False,
        },
        ("mamba, dense", "mamba, experts", "full attention, dense", "mamba, experts"),
    ),
    "Zamba2Config": (
        {
            "layers_block_type": ["mamba", "hybrid", "mamba", "mamba"],
            "mamba_d_state": 8,
            "n_mamba_heads": 8,
            "mamba_headdim": 8,
            "mamba_ngroups": 1,
            "num_mem_blocks": 1,
        },
        ("mamba", "attention and mamba", "mamba", "mamba"),
    ),
    "NemotronHConfig": (
        {
            "layers_block_type": ["mamba", "attention", "mlp", "moe"],
            "n_routed_experts": 4,
            "mamba_num_heads": 8,
            "mamba_head_dim": 8,
            "n_groups": 1,
            "ssm_state_size": 8,
            "moe_shared_expert_intermediate_size": 24,
            "n_group": 1,
            "topk_group": 1,
            **_FEW_EXPERTS,
        },
        ("mamba", "full attention", "MLP", "experts"),
    ),
    "Llama4TextConfig": (
        {
            "interleave_moe_layer_step": 2,
            "num_local_experts": 4,
            "head_dim": 8,
            "intermediate_size_mlp": 48,
            "layer_types": ["chunked_attention"] * 3 + ["full_attention"],
        },
        (
            "chunked attention, dense",
            "chunked attention, experts",
            "chunked attention, dense",
            "full attention, experts",
        ),
    ),
    "Qwen2MoeConfig": (
        {
            "decoder_sparse_step": 2,
            "num_experts": 4,
            "shared_expert_intermediate_size": 24,
            **_FEW_EXPERTS,
        },
        ("dense", "experts", "dense", "experts"),
    ),
}
"""Settings of models that `tests.tiny_models` does not have, and the types of their layers."""


def types_of(model):
    return layer_types(model, find_blocks(model))


@pytest.mark.parametrize("name", TINY)
def test_each_architecture(name):
    if name not in TWO:
        assert types_of(tiny(name)) == (), "all layers are alike"
        return
    first, second = TWO[name]
    third = THIRD.get(name, first)
    assert types_of(tiny(name)) == (first, second, third, FOURTH.get(name, second))


@pytest.mark.parametrize("name", MORE)
def test_models_that_are_built_here_alone(name):
    settings, expected = MORE[name]
    common = {
        "vocab_size": 64,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }
    config = getattr(transformers, name)(**common, **settings)
    assert types_of(AutoModelForCausalLM.from_config(config)) == expected


def test_a_stack_of_gates_is_no_expert():
    """Convolutions and block-diagonal gates are stacks of matrices too."""
    layer = nn.Module()
    layer.conv = nn.Conv1d(32, 32, 3, groups=32)
    layer.out = nn.Linear(32, 32)
    layer.gates = nn.Parameter(torch.zeros(4, 8, 8))
    layer.bias = nn.Parameter(torch.zeros(4, 8))
    assert not _has_experts(layer, 32)
    layer.router = nn.Linear(32, 4)
    assert _has_experts(layer, 32)
    layer.gates = None
    assert not _has_experts(layer, 32)
    layer.experts = nn.ModuleList(nn.Linear(32, 16) for _ in range(4))
    assert _has_experts(layer, 32)
