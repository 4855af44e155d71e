"""Which model, and what it is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from depthtui.data.run_settings import ModelSpec, Skip

PART_TITLES = {"layer": "layer", "attention": "attention", "mlp": "MLP"}
"""The parts of a block that can be left out, and what people call them."""


@dataclass(frozen=True)
class ModelInfo:
    """A loaded model.

    Attributes:
        spec: what was asked for.
        name: a short name to show, such as `SmolLM2-135M-Instruct`.
        source: where the weights are, in words.
        revision: the hub commit, or empty.
        architecture: the class name, such as `LlamaForCausalLM`.
        n_layers: L.
        d_model: width of the residual stream.
        vocab_size: number of logits.
        parameters: number of parameters.
        context_length: longest prompt in tokens; 0 where unknown.
        dtype: of the weights in memory, such as `bfloat16`.
        device: such as `cpu` or `cuda:0, cuda:1`.
        quantize: empty, `8bit` or `4bit`.
        fingerprint: a hash that changes with the weights.
        memory_bytes: what the weights take.
        has_chat_template: whether the tokenizer brings a chat template.
        parallel: attention and MLP read the same input, so the MLP's
            contribution is relative to `h` and not to `h + a`.
        split_missing: why the attention/MLP split is unavailable, or empty.
        lens_missing: why the logit lens is unavailable, or empty.
        layer_parameters: how many parameters each layer holds; empty where unknown.
        attention_parameters, mlp_parameters: how many of these work for its attention or its
            MLP alone; empty where unknown.
    """

    spec: ModelSpec
    name: str
    source: str
    revision: str
    architecture: str
    n_layers: int
    d_model: int
    vocab_size: int
    parameters: int
    context_length: int
    dtype: str
    device: str
    quantize: str = ""
    fingerprint: str = ""
    memory_bytes: int = 0
    has_chat_template: bool = False
    parallel: bool = False
    split_missing: str = ""
    lens_missing: str = ""
    layer_parameters: tuple[int, ...] = ()
    attention_parameters: tuple[int, ...] = ()
    mlp_parameters: tuple[int, ...] = ()

    def is_same_as(self, other: ModelInfo) -> bool:
        """Whether runs of both have the same values: weights, dtype and device are the same."""
        asked = replace(self, spec=other.spec, memory_bytes=other.memory_bytes)
        return asked == other

    def parameters_of(self, skipped: Iterable[Skip]) -> int | None:
        """How many parameters a run without these does not use; None where unknown."""
        held = {
            "layer": self.layer_parameters,
            "attention": self.attention_parameters,
            "mlp": self.mlp_parameters,
        }
        skipped = tuple(skipped)
        if not all(held[skip.part] for skip in skipped):
            return None
        return sum(held[skip.part][skip.layer] for skip in skipped)
