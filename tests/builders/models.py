"""Models as the engine would describe them."""

from __future__ import annotations

from dataclasses import replace

from depthtui.data.model import ModelInfo
from depthtui.data.run_settings import ModelSpec

LAYERS = 30
HEADS = 4
"""The heads of each layer."""


def model_info(spec: ModelSpec | None = None, layers: int = LAYERS, **changes: object) -> ModelInfo:
    """A model of the demo's size; `changes` are to its fields."""
    spec = spec or ModelSpec()
    name = "SmolLM2-135M-Instruct" if spec.name == "demo" else spec.name.rsplit("/", 1)[-1]
    info = ModelInfo(
        spec=spec,
        name=name,
        source="a scripted engine",
        revision=spec.revision,
        architecture="LlamaForCausalLM",
        n_layers=layers,
        d_model=576,
        vocab_size=49152,
        parameters=134_515_008,
        context_length=8192,
        dtype="float32",
        device="cpu",
        fingerprint="f" * 16,
        memory_bytes=538_060_032,
        has_chat_template=True,
        heads=HEADS,
        layer_parameters=(3_540_096,) * layers,
        attention_parameters=(885_312,) * layers,
        mlp_parameters=(2_654_784,) * layers,
    )
    return replace(info, **changes)  # type: ignore[arg-type]


def tiny_model(layers: int = 4, **changes: object) -> ModelInfo:
    """A small model that exists nowhere, of which little is known."""
    tiny: dict[str, object] = {
        "source": "made up",
        "architecture": "TinyForCausalLM",
        "d_model": 8,
        "vocab_size": 50,
        "parameters": 1_000,
        "context_length": 64,
        "fingerprint": "",
        "memory_bytes": 0,
        "has_chat_template": False,
        "layer_parameters": (),
        "attention_parameters": (),
        "mlp_parameters": (),
    }
    info = model_info(ModelSpec("nobody/tiny", dtype="float32"), layers, **tiny)
    return replace(info, **changes)  # type: ignore[arg-type]
