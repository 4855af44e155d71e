"""Merges a LoRA adapter into the weights of its base, by peft, and restores the base's own."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from depthtui.data.protocol import Progress
from depthtui.data.run_settings import ModelSpec
from depthtui.data.sentence import plural
from depthtui.errors import DepthError, first_line, short_repr
from depthtui.installing import install_extra
from depthtui.models.adapter_files import (
    Adapter,
    adapter_on_disk,
    read_adapter,
    read_adapter_config,
    resolve_adapter,
)
from depthtui.models.auto_class import auto_class
from depthtui.models.catalog import ADAPTER_WEIGHTS, MERGE_WITH_PEFT
from depthtui.models.free_space import free_memory
from depthtui.models.out_of_memory import is_out_of_memory
from depthtui.sizes import format_size

_ADAPTER = "default"
"""peft's name for the adapter while it is merged."""


def check_can_merge(spec: ModelSpec) -> None:
    """Check that an adapter can be merged.

    Raises:
        DepthError: peft is not installed, or the weights are to be quantised.
    """
    if spec.quantize:
        raise DepthError(
            "An adapter is merged into weights that are not quantised.",
            f"Leave --quantize out, or quantise the merged model. {MERGE_WITH_PEFT}",
        )
    if importlib.util.find_spec("peft") is None:
        raise DepthError(
            "Merging an adapter needs peft, which is not installed.",
            f"Install it: {install_extra('adapters')}",
        )


def local_adapter(name: str, progress: Callable[[Progress], None]) -> Adapter:
    """The adapter of a name, fetched where it is not on this disk.

    Raises:
        DepthError: it cannot be found, fetched or opened safely.
    """
    if (adapter := adapter_on_disk(name)) is not None:
        return adapter
    from depthtui.models.hub import fetch_adapter

    source = resolve_adapter(name)
    return read_adapter(source, fetch_adapter(source.location, progress, check=read_adapter_config))


def check_fits(adapter: Adapter, config: PreTrainedConfig, trust_remote_code: bool = False) -> None:
    """Check, before the base is loaded, that an adapter fits a model of this configuration.

    Raises:
        DepthError: it does not fit, some of its weights are no finite numbers, or the base's
            weights on disk are quantised.
    """
    if getattr(config, "quantization_config", None) is not None:
        raise DepthError(
            f"The base of {adapter.name} has quantised weights, into which nothing is merged.",
            "Name a base with weights in 16 or 32 bits.",
        )
    for name, weight in load_file(adapter.folder / ADAPTER_WEIGHTS).items():
        if not bool(torch.isfinite(weight).all()):
            raise DepthError(
                f"{adapter.name} holds weights that are no numbers, such as {name}.",
                "Its training may have failed: take an earlier checkpoint.",
            )
    with init_empty_weights():
        model = auto_class(config).from_config(config, trust_remote_code=trust_remote_code)
    model.tie_weights()
    _inject(model, adapter, without_values=True)


def merge(model: PreTrainedModel, adapter: Adapter) -> PreTrainedModel:
    """A model with an adapter's weights merged into its own, in their dtype and on their devices.

    Raises:
        DepthError: some of the model's weights are offloaded.
    """
    if any(weight.is_meta for weight in model.parameters()):
        raise DepthError(
            f"{adapter.name} cannot be merged: some layers of its base wait in main memory or on "
            "the disk.",
            "Use --device cpu, or a smaller dtype.",
        )
    peft_model = _inject(model, adapter)
    with _in_words(adapter):
        # As users of peft merge: a safe merge sums in another dtype, and rounds differently.
        merged: PreTrainedModel = peft_model.merge_and_unload().eval()
    return merged.requires_grad_(False)


def _inject(model: PreTrainedModel, adapter: Adapter, without_values: bool = False) -> Any:
    """peft's model of a base and an adapter, whose weights all match.

    Args:
        model: the base.
        adapter: the adapter.
        without_values: whether the base has weights without values.

    Raises:
        DepthError: weights are missing or left over, or it adapts one of two tied layers.
    """
    import peft

    tied = _tied_layers(model)
    with _in_words(adapter), torch.random.fork_rng(devices=[]):
        # No values are initialised from the weights of the base: the file has all of them.
        config = peft.LoraConfig(**adapter.lora, init_lora_weights=False, inference_mode=True)
        peft_model = peft.PeftModel(model, config, _ADAPTER, low_cpu_mem_usage=without_values)
        result = peft_model.load_adapter(
            str(adapter.folder),
            _ADAPTER,
            torch_device="cpu",
            low_cpu_mem_usage=without_values,
            key_mapping=getattr(model, "_checkpoint_conversion_mapping", {}),
        )
    for problem, names in (
        ("lacks", result.missing_keys),
        ("has no place in its base for", result.unexpected_keys),
    ):
        if names:
            weights = plural(len(names), "weight")
            raise DepthError(
                f"{adapter.name} {problem} {weights}, such as {min(names)}.",
                _another_base(adapter),
            )
    if any(hasattr(layer, "lora_A") for layer in _layers_at(model, tied)):
        raise DepthError(
            f"{adapter.name} adapts one of embedding and LM head, which are a single matrix here.",
            "Merging would change both: give the base a head of its own, and open the merged "
            "folder.",
        )
    return peft_model


def _tied_layers(model: PreTrainedModel) -> list[str]:
    """The names of embedding and LM head where they share their weights."""
    embedding = model.get_input_embeddings()
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    if head is None or getattr(head, "weight", None) is not getattr(embedding, "weight", head):
        return []
    return [name for name, module in model.named_modules() if module in (embedding, head)]


def _layers_at(model: nn.Module, names: list[str]) -> Iterator[nn.Module]:
    for name in names:
        yield model.get_submodule(name)


@contextmanager
def _in_words(adapter: Adapter) -> Iterator[None]:
    """Raise a sentence on the fault of an adapter, in place of peft's warnings and errors."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise DepthError(
            f"{adapter.name} cannot be merged into this base: {_first_error_line(error)}.",
            _another_base(adapter),
        ) from error


def _first_error_line(error: Exception) -> str:
    """The first line of an error; where torch lists weights of another shape, the first of them."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    sizes = next((line for line in lines if line.startswith("size mismatch")), None)
    return first_line(error if sizes is None else sizes)


def _another_base(adapter: Adapter) -> str:
    """A hint for an adapter that does not fit."""
    if adapter.base:
        return f"It was trained on {short_repr(adapter.base)}: name that model."
    return "Name the model that it was trained on."


class BaseWeights:
    """The weights of a base that an adapter has changed, to be put back for a while.

    They are read again when they are first needed, and kept on the CPU.

    Args:
        model: the model with the adapter merged.
        load: reads the base again, on the CPU, in the model's dtype.
    """

    def __init__(self, model: PreTrainedModel, load: Callable[[], PreTrainedModel]) -> None:
        self._model = model
        self._load = load
        self._base_weights: dict[str, Tensor] | None = None

    @contextmanager
    def put_back(self) -> Iterator[None]:
        """Give the model the base's own weights, bit for bit, and afterwards its merged ones.

        Raises:
            DepthError: there is too little memory for the base.
        """
        base_weights = self._changed()
        self._exchange(base_weights)
        try:
            yield
        finally:
            self._exchange(base_weights)

    def _exchange(self, base_weights: dict[str, Tensor]) -> None:
        for name, weight in base_weights.items():
            parameter = self._model.get_parameter(name)
            current = parameter.data
            parameter.data = weight.to(current.device)
            base_weights[name] = current.to("cpu")

    def _changed(self) -> dict[str, Tensor]:
        """The base's weights that differ from the merged ones, by name."""
        if self._base_weights is None:
            needed_bytes, free = self._model.get_memory_footprint(), free_memory()  # type: ignore[no-untyped-call]
            if needed_bytes > free:
                raise DepthError(
                    f"the base without the adapter takes {format_size(needed_bytes)} of memory, "
                    f"and {format_size(free)} are free"
                )
            # Tied weights have several names in the base, and one here where they are still tied.
            base = dict(self._load().named_parameters(remove_duplicate=False))
            self._base_weights = {
                name: base[name].detach()
                for name, merged in self._model.named_parameters()
                if not torch.equal(base[name], merged.to("cpu"))
            }
        return self._base_weights


def trained_on_another(adapter: Adapter, model: str) -> str:
    """A sentence on an adapter that names another base than the model; empty where it does not.

    The last parts of their names are compared: folders of a model lie anywhere.
    """
    if not adapter.base or Path(adapter.base).name.lower() == Path(model).name.lower():
        return ""
    return (
        f"{adapter.name} names {short_repr(adapter.base)} as its base, and was merged into {model}."
    )
