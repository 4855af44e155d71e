"""The devices of this machine, their memory, the dtype of `auto`, and where modules compute."""

from __future__ import annotations

import os
from dataclasses import dataclass

import psutil
import torch
from torch import nn

from depthtui.errors import DepthError
from depthtui.models.free_space import free_memory
from depthtui.models.out_of_memory import is_out_of_memory

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

_FLOAT32_UP_TO = 1_000_000_000
"""Parameters up to which `auto` computes in float32 on a CPU."""

_BFLOAT16_SINCE = (8, 0)
"""Compute capability of the first GPUs with bfloat16 (Ampere)."""


@dataclass(frozen=True)
class Device:
    """A device that models can be put on.

    Attributes:
        name: its name for `--device`, such as `cuda:0`.
        hardware: its hardware, such as `NVIDIA H100 80GB HBM3`.
        total: bytes of memory.
        free: bytes of free memory.
        capability: CUDA's compute capability, such as `9.0`, or empty.
        dtype: the dtype that `auto` chooses there.
    """

    name: str
    hardware: str
    total: int
    free: int
    dtype: str
    capability: str = ""


def devices() -> list[Device]:
    """Every device here, the CPU last."""
    found_devices = [_gpu(index) for index in range(torch.cuda.device_count())]
    total, free = psutil.virtual_memory().total, free_memory()
    if torch.backends.mps.is_available():
        found_devices.append(Device("mps", hardware("mps"), total, free, _auto("mps")))
    return [*found_devices, Device("cpu", hardware("cpu"), total, free, _auto("cpu"))]


def visible_gpus() -> list[str]:
    """The CUDA GPUs that this process sees, as `CUDA_VISIBLE_DEVICES` names them."""
    count = torch.cuda.device_count()
    setting = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = [name.strip() for name in setting.split(",")] if setting else map(str, range(count))
    return list(names)[:count]


def hardware(device_names: str) -> str:
    """The hardware of a model's devices, such as `NVIDIA H100 80GB HBM3` for `cuda:0, cuda:1`.

    Each kind is named once: a model computes the same on another GPU of the same kind. Devices
    that are no GPUs keep their names.
    """
    names = (_hardware(name.strip()) for name in device_names.split(","))
    return ", ".join(dict.fromkeys(names))


def _hardware(name: str) -> str:
    device_type = name.partition(":")[0]
    return torch.cuda.get_device_name(name) if device_type == "cuda" else name


def _gpu(index: int) -> Device:
    name = f"cuda:{index}"
    free, total = torch.cuda.mem_get_info(index)
    major, minor = torch.cuda.get_device_capability(index)
    return Device(
        name,
        hardware(name),
        total,
        free,
        _auto(name),
        capability=f"{major}.{minor}",
    )


def _auto(name: str) -> str:
    """The dtype that `auto` chooses for a model that is not small."""
    return dtype_name(auto_dtype(torch.device(name), parameters=1 << 40))


def execution_device(module: nn.Module) -> torch.device:
    """A module's device: that of accelerate's hook, else that of its weights.

    In a model that is offloaded whole, only the modules that hold weights have hooks.
    """
    device = _hooked_device(module)
    if device is not None:
        return device
    weight = next(module.parameters(), None)
    if weight is None:
        return torch.device("cpu")
    if weight.is_meta:
        parts = (_hooked_device(part) for part in module.modules())
        return next((device for device in parts if device is not None), weight.device)
    return weight.device


def _hooked_device(module: nn.Module) -> torch.device | None:
    """The execution device of accelerate's hook on a module, or of the first of several."""
    hook = getattr(module, "_hf_hook", None)
    for part in (hook, *getattr(hook, "hooks", ())):
        device = getattr(part, "execution_device", None)
        if device is not None:
            return torch.device(device)
    return None


def device_named(name: str) -> torch.device:
    """The device of a name in a spec; `cuda` without a number may be several."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DepthError(
            f"There is no device {name!r}.", "Use auto, cpu, cuda, cuda:1 or mps."
        ) from error
    if device.type not in ("cpu", "cuda", "mps"):
        raise DepthError(f"Device {name!r} is not supported.", "Use auto, cpu, cuda or mps.")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise DepthError("There is no CUDA device here.", "Use --device cpu, or auto.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DepthError(
            f"There is no {name} here: {torch.cuda.device_count()} CUDA devices.", "Count from 0."
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DepthError("There is no MPS device here.", "Use --device cpu, or auto.")
    return device


def dtype_named(name: str, device: torch.device, parameters: int) -> torch.dtype:
    return auto_dtype(device, parameters) if name == "auto" else DTYPES[name]


def auto_dtype(device: torch.device, parameters: int) -> torch.dtype:
    """The dtype of a model of this many parameters when none is asked for."""
    if device.type == "cpu" and parameters <= _FLOAT32_UP_TO:
        return torch.float32
    if device.type == "cuda" and not all(map(_has_bfloat16, gpus(device))):
        return torch.float16
    return torch.bfloat16


def _has_bfloat16(gpu: int) -> bool:
    """Whether a GPU computes in bfloat16; older ones only emulate it."""
    return torch.cuda.get_device_capability(gpu) >= _BFLOAT16_SINCE


def gpus(device: torch.device) -> list[int]:
    """The GPUs that a device means: `cuda` without a number means all."""
    return list(range(torch.cuda.device_count())) if device.index is None else [device.index]


def responds(device: torch.device) -> bool:
    """Whether a device still computes.

    An error in a CUDA kernel, such as a read outside of memory, costs the whole process its GPU:
    every later call on it fails.
    """
    if device.type == "cpu":
        return True
    try:
        return torch.ones(1, device=device).add(1).item() == 2
    except Exception as error:
        return is_out_of_memory(error)


def reset_peak_memory(device: torch.device) -> None:
    """Start to measure the peak of memory used on a device."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> int | None:
    """Most bytes used on a device since `reset_peak_memory`; None where unknown."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return None


def dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
