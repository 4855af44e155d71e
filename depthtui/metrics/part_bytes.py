"""How many bytes of vocabulary-wide values a kernel has in memory at a time."""

from __future__ import annotations

import torch

_ON_A_GPU = 8
"""How much larger a part is on a GPU: each part reads the LM head's weight again, and a small one
does little else."""


def part_bytes(on_cpu: int, device: torch.device) -> int:
    """Bytes of a part on a device; `on_cpu`, for its caches, on a CPU."""
    return on_cpu * _ON_A_GPU if device.type == "cuda" else on_cpu
