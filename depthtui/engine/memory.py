"""The memory that a run and its metrics need on each device, and the memory that is free."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import psutil
import torch
from torch import nn

from depthtui.data.model import ModelInfo
from depthtui.data.selection import numbers_text
from depthtui.errors import DepthError
from depthtui.metrics.costs import MemoryNeed, Sizes
from depthtui.metrics.spec import Metric
from depthtui.models.devices import execution_device
from depthtui.models.free_space import free_memory
from depthtui.parallel.agreements import least
from depthtui.sizes import format_size
from depthtui.tracing.activations import MEMORY_BYTES
from depthtui.tracing.anatomy import Anatomy

Rooms = Mapping[torch.device, int]
"""Bytes that are free, by device."""


def used_and_total(devices: Iterable[torch.device]) -> tuple[int, int]:
    """Bytes that this process uses on all of these devices, and their total memory."""
    used_bytes, total = zip(*(_used_and_total(device) for device in set(devices)), strict=True)
    return sum(used_bytes), sum(total)


def _used_and_total(device: torch.device) -> tuple[int, int]:
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device), torch.cuda.mem_get_info(device)[1]
    if device.type == "mps":
        return torch.mps.driver_allocated_memory(), torch.mps.recommended_max_memory()
    return psutil.Process().memory_info().rss, psutil.virtual_memory().total


def available(device: torch.device) -> int:
    """Bytes that a run can still allocate on a device; with several ranks, on the fullest."""
    return least("free memory", _available(device))


def _available(device: torch.device) -> int:
    if device.type == "cuda":
        reserved_free = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + reserved_free
    if device.type == "mps":
        # Memory is shared with the CPU; the driver allows a part of it.
        allocated = torch.mps.current_allocated_memory()
        return max(0, min(free_memory(), torch.mps.recommended_max_memory() - allocated))
    return free_memory()


@dataclass(frozen=True)
class Placement:
    """The devices on which a model computes.

    Attributes:
        layers: the device of each layer.
        head: the device of the LM head, or of the last layer where the head is not known.
    """

    layers: tuple[torch.device, ...]
    head: torch.device

    @classmethod
    def of(cls, anatomy: Anatomy) -> Placement:
        """The placement of a loaded model."""
        layers = tuple(execution_device(layer) for layer in anatomy.layers)
        if anatomy.unembedding is None:
            return cls(layers, layers[-1])
        return cls(layers, execution_device(anatomy.unembedding.head))

    @property
    def devices(self) -> tuple[torch.device, ...]:
        """All devices, in order and without repeats."""
        return tuple(dict.fromkeys((*self.layers, self.head)))

    def rooms(self) -> Rooms:
        """The free bytes of each device now."""
        return {device: available(device) for device in self.devices}

    def by_device(self, need: MemoryNeed) -> Rooms:
        """The bytes that a need takes on each device."""
        needs = dict.fromkeys(self.devices, 0)
        for device in set(self.layers):
            needs[device] += need.block
        for device, bytes_ in zip(self.layers, need.layers, strict=False):
            needs[device] += bytes_
        needs[self.layers[0]] += need.first
        needs[self.head] += need.head
        return needs

    def lacks(self, need: MemoryNeed, rooms: Rooms) -> torch.device | None:
        """A device with too little room for a need, or None."""
        needs = self.by_device(need)
        return next((device for device in self.devices if needs[device] > rooms[device]), None)


def sizes_of(model: nn.Module, info: ModelInfo, n_tokens: int, n_answer: int = 0) -> Sizes:
    """The sizes on which the memory of a run of this many tokens depends."""
    config = model.config.get_text_config()  # type: ignore[operator, union-attr]
    # A configuration whose layers have heads of several sizes raises for a single one.
    layers = [*config.per_layer_config] if getattr(config, "is_heterogeneous", False) else [config]
    heads = max(getattr(layer, "num_attention_heads", None) or 0 for layer in layers)
    kinds = getattr(config, "layer_types", None) or ["full_attention"]
    attention_layers = sum(kind in ("full_attention", "sliding_attention") for kind in kinds)
    cached_width = max(_cached_width(layer, info.d_model) for layer in layers)
    eager = getattr(config, "_attn_implementation", None) == "eager"
    return Sizes(
        layers=info.n_layers,
        tokens=n_tokens,
        answer=n_answer,
        width=info.d_model,
        vocabulary=info.vocab_size,
        item=4 if info.dtype == "float32" else 2,
        cached_width=cached_width * attention_layers // len(kinds),
        scores=heads if eager else 0,
        heads=heads,
        layer_parameters=max(info.layer_parameters, default=0),
    )


def _cached_width(config: Any, d_model: int) -> int:
    """Elements of keys, and equally many of values, that a layer caches per token."""
    heads = getattr(config, "num_attention_heads", None) or 0
    key_heads: int = getattr(config, "num_key_value_heads", None) or heads
    width: int = getattr(config, "head_dim", None) or (d_model // heads if heads else 0)
    return key_heads * width


def of_the_pass(sizes: Sizes) -> MemoryNeed:
    """About how much memory the forward pass needs beside the weights."""
    # The residual stream and the writes of attention and MLP.
    recorded_bytes = 3 * min((sizes.layers + 1) * sizes.residual_bytes, MEMORY_BYTES)
    return MemoryNeed(first=recorded_bytes, block=sizes.tokens * sizes.token_bytes)


def of_metric(metric: Metric, sizes: Sizes) -> MemoryNeed:
    """The least memory that a metric needs, including its recorded pass."""
    need = metric.memory(sizes)
    if not metric.on_demand:
        return need
    need += MemoryNeed(block=sizes.tokens * sizes.token_bytes)
    if not metric.reruns_layers:
        return need
    layers = sizes.of_layers(sizes.residual_bytes + sizes.cache_bytes)
    return need + MemoryNeed(layers=layers)


def check_fits(info: ModelInfo, sizes: Sizes, placement: Placement) -> None:
    """Refuse a prompt that is too long for the model or for the memory.

    Raises:
        DepthError: it is too long; the error names the length that would fit.
    """
    if info.context_length and sizes.tokens > info.context_length:
        raise DepthError(
            f"The prompt has {sizes.tokens:,} tokens; {info.name} reads at most "
            f"{info.context_length:,}.",
            "Shorten the prompt, or choose a model with a longer context.",
        )
    rooms = placement.rooms()
    if placement.lacks(of_the_pass(sizes), rooms) is not None:
        raise does_not_fit(info, sizes, placement, rooms)


def does_not_fit(info: ModelInfo, sizes: Sizes, placement: Placement, rooms: Rooms) -> DepthError:
    """The error for a prompt whose forward pass runs out of memory."""
    device = placement.lacks(of_the_pass(sizes), rooms)
    if device is None:
        # A limit other than the free memory was met, such as the process's own.
        return DepthError(
            f"The memory ran out at a prompt of {sizes.tokens:,} tokens.",
            f"Try one of {max(1, sizes.tokens // 2):,}, or choose a smaller model or dtype.",
        )
    fits = _longest(of_the_pass, info, sizes, placement, rooms)
    advice = f"About {fits:,} tokens would fit." if fits else "Choose a smaller model or dtype."
    return DepthError(
        f"A prompt of {sizes.tokens:,} tokens does not fit in the memory that is left "
        f"({format_size(rooms[device])}).",
        advice,
    )


def why_not(
    metric: Metric, info: ModelInfo, sizes: Sizes, placement: Placement, rooms: Rooms
) -> str:
    """Why a metric does not fit even in the smallest parts, and what would; empty where it may."""
    need = of_metric(metric, sizes)
    device = placement.lacks(need, rooms)
    if device is None:
        return ""
    place = "of memory" if device.type == "cpu" else f"on {device}"
    return (
        f"it needs {format_size(placement.by_device(need)[device])} or more at {sizes.tokens:,} "
        f"tokens, and {format_size(rooms[device])} {place} are free: "
        f"{_advice(metric, info, sizes, placement, rooms)}"
    )


def ran_out(
    metric: Metric, info: ModelInfo, sizes: Sizes, placement: Placement, rooms: Rooms
) -> str:
    """Why a metric that ran out of memory is unavailable, and what helps."""
    helps = _advice(metric, info, sizes, placement, rooms)
    return f"the memory ran out at {sizes.tokens:,} tokens, in the smallest parts too: {helps}"


def _advice(
    metric: Metric, info: ModelInfo, sizes: Sizes, placement: Placement, rooms: Rooms
) -> str:
    fits = _longest(lambda some: of_metric(metric, some), info, sizes, placement, rooms)
    if fits >= sizes.tokens:
        # The estimate is a minimum.
        fits = sizes.tokens // 2
    advice = _options_that_help(metric, sizes, placement, rooms)
    advice += [f"a prompt of about {fits:,} tokens"] if fits > 1 else []
    advice += ["bfloat16"] if info.dtype == "float32" else []
    return f"try {' or '.join([*advice, 'a smaller model'])}"


def _options_that_help(
    metric: Metric, sizes: Sizes, placement: Placement, rooms: Rooms
) -> list[str]:
    """Options that restrict a metric to a part that fits, where that needs less memory."""
    all_layers = of_metric(metric, sizes)

    def helps(choice: Sizes) -> bool:
        need = of_metric(metric, choice)
        return need != all_layers and placement.lacks(need, rooms) is None

    layers = sizes.chosen or tuple(range(sizes.layers))
    # The estimate is a minimum: where all layers seem to fit, half of them may.
    most = len(layers) // 2 if placement.lacks(all_layers, rooms) is None else len(layers) - 1
    # The last layers, which need the least memory for the layers after them.
    last_layers = (layers[-count:] for count in range(most, 0, -1))
    fitting = next((part for part in last_layers if helps(replace(sizes, chosen=part))), ())
    options = [f"--layers {numbers_text(fitting, ',')}"] if fitting else []
    options += ["--erase-search bisect"] if helps(replace(sizes, bisects=True)) else []
    return [*options[:-1], f"{options[-1]} (L in the explorer)"] if options else []


def _longest(
    need: Callable[[Sizes], MemoryNeed],
    info: ModelInfo,
    sizes: Sizes,
    placement: Placement,
    rooms: Rooms,
) -> int:
    """How many tokens would fit."""
    low, high = 0, info.context_length or 1 << 20
    while low < high:
        middle = (low + high + 1) // 2
        shorter = replace(sizes, tokens=middle, answer=min(middle, sizes.answer))
        if placement.lacks(need(shorter), rooms) is None:
            low = middle
        else:
            high = middle - 1
    return low
