"""How much of what is as wide as the vocabulary a kernel holds at a time."""

from __future__ import annotations

import torch

_ON_A_GPU = 8
"""Each part reads the LM head's weight anew: on a GPU a small one does little else."""


def part_bytes(on_cpu: int, device: torch.device) -> int:
    """Bytes of a part on a device, of which a CPU, for its caches, takes `on_cpu`."""
    return on_cpu * _ON_A_GPU if device.type == "cuda" else on_cpu
