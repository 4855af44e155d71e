"""How much memory a prompt needs, and how much there is."""

from __future__ import annotations

import psutil
import torch

from depthtui.data.model import ModelInfo
from depthtui.data.run_settings import RunSettings
from depthtui.errors import DepthError
from depthtui.metrics import logit_lens
from depthtui.metrics.logit_lens.compute import OUTPUT_BYTES, ROW_BYTES
from depthtui.models.free_space import free_memory
from depthtui.sizes import format_size
from depthtui.tracing.activations import MEMORY_BYTES

_WIDTHS_AT_ONCE = 24
"""How many vectors of the residual stream's width a block holds per token: MLPs are the widest."""


def used_and_total(device: torch.device) -> tuple[int, int]:
    """Bytes that this process holds on a device, and the device's size."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device), torch.cuda.mem_get_info(device)[1]
    return psutil.Process().memory_info().rss, psutil.virtual_memory().total


def available(device: torch.device) -> int:
    """Bytes that a run could still take on a device."""
    if device.type == "cuda":
        held_free = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + held_free
    return free_memory()


def block_bytes(model: ModelInfo) -> int:
    """About how much one token takes while it is in a block."""
    return model.d_model * (4 if model.dtype == "float32" else 2) * _WIDTHS_AT_ONCE


def run_bytes(model: ModelInfo, settings: RunSettings, n_tokens: int) -> int:
    """About how much a run of `n_tokens` takes beside the weights."""
    size = 4 if model.dtype == "float32" else 2
    # The residual stream and what attention and MLP write to it.
    kept = 3 * min((model.n_layers + 1) * n_tokens * model.d_model * size, MEMORY_BYTES)
    total = n_tokens * block_bytes(model) + kept
    if logit_lens.METRIC.name in settings.metrics:
        total += min(n_tokens * model.vocab_size * 4, OUTPUT_BYTES) + 2 * ROW_BYTES
    return total


def check_fits(
    model: ModelInfo, settings: RunSettings, n_tokens: int, device: torch.device
) -> None:
    """Refuse a prompt that is too long for the model or for the memory.

    Raises:
        DepthError: it is, with the length that would fit.
    """
    if model.context_length and n_tokens > model.context_length:
        raise DepthError(
            f"The prompt has {n_tokens:,} tokens; {model.name} reads at most "
            f"{model.context_length:,}.",
            "Shorten the prompt, or choose a model with a longer context.",
        )
    room = available(device)
    if run_bytes(model, settings, n_tokens) > room:
        raise does_not_fit(model, settings, n_tokens, room)


def does_not_fit(model: ModelInfo, settings: RunSettings, n_tokens: int, room: int) -> DepthError:
    """The error for a prompt that needs more memory than it can get; `room` bytes are free."""
    fits = _longest(model, settings, room)
    if fits >= n_tokens:
        # Another limit than the free memory was met, such as one set for the process.
        return DepthError(
            f"The memory ran out at a prompt of {n_tokens:,} tokens.",
            f"Try one of {max(1, n_tokens // 2):,}, or choose a smaller model or dtype.",
        )
    advice = f"About {fits:,} tokens would fit." if fits else "Choose a smaller model or dtype."
    return DepthError(
        f"A prompt of {n_tokens:,} tokens does not fit in the memory that is left "
        f"({format_size(room)}).",
        advice,
    )


def _longest(model: ModelInfo, settings: RunSettings, room: int) -> int:
    low, high = 0, model.context_length or 1 << 20
    while low < high:
        middle = (low + high + 1) // 2
        if run_bytes(model, settings, middle) <= room:
            low = middle
        else:
            high = middle - 1
    return low
