"""Which of the paper's models fit on this machine, by the same arithmetic as loading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from depthtui.models.devices import Device
from depthtui.models.placement import HEADROOM, SHARE_WHEN_QUANTIZED, weights_bytes

WHOLE = {"float32": torch.float32, "bfloat16": torch.bfloat16}
QUANTIZED = {"8bit": torch.bfloat16, "4bit": torch.bfloat16}
"""The dtype of the weights that are not quantised in a quantised model."""


@dataclass(frozen=True)
class PaperSize:
    """Models of the paper that have one size.

    Attributes:
        names: their names on the hub, without owners.
        parameters: the number of parameters of each.
        fixed: parameters that bitsandbytes does not quantise.
    """

    names: tuple[str, ...]
    parameters: int
    fixed: int

    def bytes_in(self, form: str) -> int:
        """Bytes that loading needs in `float32`, `bfloat16`, `8bit` or `4bit`."""
        dtype, quantize = (WHOLE | QUANTIZED)[form], form if form in QUANTIZED else ""
        return int(weights_bytes(self.parameters, self.fixed, dtype, quantize) * HEADROOM)

    def form_that_fits(self, devices: Sequence[Device], can_quantize: bool) -> str:
        """The most exact form that fits on the GPUs and in memory; empty where none does."""
        gpus = sum(device.free for device in devices if device.name.startswith("cuda"))
        memory = next(device.free for device in devices if device.name == "cpu")
        # A quantised model stays on the GPUs where there are any.
        rooms = dict.fromkeys(WHOLE, gpus + memory)
        if can_quantize:
            rooms |= dict.fromkeys(QUANTIZED, int(gpus * SHARE_WHEN_QUANTIZED) or memory)
        return next((form for form, room in rooms.items() if self.bytes_in(form) <= room), "")


PAPER_SIZES = (
    PaperSize(("Qwen2.5-1.5B-Instruct", "Qwen2.5-Math-1.5B"), 1_543_714_304, 233_518_592),
    PaperSize(("DeepSeek-R1-Distill-Qwen-1.5B",), 1_777_088_000, 466_892_288),
    PaperSize(
        ("Qwen2.5-7B-Instruct", "Qwen2.5-Math-7B", "DeepSeek-R1-Distill-Qwen-7B"),
        7_615_616_512,
        1_090_328_064,
    ),
    PaperSize(
        ("Qwen2.5-14B", "Qwen2.5-14B-Instruct", "DeepSeek-R1-Distill-Qwen-14B"),
        14_770_033_664,
        1_557_976_064,
    ),
    PaperSize(
        ("Qwen2.5-32B", "Qwen2.5-32B-Instruct", "DeepSeek-R1-Distill-Qwen-32B"),
        32_763_876_352,
        1_558_254_592,
    ),
)
"""Every model of the paper, the smallest first."""
