"""What devices there are, on machines that are made up."""

from __future__ import annotations

import pytest
import torch

from depthtui.models import devices as devices_module
from depthtui.models.devices import devices, hardware, responds
from tests.tools.second_device import pretended_devices

GPUS = {
    "cuda:0": ("NVIDIA H100 80GB HBM3", (9, 0), 80 << 30),
    "cuda:1": ("Tesla T4", (7, 5), 16 << 30),
}


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with two GPUs."""

    def of(device: int | str) -> tuple[str, tuple[int, int], int]:
        return GPUS[f"cuda:{device}" if isinstance(device, int) else device]

    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(GPUS))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: of(device)[0])
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: of(device)[1])
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1 << 30, of(device)[2]))


def test_a_machine_without_a_gpu_has_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(devices_module, "free_memory", lambda: 1 << 30)
    (cpu,) = devices()
    assert (cpu.name, cpu.hardware, cpu.free, cpu.dtype) == ("cpu", "cpu", 1 << 30, "bfloat16")
    assert cpu.total > 0


@pytest.mark.usefixtures("gpus")
def test_gpus_come_first() -> None:
    first, second, *_, last = devices()
    assert (first.name, first.hardware, first.capability) == (
        "cuda:0",
        "NVIDIA H100 80GB HBM3",
        "9.0",
    )
    assert (first.free, first.total, first.dtype) == (1 << 30, 80 << 30, "bfloat16")
    assert (second.capability, second.dtype) == ("7.5", "float16")
    assert last.name == "cpu"


@pytest.mark.usefixtures("gpus")
@pytest.mark.parametrize(
    ("placed", "words"),
    [
        ("cpu", "cpu"),
        ("mps", "mps"),
        ("cuda:0", "NVIDIA H100 80GB HBM3"),
        ("cuda:1, cuda:0", "Tesla T4, NVIDIA H100 80GB HBM3"),
        ("cuda:1, cuda:1, cpu", "Tesla T4, cpu"),
        ("cuda:0, disk", "NVIDIA H100 80GB HBM3, disk"),
    ],
)
def test_hardware_is_named_without_numbers(placed: str, words: str) -> None:
    assert hardware(placed) == words


class TestAnswers:
    def test_a_cpu_always_answers(self) -> None:
        assert responds(torch.device("cpu"))

    @pytest.mark.parametrize(
        ("error", "expected"),
        [
            (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
            (RuntimeError("CUDA error: out of memory"), True),
        ],
    )
    def test_a_gpu_whose_process_lost_it_does_not(
        self, monkeypatch: pytest.MonkeyPatch, error: Exception, expected: bool
    ) -> None:
        def fail(*_args: object, **_options: object) -> torch.Tensor:
            raise error

        monkeypatch.setattr(torch, "ones", fail)
        assert responds(torch.device("cuda:0")) is expected

    def test_one_that_computes_does(self) -> None:
        assert responds(torch.device("meta")) is False
        with pretended_devices():
            assert responds(torch.device("pretend:0"))
