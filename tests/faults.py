"""Recordings of tiny models by plain hooks, and faults that are planted in one layer of a copy.

Nothing here uses depthtui. A fault is in the attention or in the MLP of a layer: the norm before a
part belongs to it.
"""

from __future__ import annotations

import copy
import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from tests.naive import blocks
from tests.tiny_models import TINY, draw_weights, random_ids

LAYERS = 6
TOKENS = 40
MODELS = ("llama", "mistral", "qwen2", "qwen3", "seed_oss")
"""Models of these have one name for each module; keys have as many heads as queries."""

Arrays = dict[str, Tensor]


def model_of(name: str, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """A seeded model of `MODELS`."""
    seed = zlib.crc32(f"faults of {name}".encode())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = TINY[name](num_hidden_layers=LAYERS, num_key_value_heads=4)
    draw_weights(model, seed)
    return in_dtype(model.eval().requires_grad_(False), dtype)


def in_dtype(model: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    """A copy in a dtype; frequencies of positions stay in float32, as after loading."""
    model = copy.deepcopy(model)
    tables = {name: table for name, table in model.named_buffers() if "inv_freq" in name}
    model = model.to(dtype)
    for name, table in tables.items():
        module, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(module), attribute, table)
    return model


def record(model: PreTrainedModel, ids: Tensor | None = None) -> Arrays:
    """What a pass of one prompt `[1, tokens]` makes: `state_{l}`, `{l}_attn`, `{l}_mlp`."""
    arrays: Arrays = {}

    def keep(name: str, values: object) -> None:
        first = values[0] if isinstance(values, tuple | list) else values
        arrays[name] = first.detach()[:1].clone()

    def keep_input(name: str) -> Callable[..., None]:
        return lambda _, inputs, options: keep(name, inputs or options["hidden_states"])

    def keep_output(name: str) -> Callable[..., None]:
        return lambda _, __, output: keep(name, output)

    handles = []
    for number, layer in enumerate(blocks(model)):
        handles += [
            layer.register_forward_pre_hook(keep_input(f"state_{number}"), with_kwargs=True),
            layer.register_forward_hook(keep_output(f"state_{number + 1}")),
        ]
        for name, part in (("attn", "self_attn"), ("mlp", "mlp")):
            if (module := getattr(layer, part, None)) is not None:
                handles.append(module.register_forward_hook(keep_output(f"{number}_{name}")))
    try:
        with torch.inference_mode():
            model(input_ids=random_ids(TOKENS) if ids is None else ids)
    finally:
        for handle in handles:
            handle.remove()
    return arrays


def write_npy(folder: Path, arrays: Arrays) -> Path:
    """A file for each array, in float32 where numpy has no such dtype."""
    folder.mkdir(parents=True)
    for name, values in arrays.items():
        np.save(folder / f"{name}.npy", _numpy(values))
    return folder


def write_safetensors(path: Path, arrays: Arrays) -> Path:
    """One file of all arrays."""
    save_file({name: values.contiguous() for name, values in arrays.items()}, path)
    return path


def _numpy(values: Tensor) -> np.ndarray:
    return (values.float() if values.dtype is torch.bfloat16 else values).numpy()


@dataclass(frozen=True)
class Fault:
    """A fault and its place.

    Attributes:
        kind: its name in `KINDS`.
        model: the name of the model.
        dtype: the dtype of both models.
        layer, part: its place, `attention` or `mlp`.
    """

    kind: str
    model: str
    dtype: torch.dtype
    layer: int
    part: str

    def recordings(self) -> tuple[Arrays, Arrays]:
        """The recordings without the fault, and with it by another attention."""
        model = model_of(self.model, self.dtype)
        model.set_attn_implementation("sdpa")
        sound = record(model)
        faulty = copy.deepcopy(model)
        faulty.set_attn_implementation("eager")
        KINDS[self.kind](faulty, faulty.model.layers[self.layer], self.part)
        return sound, record(faulty)


def draw_faults(count: int, seed: int) -> list[Fault]:
    """Faults of every kind in turn, at places drawn at random."""
    draw = random.Random(seed)
    return [
        Fault(
            kind,
            draw.choice(MODELS),
            draw.choice((torch.float32, torch.bfloat16)),
            draw.randrange(LAYERS),
            "attention" if kind == "rope base" else draw.choice(("attention", "mlp")),
        )
        for kind in (list(KINDS) * count)[:count]
    ]


def _rope_base(model: PreTrainedModel, layer: nn.Module, _part: str) -> None:
    rotary = copy.deepcopy(model.model.rotary_emb)
    width = 2 * len(rotary.inv_freq)
    rotary.inv_freq = 100.0 ** -(torch.arange(0, width, 2) / width)

    def exchange(_: nn.Module, inputs: tuple, options: dict) -> tuple[tuple, dict]:
        states = options["hidden_states"] if "hidden_states" in options else inputs[0]
        positions = torch.arange(states.shape[1])[None]
        return inputs, {**options, "position_embeddings": rotary(states, positions)}

    layer.self_attn.register_forward_pre_hook(exchange, with_kwargs=True)


def _norm_epsilon(_model: PreTrainedModel, layer: nn.Module, part: str) -> None:
    _norm(layer, part).variance_epsilon = 1.0


def _swapped_weights(_model: PreTrainedModel, layer: nn.Module, part: str) -> None:
    one, other = (
        (layer.self_attn.q_proj, layer.self_attn.k_proj)
        if part == "attention"
        else (layer.mlp.gate_proj, layer.mlp.up_proj)
    )
    one.weight, other.weight = other.weight, one.weight


def _missing_scale(_model: PreTrainedModel, layer: nn.Module, part: str) -> None:
    if part == "attention":
        layer.self_attn.scaling = 1.0
    else:
        nn.init.ones_(_norm(layer, part).weight)


def _other_dtype(model: PreTrainedModel, layer: nn.Module, part: str) -> None:
    coarse = torch.bfloat16 if model.dtype is torch.float32 else torch.float8_e5m2
    module = layer.self_attn if part == "attention" else layer.mlp
    for parameter in module.parameters():
        parameter.copy_(parameter.to(coarse).to(parameter.dtype))


def _norm(layer: nn.Module, part: str) -> nn.Module:
    return layer.input_layernorm if part == "attention" else layer.post_attention_layernorm


KINDS: dict[str, Callable[[PreTrainedModel, nn.Module, str], None]] = {
    "rope base": _rope_base,
    "norm epsilon": _norm_epsilon,
    "swapped weights": _swapped_weights,
    "missing scale": _missing_scale,
    "another dtype": _other_dtype,
}
