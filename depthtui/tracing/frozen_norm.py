"""A norm with its statistics held fixed, which makes it affine.

Recognised by arithmetic, so that any module may be one: an RMS norm or a layer norm, with or
without gain and offset.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

_PROBE = 64.0
"""Large enough for a norm's epsilon not to matter, and exact in every dtype."""


@dataclass(frozen=True)
class FrozenNorm:
    """N(x) = scale * gain * (x - mean(x) where centred) + offset.

    Attributes:
        scale: `[T, 1]`, one for each row that the norm is frozen at.
        gain, offset: `[d]`.
        centred: whether the norm subtracts the mean.
    """

    scale: Tensor
    gain: Tensor
    offset: Tensor
    centred: bool

    @classmethod
    def at(
        cls,
        norm: Callable[[Tensor], Tensor],
        inputs: Tensor,
        outputs: Tensor,
        device: torch.device,
    ) -> FrozenNorm | None:
        """The norm frozen at some rows; None where it is neither an RMS norm nor a layer norm.

        For x and -x with mean 0, both norms give plus and minus gain * x / rms(x), plus the offset.

        Args:
            norm: maps `[n, d]` to `[n, d]`.
            inputs, outputs: the rows and the norm's output, `[T, d]`.
            device: the device on which the norm computes.
        """
        dtype, width = inputs.dtype, inputs.shape[-1]
        probe = torch.full((width,), _PROBE)
        probe[1::2] *= -1
        signs = torch.stack([probe, -probe]).to(device, dtype)
        plus, minus = norm(signs).float()
        gain, offset = (plus - minus) / 2 * probe.sign().to(plus.device), (plus + minus) / 2
        rows, target = inputs.to(plus.device).float(), outputs.to(plus.device).float() - offset
        best: tuple[float, FrozenNorm] | None = None
        for centred in (False, True):
            shape = gain * (rows - rows.mean(dim=-1, keepdim=True) if centred else rows)
            # One unknown a token for d equations: a large misfit reveals a wrong form.
            scale = (shape * target).sum(-1, keepdim=True) / (shape * shape).sum(-1, keepdim=True)
            left_over = float((scale * shape - target).norm() / (target + offset).norm())
            if best is None or left_over < best[0]:
                best = left_over, cls(scale, gain, offset, centred)
        assert best is not None
        return best[1] if best[0] <= 8 * torch.finfo(dtype).eps else None

    def pull_back(self, rows: Tensor) -> Tensor:
        """Map directions `[T, d]` after the norm to directions before it."""
        direction = self.scale * self.gain * rows
        return direction - direction.mean(dim=-1, keepdim=True) if self.centred else direction

    def change(self, rows: Tensor) -> Tensor:
        """Map a change `[T, d]` before the norm to the change after it, `[T, d]` float32."""
        rows = rows.to(self.gain.device).float()
        rows = rows - rows.mean(dim=-1, keepdim=True) if self.centred else rows
        return self.scale * self.gain * rows
