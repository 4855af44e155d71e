"""Files of states as vLLM's `extract_hidden_states` writes them, and a model that it has served."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from tests.naive import layer_ends
from tests.tiny_models import tiny_tokenizer

FROM_VLLM = Path(__file__).parent / "engine" / "vllm-0.32.0.safetensors"
"""What vLLM 0.32.0 wrote on a CPU, in bfloat16, of `served_model` and `IDS`."""

IDS = (1, 17, 42, 99, 3, 64, 23, 8, 77, 101, 5, 120)


@functools.cache
def served_model() -> PreTrainedModel:
    """A model of two layers whose heads are as wide as the narrowest that vLLM computes."""
    config = LlamaConfig(
        vocab_size=len(tiny_tokenizer()),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
        max_position_embeddings=256,
    )
    model = LlamaForCausalLM(config).eval()
    generator = torch.Generator().manual_seed(32)
    for parameter in model.parameters():
        drawn = torch.randn(parameter.shape, generator=generator)
        centre = 1.0 if parameter.dim() == 1 else 0.0
        parameter.data.copy_((centre + 0.2 * drawn).bfloat16())
    return model.requires_grad_(False)


def served_folder(parent: Path) -> Path:
    """That model and its tokenizer, as a folder."""
    folder = parent / "served-model"
    served_model().save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def states_of(model: PreTrainedModel, ids: Sequence[int]) -> list[Tensor]:
    """h_0 … h_L of a model, each `[T, d]` float64."""
    n_layers = model.config.num_hidden_layers
    tokens = torch.tensor(ids)[None]
    ends = [layer_ends(model, tokens, layer) for layer in range(n_layers)]
    return [torch.from_numpy(state) for state in (ends[0][0], *(after for _, after in ends))]


def write_states(
    path: Path, ids: Sequence[int], states: Sequence[Tensor], dtype: torch.dtype = torch.float32
) -> Path:
    """Write a file as vLLM does; `states` are `[T, d]` each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {
        "hidden_states": torch.stack(list(states), dim=1).to(dtype),
        "token_ids": torch.tensor(ids),
    }
    save_file(tensors, path)
    path.with_name(path.name + ".lock").touch()
    return path
