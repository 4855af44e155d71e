"""The maps of a fitted lens, and residuals read through them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import torch
from torch import Tensor

from depthtui.data.lazy import lazy_value
from depthtui.data.lens import LENS_CLASSES, FittedLens, LensFit, LogitLens


@dataclass(frozen=True)
class DepthMap:
    """T_l: `weight @ x + bias`, x the residual, divided by its root mean square where `scales`.

    Attributes:
        weight: `[d, d]`.
        bias: `[d]`, or None.
        scales: whether the residual is first scaled to a root mean square of 1.
    """

    weight: Tensor
    bias: Tensor | None = None
    scales: bool = False

    def __call__(self, residual: Tensor) -> Tensor:
        """The residual `[..., d]` mapped to the last depth, in its own dtype."""
        rows = unit(residual) if self.scales else residual.float()
        weight = self.weight.to(rows)
        bias = None if self.bias is None else self.bias.to(rows)
        return torch.nn.functional.linear(rows, weight, bias).to(residual.dtype)

    def of_change(self, rows: Tensor, residual: Tensor) -> Tensor:
        """Changes `[n, d]` of a residual `[d]`, mapped with the residual's scale fixed; float32."""
        rows = rows.float()
        if self.scales:
            rows = rows / residual.float().pow(2).mean().sqrt().clamp(min=1e-6).to(rows.device)
        return torch.nn.functional.linear(rows, self.weight.to(rows))

    def to(self, device: torch.device) -> DepthMap:
        """The map in float32 on a device."""
        bias = None if self.bias is None else self.bias.to(device, torch.float32)
        return DepthMap(self.weight.to(device, torch.float32), bias, self.scales)


@dataclass(frozen=True)
class LensMaps:
    """A fitted lens.

    Attributes:
        fit: how it was fitted.
        at: the map of a depth 0 … L - 1; None where the lens has none.
        held_out_kl: `[L]`, mean KL(p_l || p) on texts that it was not fitted on; NaN unknown.
        logit_held_out_kl: `[L]`, the KL of the logit lens on the same tokens.
        nonlinear: `[L]`, held-out share of each layer's update that no affine map of its input
            explains; NaN unknown.
    """

    fit: LensFit
    at: Callable[[int], DepthMap | None]
    held_out_kl: np.ndarray
    logit_held_out_kl: np.ndarray
    nonlinear: np.ndarray

    @property
    def n_layers(self) -> int:
        """The number of layers, L."""
        return len(self.held_out_kl)

    @lazy_value
    def depths_without(self) -> list[int]:
        """The depths for which it has no map; the maps may be read from a file to find them."""
        return [depth for depth in range(self.n_layers) if self.at(depth) is None]

    def result(
        self,
        lens: LogitLens,
        divergence: np.ndarray,
        texts: Callable[[Iterable[int]], dict[int, str]],
    ) -> FittedLens:
        """The metric's result; at depths without a map, the arrays given are made unknown too.

        Args:
            lens: the readings of the mapped residuals.
            divergence: `[L+1, T]`, of these readings and the output, in nats.
            texts: returns the raw texts of tokens.
        """
        lens.forget(self.depths_without)
        divergence[self.depths_without] = np.nan
        lens.vocabulary = texts(lens.listed_ids)
        kind = LENS_CLASSES[self.fit.kind]
        assert issubclass(kind, FittedLens)
        return kind(
            **vars(lens),
            divergence=divergence,
            held_out_kl=self.held_out_kl,
            logit_held_out_kl=self.logit_held_out_kl,
            fit=self.fit,
        )


class MappedResiduals(Sequence[Tensor]):
    """T_0(h_0) … T_{L-1}(h_{L-1}), h_L: computed on access, the last ones kept.

    A depth without a map is not changed.
    """

    def __init__(self, maps: LensMaps, residuals: Sequence[Tensor]) -> None:
        self._maps = maps
        self._residuals = residuals
        self._mapped: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self._residuals)

    @overload
    def __getitem__(self, place: int) -> Tensor: ...

    @overload
    def __getitem__(self, place: slice) -> list[Tensor]: ...

    def __getitem__(self, place: int | slice) -> Tensor | list[Tensor]:
        if isinstance(place, slice):
            depths = range(len(self))[place]
            self._mapped = {depth: self._at(depth) for depth in depths}
            return list(self._mapped.values())
        return self._at(range(len(self))[place])

    def _at(self, depth: int) -> Tensor:
        residual = self._residuals[depth]
        if depth == len(self) - 1:
            return residual
        if depth in self._mapped:
            return self._mapped[depth]
        depth_map = self._maps.at(depth)
        return residual if depth_map is None else depth_map(residual)


class MapsOnDevice:
    """The maps of a lens on the residuals' device, to read one position after another.

    Args:
        maps: the lens.
    """

    def __init__(self, maps: LensMaps) -> None:
        self._maps = [maps.at(depth) for depth in range(maps.n_layers)]
        self._device: torch.device | None = None

    def __call__(self, residuals: Tensor) -> Tensor:
        """T_0(h_0) … T_{L-1}(h_{L-1}), h_L of h_0 … h_L, `[L+1, d]`, at one position.

        A depth without a map is not changed.
        """
        self._move(residuals.device)
        mapped = residuals.clone()
        for depth, depth_map in enumerate(self._maps):
            if depth_map is not None:
                mapped[depth] = depth_map(residuals[depth])
        return mapped

    def _move(self, device: torch.device) -> None:
        if device != self._device:
            self._device = device
            self._maps = [depth_map and depth_map.to(device) for depth_map in self._maps]


def unit(residual: Tensor) -> Tensor:
    """h / rms(h), float32."""
    rows = residual.float()
    return rows / rows.pow(2).mean(dim=-1, keepdim=True).sqrt().clamp(min=1e-6)
