"""Tiny causal language models with random weights, one for each architecture.

Every model is seeded, float32 and small enough to run in milliseconds. Its
weights are drawn anew with a spread large enough that each layer visibly moves
the residual stream, norms differ from one and biases from zero: what a model
fresh from its configuration would hide.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from tests.looped_models import InjectedModel, LoopedForCausalLM, NormedModel

VOCAB = 128
LAYERS = 4
HIDDEN = 32

HOSTILE_PIECES = (
    "[/]",
    "[bold]",
    "[/red",
    "\x1b[31m",
    "\x1b]0;title\x07",
    "\u202eright",
    "\u200b",
    "日本",
    "🙂",
    "👩‍👩‍👧",
    "שלום",
    "مرحبا",
)

CORPUS = (
    "The river was high after a week of rain, and the ferry did not run.",
    "Seven plus five is twelve, and twelve minus five is seven.",
    "She wound the clock, closed the shutters and went up to bed.",
    "Ein Bäcker steht früh auf, weil das Brot um sieben fertig sein soll.",
    "日本の朝は早い。東京は大きい。",
    "def square(x):\n    return x * x\n\n\tprint(square(12))",
)

CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def _build(config_class: str, **settings: Any) -> PreTrainedModel:
    config = getattr(transformers, config_class)(
        **{"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, **settings}
    )
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32)


def _llama_like(config_class: str, **settings: Any) -> Callable[[], PreTrainedModel]:
    """A model whose configuration uses the names that Llama introduced."""
    common = {
        "vocab_size": VOCAB,
        "hidden_size": HIDDEN,
        "intermediate_size": 48,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
    }
    return functools.partial(_build, config_class, **{**common, **settings})


def _other(config_class: str, **settings: Any) -> Callable[[], PreTrainedModel]:
    return functools.partial(_build, config_class, **{"vocab_size": VOCAB, **settings})


_EXPERTS = {"moe_intermediate_size": 24, "num_experts": 4, "num_experts_per_tok": 2}
_LINEAR_ATTENTION = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_conv_kernel_dim": 4,
    "head_dim": 16,
    "layer_types": ["linear_attention", "full_attention"] * 2,
}
_MAMBA = {
    "mamba_n_heads": 8,
    "mamba_d_head": 8,
    "mamba_n_groups": 1,
    "mamba_d_state": 8,
    "mamba_chunk_size": 8,
}
_LATENT_ATTENTION = {
    "num_key_value_heads": 4,
    "moe_intermediate_size": 24,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "v_head_dim": 8,
}
_HYPER_CONNECTIONS = {
    "num_key_value_heads": 4,
    "head_dim": 16,
    "moe_intermediate_size": 24,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "q_lora_rank": 16,
    "index_topk": 6,
    "index_n_heads": 8,
    "index_head_dim": 16,
    "hc_mult": 4,
}
_SLIDING = {"layer_types": ["sliding_attention", "full_attention"] * 2, "sliding_window": 6}
_GEMMA4 = {
    "head_dim": 8,
    "global_head_dim": 8,
    "hidden_size_per_layer_input": 8,
    "vocab_size_per_layer_input": VOCAB,
    **_SLIDING,
}
_INKLING2 = {
    "n_layers_per_attn_res_block": 2,
    "swa_num_attention_heads": 4,
    "swa_num_key_value_heads": 2,
    "head_dim": 8,
    "swa_head_dim": 8,
    "sliding_window_size": 6,
    "d_rel": 4,
    "rel_extent": 16,
    "intermediate_size": 24,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "layer_types": ["hybrid_sliding", "hybrid"] * 3,
    "unpadded_vocab_size": VOCAB,
}
_FALCON = {"hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "num_attention_heads": 4}
_OPT = {
    "hidden_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "ffn_dim": 48,
    "max_position_embeddings": 256,
}


def _looped(kind: type[NormedModel]) -> Callable[[], PreTrainedModel]:
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=HIDDEN,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        pad_token_id=0,
    )
    return functools.partial(LoopedForCausalLM, config, kind)


TINY: dict[str, Callable[[], PreTrainedModel]] = {
    "llama": _llama_like("LlamaConfig"),
    "llama_tied": _llama_like("LlamaConfig", tie_word_embeddings=True, attention_bias=True),
    "qwen2": _llama_like("Qwen2Config"),
    "qwen3": _llama_like("Qwen3Config", head_dim=16),
    "mistral": _llama_like("MistralConfig", sliding_window=6),
    "phi": _llama_like("PhiConfig", partial_rotary_factor=0.5),
    "phi3": _llama_like("Phi3Config"),
    "phi3_longrope": _llama_like(
        "Phi3Config",
        original_max_position_embeddings=12,
        rope_parameters={
            "rope_type": "longrope",
            "rope_theta": 10000.0,
            "short_factor": [1.0, 1.0, 1.0, 1.0],
            "long_factor": [3.0, 5.0, 8.0, 12.0],
            "original_max_position_embeddings": 12,
        },
    ),
    "smollm3": _llama_like("SmolLM3Config"),
    "cohere": _llama_like("CohereConfig", logit_scale=0.25, use_qk_norm=True),
    "cohere2": _llama_like("Cohere2Config", logit_scale=0.25, head_dim=8, **_SLIDING),
    "stablelm": _llama_like("StableLmConfig", use_qkv_bias=True),
    "stablelm_parallel": _llama_like("StableLmConfig", use_parallel_residual=True),
    "mixtral": _llama_like("MixtralConfig", num_local_experts=4, num_experts_per_tok=2),
    "qwen2_moe": _llama_like("Qwen2MoeConfig", shared_expert_intermediate_size=24, **_EXPERTS),
    "qwen3_moe": _llama_like("Qwen3MoeConfig", head_dim=16, **_EXPERTS),
    "gpt_oss": _llama_like(
        "GptOssConfig", num_local_experts=4, num_experts_per_tok=2, head_dim=16, **_SLIDING
    ),
    "gpt2": _other("GPT2Config", n_embd=HIDDEN, n_layer=LAYERS, n_head=4, n_positions=256),
    "gptj": _other(
        "GPTJConfig", n_embd=HIDDEN, n_layer=LAYERS, n_head=4, n_positions=256, rotary_dim=4
    ),
    "gpt_neox": _llama_like("GPTNeoXConfig", use_parallel_residual=True),
    "gpt_neox_sequential": _llama_like("GPTNeoXConfig", use_parallel_residual=False),
    "gpt_neo": _other(
        "GPTNeoConfig",
        hidden_size=HIDDEN,
        num_layers=LAYERS,
        num_heads=4,
        attention_types=[[["global", "local"], 2]],
        window_size=6,
        max_position_embeddings=256,
    ),
    "gpt_bigcode": _other(
        "GPTBigCodeConfig", n_embd=HIDDEN, n_layer=LAYERS, n_head=4, n_positions=256
    ),
    "codegen": _other(
        "CodeGenConfig", n_embd=HIDDEN, n_layer=LAYERS, n_head=4, n_positions=256, rotary_dim=4
    ),
    "starcoder2": _llama_like("Starcoder2Config"),
    "gemma": _llama_like("GemmaConfig", head_dim=8),
    "gemma2": _llama_like("Gemma2Config", head_dim=8, query_pre_attn_scalar=8, **_SLIDING),
    "gemma3": _llama_like("Gemma3TextConfig", head_dim=8, query_pre_attn_scalar=8, **_SLIDING),
    "olmo": _llama_like("OlmoConfig"),
    "olmo2": _llama_like("Olmo2Config"),
    "olmo3": _llama_like("Olmo3Config", **_SLIDING),
    "olmoe": _llama_like("OlmoeConfig", num_experts=4, num_experts_per_tok=2),
    "glm": _llama_like("GlmConfig", head_dim=8),
    "glm4": _llama_like("Glm4Config", head_dim=8),
    "qwen3_5": _llama_like("Qwen3_5TextConfig", **_LINEAR_ATTENTION),
    "qwen3_next": _llama_like(
        "Qwen3NextConfig", shared_expert_intermediate_size=24, **_LINEAR_ATTENTION, **_EXPERTS
    ),
    "falcon": _other("FalconConfig", parallel_attn=True, bias=True, **_FALCON),
    "falcon_new": _other(
        "FalconConfig", new_decoder_architecture=True, num_kv_heads=2, bias=True, **_FALCON
    ),
    "falcon_sequential": _other(
        "FalconConfig", parallel_attn=False, multi_query=False, alibi=True, bias=True, **_FALCON
    ),
    "bloom": _other("BloomConfig", hidden_size=HIDDEN, n_layer=LAYERS, n_head=4),
    "opt": _other("OPTConfig", word_embed_proj_dim=HIDDEN, **_OPT),
    "opt_post_norm": _other(
        "OPTConfig", word_embed_proj_dim=16, do_layer_norm_before=False, **_OPT
    ),
    "mpt": _other("MptConfig", d_model=HIDDEN, n_layers=LAYERS, n_heads=4, max_seq_len=256),
    "granite": _llama_like(
        "GraniteConfig",
        residual_multiplier=0.4,
        embedding_multiplier=3.0,
        logits_scaling=0.5,
        attention_multiplier=0.3,
    ),
    "granite_moe": _llama_like(
        "GraniteMoeConfig", num_local_experts=4, num_experts_per_tok=2, residual_multiplier=0.4
    ),
    "nemotron": _llama_like("NemotronConfig"),
    "persimmon": _llama_like("PersimmonConfig"),
    "arcee": _llama_like("ArceeConfig"),
    "helium": _llama_like("HeliumConfig", head_dim=8),
    "ernie4_5": _llama_like("Ernie4_5Config"),
    "exaone4": _llama_like("Exaone4Config", **_SLIDING),
    "seed_oss": _llama_like("SeedOssConfig", head_dim=8),
    "apertus": _llama_like("ApertusConfig"),
    "phimoe": _llama_like("PhimoeConfig", num_local_experts=4, num_experts_per_tok=2),
    "deepseek_v3": _llama_like("DeepseekV3Config", **_LATENT_ATTENTION),
    "deepseek_v32": _llama_like(
        "DeepseekV32Config",
        index_topk=6,
        index_n_heads=8,
        index_head_dim=16,
        **_LATENT_ATTENTION,
    ),
    "openai_gpt": _other(
        "OpenAIGPTConfig", n_embd=HIDDEN, n_layer=LAYERS, n_head=4, n_positions=256
    ),
    "biogpt": _llama_like("BioGptConfig"),
    "xglm": _other(
        "XGLMConfig",
        d_model=HIDDEN,
        num_layers=LAYERS,
        attention_heads=4,
        ffn_dim=48,
        max_position_embeddings=256,
    ),
    "afmoe": _llama_like(
        "AfmoeConfig",
        num_dense_layers=1,
        head_dim=8,
        num_shared_experts=1,
        global_attn_every_n_layers=2,
        sliding_window=6,
        **_EXPERTS,
    ),
    "hyperclovax": _llama_like(
        "HyperCLOVAXConfig", use_post_norm=True, residual_multiplier=0.7, logits_scaling=0.5
    ),
    "gemma4": _llama_like("Gemma4TextConfig", num_kv_shared_layers=0, **_GEMMA4),
    "minimax": _llama_like(
        "MiniMaxConfig",
        num_local_experts=4,
        num_experts_per_tok=2,
        head_dim=8,
        block_size=4,
        layer_types=["linear_attention", "full_attention"] * 2,
    ),
    "lfm2": _llama_like(
        "Lfm2Config",
        block_auto_adjust_ff_dim=False,
        layer_types=["conv", "full_attention"] * 2,
    ),
    "lfm2_moe": _llama_like(
        "Lfm2MoeConfig",
        num_dense_layers=1,
        layer_types=["conv", "full_attention"] * 2,
        **_EXPERTS,
    ),
    "recurrent_gemma": _llama_like(
        "RecurrentGemmaConfig",
        num_key_value_heads=1,
        lru_width=HIDDEN,
        attention_window_size=8,
        head_dim=8,
        block_types=("recurrent", "attention"),
    ),
    "bamba": _llama_like("BambaConfig", attn_layer_indices=[1, 3], mamba_d_conv=4, **_MAMBA),
    "granite_hybrid": _llama_like(
        "GraniteMoeHybridConfig",
        num_local_experts=4,
        num_experts_per_tok=2,
        residual_multiplier=0.4,
        shared_intermediate_size=24,
        layer_types=["linear_attention", "full_attention"] * 2,
        **_MAMBA,
    ),
    "falcon_h1": _llama_like(
        "FalconH1Config",
        mamba_d_ssm=64,
        attention_out_multiplier=0.7,
        ssm_out_multiplier=1.3,
        lm_head_multiplier=0.5,
        **_MAMBA,
    ),
    "mamba": _other(
        "MambaConfig", hidden_size=HIDDEN, num_hidden_layers=LAYERS, state_size=8, time_step_rank=4
    ),
    "deepseek_v4": _llama_like(
        "DeepseekV4Config",
        **{**_HYPER_CONNECTIONS, "num_key_value_heads": 1},
        o_groups=2,
        o_lora_rank=8,
        layer_types=[
            "sliding_attention",
            "compressed_sparse_attention",
            "heavily_compressed_attention",
            "compressed_sparse_attention",
        ],
        mlp_layer_types=["hash_moe", "moe", "moe", "moe"],
        sliding_window=6,
    ),
    "hy_v4": _llama_like(
        "HYV4Config",
        kv_lora_rank=16,
        qk_nope_head_dim=8,
        qk_rope_head_dim=8,
        v_head_dim=8,
        **{**_HYPER_CONNECTIONS, "index_topk": 64},
    ),
}
"""How to build each model; `tiny` also draws its weights."""

WITHOUT_SPLIT = {"deepseek_v4", "hy_v4", "mamba", "minimax", "openai_gpt", "opt_post_norm"}
"""Of these, what attention and MLP write does not add up to the layer's change."""


OTHERS: dict[str, Callable[[], PreTrainedModel]] = {
    "looped": _looped(NormedModel),
    "looped_injected": _looped(InjectedModel),
    "dory": _llama_like(
        "DoryConfig",
        num_hidden_layers=5,
        head_dim=8,
        n_input_layers=1,
        n_recurrent_layers=3,
        n_output_layers=1,
        n_recurrent_loops=2,
        layer_types=["sliding_attention", "full_attention"] * 2 + ["full_attention"],
        sliding_window=6,
    ),
    "hrm_text": _llama_like(
        "HrmTextConfig",
        num_hidden_layers=2,
        H_cycles=2,
        L_cycles=2,
        num_key_value_heads=4,
        head_dim=8,
    ),
    "inkling2": _llama_like("Inkling2TextConfig", num_hidden_layers=6, **_INKLING2),
    "inkling2_loop": _llama_like(
        "Inkling2LoopTextConfig",
        num_hidden_layers=6,
        loop_layer_index_start=2,
        loop_layer_index_end=4,
        loop_num_passes=3,
        loop_gate_rank=8,
        **_INKLING2,
    ),
    "gemma4_shared": _llama_like("Gemma4TextConfig", num_kv_shared_layers=2, **_GEMMA4),
}
"""Models that do not have all that depthtui measures, for tests of their own."""


FEW = ("llama", "gemma2", "qwen3_next")
"""A plain model, norms behind each part, a hybrid with experts."""


def on_few_models(names: Iterable[str] = TINY, few: Iterable[str] = FEW) -> pytest.MarkDecorator:
    """Models that differ for a metric, the others by hand.

    Tracing, replaying and decoding are tested on every model: a metric runs on top of these.
    """
    return pytest.mark.parametrize(
        "name",
        [
            name if name in few else pytest.param(name, marks=pytest.mark.by_hand)
            for name in sorted(names)
        ],
    )


@functools.cache
def tiny(name: str) -> PreTrainedModel:
    """The tiny model of that name, ready to run; the same object each time in a process."""
    return fresh(name)


def fresh(name: str) -> PreTrainedModel:
    """A new copy of `tiny(name)` with the same weights, for tests that change them."""
    seed = zlib.crc32(name.encode())
    with torch.random.fork_rng(devices=[]):
        # What is drawn anew is added to some of the weights that the architecture draws itself.
        torch.manual_seed(seed)
        model = (TINY | OTHERS)[name]()
    draw_weights(model, seed)
    return model.eval().requires_grad_(False)


def draw_weights(model: PreTrainedModel, seed: int) -> None:
    """Draw a model's weights anew, so that each layer visibly moves the residual stream."""
    noise = torch.Generator().manual_seed(seed)
    for name, table in model.named_buffers():
        if name.endswith("tid2eid"):
            # The experts of each token, where no router chooses them.
            table.copy_(torch.randint(4, table.shape, generator=noise))
    embeddings = _weight_of(model.get_input_embeddings)
    head = _weight_of(model.get_output_embeddings)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            drawn = torch.randn(parameter.shape, generator=noise)
            if parameter is embeddings:
                parameter.copy_(drawn * 0.35)
            elif parameter.dim() >= 2 and "A_log" not in name:
                gain = 2.0 if parameter is head else 1.0
                parameter.copy_(drawn * gain * parameter.shape[-1] ** -0.5)
            elif name.endswith("bias"):
                parameter.copy_(drawn * 0.1)
            else:
                parameter.add_(drawn * 0.2)


def _weight_of(module: Callable[[], Any]) -> Any:
    """The weight of a module that a model may not have."""
    try:
        return getattr(module(), "weight", None)
    except NotImplementedError:
        return None


def random_ids(tokens: int = 12, seed: int = 0) -> torch.Tensor:
    """Token ids `[1, tokens]` that every tiny model can read."""
    noise = torch.Generator().manual_seed(seed)
    return torch.randint(3, VOCAB, (1, tokens), generator=noise)


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level tokenizer trained here and now, with hostile pieces in its vocabulary."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|pad|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    core.train_from_iterator(CORPUS, trainer)
    core.add_tokens(list(HOSTILE_PIECES))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<|pad|>",
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def with_tokenizer(name: str) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """The tiny model with room for each token of a tokenizer, and that tokenizer."""
    tokenizer = tiny_tokenizer()
    model = fresh(name)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    for module in model.modules():
        if (table := getattr(module, "tid2eid", None)) is not None:
            module.tid2eid = table.new_zeros(len(tokenizer), table.shape[1])
    draw_weights(model, seed=zlib.crc32(name.encode()))
    return model, tokenizer


def tiny_folder(parent: Path, name: str = "llama") -> Path:
    """A folder such as one downloads: the tiny model's weights and a tokenizer that fits it."""
    model, tokenizer = with_tokenizer(name)
    folder = parent / f"tiny-{name}"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
