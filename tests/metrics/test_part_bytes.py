"""How large parts are, by the kind of device."""

import torch

from depthtui.metrics.part_bytes import part_bytes


def test_a_gpu_takes_larger_parts():
    assert part_bytes(128 << 20, torch.device("cpu")) == 128 << 20
    assert part_bytes(128 << 20, torch.device("cuda", 1)) == 1 << 30
