"""The devices of this machine: what they are, their memory, and the dtype that `auto` takes."""

from __future__ import annotations

from dataclasses import dataclass

import psutil
import torch

from depthtui.models.free_space import free_memory
from depthtui.models.loading import auto_dtype
from depthtui.models.out_of_memory import is_out_of_memory


@dataclass(frozen=True)
class Device:
    """A device that models can be put on.

    Attributes:
        name: what `--device` calls it, such as `cuda:0`.
        hardware: what it is, such as `NVIDIA H100 80GB HBM3`.
        total: bytes of memory.
        free: of these, what is free.
        capability: CUDA's compute capability, such as `9.0`, or empty.
        dtype: what `auto` takes there.
    """

    name: str
    hardware: str
    total: int
    free: int
    dtype: str
    capability: str = ""


def devices() -> list[Device]:
    """Every device here, the CPU last."""
    found = [_gpu(index) for index in range(torch.cuda.device_count())]
    total, free = psutil.virtual_memory().total, free_memory()
    if torch.backends.mps.is_available():
        found.append(Device("mps", hardware("mps"), total, free, _auto("mps")))
    return [*found, Device("cpu", hardware("cpu"), total, free, _auto("cpu"))]


def hardware(placed: str) -> str:
    """What the devices of a model are, such as `NVIDIA H100 80GB HBM3` for `cuda:0, cuda:1`.

    Each kind stands there once: the same model on another GPU of the same kind computes the
    same. What is no GPU keeps its name.
    """
    names = (_hardware(name.strip()) for name in placed.split(","))
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
    """What `auto` takes for a model that is not small."""
    return str(auto_dtype(torch.device(name), parameters=1 << 40)).removeprefix("torch.")


def answers(device: torch.device) -> bool:
    """Whether a device still computes.

    An error in a kernel of CUDA's, such as a read outside of memory, costs the whole process its
    GPU: whatever is asked of it afterwards fails.
    """
    if device.type == "cpu":
        return True
    try:
        return torch.ones(1, device=device).add(1).item() == 2
    except Exception as error:
        return is_out_of_memory(error)


def reset_peak_memory(device: torch.device) -> None:
    """Begin to watch how much memory is taken on a device."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> int | None:
    """Most bytes taken on a device since then; None where it does not tell."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return None
