"""The affine lens: at each depth the affine map that comes closest to the last residual.

min over A, b of sum |A x + b - y|^2 + ridge n |A - I|^2, in closed form, with x = h_l / rms(h_l),
y = h_L / rms(h_L), over n tokens, the first of each text left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from depthtui.errors import DepthError
from depthtui.lenses.calibration import Calibration
from depthtui.lenses.held_out_texts import HeldOutTokens, kl_to_output
from depthtui.lenses.least_squares import solve_ridge
from depthtui.lenses.maps import DepthMap, unit
from depthtui.sizes import format_size
from depthtui.tracing.anatomy import Unembedding
from depthtui.tracing.batching import at_once

RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""The ridges that are tried where none is given."""

_DEPTHS_TRIED = 6
_TOKENS_TRIED = 64


@dataclass
class Moments:
    """Sums over tokens of products with (x, 1), float64.

    Attributes:
        depths: the depths of the sums.
        products: `[depths, d + 1, 3 d + 1]`, with (x, 1), then y, then c = h_{l+1} - h_l.
        tokens: the number of tokens.
    """

    depths: Sequence[int]
    products: Tensor
    tokens: int = 0

    @classmethod
    def empty(cls, depths: Sequence[int], width: int, device: torch.device) -> Moments:
        """The sums over no token."""
        shape = len(depths), width + 1, 3 * width + 1
        return cls(depths, torch.zeros(shape, dtype=torch.float64, device=device))

    @property
    def width(self) -> int:
        """The width of the residual stream, d."""
        return self.products.shape[1] - 1

    def add(self, residuals: Sequence[Tensor]) -> None:
        """Add a text's h_0 … h_L, each `[T, d]`, without its first token."""
        device = self.products.device
        target = unit(residuals[-1][1:]).to(device).double()
        for place, depth in enumerate(self.depths):
            layer_input = residuals[depth][1:]
            # On the device of the next one: layers may be on several devices.
            added = (
                residuals[depth + 1][1:].to(layer_input.device).float() - layer_input.float()
            ).to(device)
            x = with_one(unit(layer_input).to(device).double())
            beside = torch.cat([x, target, added.double()], dim=1)
            self.products[place].addmm_(x.T, beside)
        self.tokens += len(target)

    def maps(self, place: int, ridge: float) -> Tensor:
        """A and b, transposed, `[d + 1, d]`, at one of the depths."""
        gram, cross = self._split(place)
        width = self.width
        # The bias is not regularised.
        return solve_ridge(gram, cross[:, :width], ridge * self.tokens, width, identity=1)

    def added(self, place: int, ridge: float) -> Tensor:
        """The affine map from x to c, `[d + 1, d]`, regularised towards 0."""
        gram, cross = self._split(place)
        return solve_ridge(gram, cross[:, self.width :], ridge * self.tokens, self.width)

    def _split(self, place: int) -> tuple[Tensor, Tensor]:
        """Products of (x, 1) with itself `[d + 1, d + 1]`, and with y and c `[d + 1, 2 d]`."""
        products = self.products[place]
        return products[:, : self.width + 1], products[:, self.width + 1 :]


@dataclass(frozen=True)
class AffineFit:
    """A fitted affine lens.

    Attributes:
        weight, bias: `[L, d, d]` and `[L, d]`, float32 on the CPU.
        ridge: the ridge used at all depths.
        held_out_kl, logit_held_out_kl, nonlinear: `[L]`.
    """

    weight: Tensor
    bias: Tensor
    ridge: float
    held_out_kl: np.ndarray
    logit_held_out_kl: np.ndarray
    nonlinear: np.ndarray

    def at(self, depth: int) -> DepthMap:
        """The map of a depth."""
        return DepthMap(self.weight[depth], self.bias[depth], scales=True)


def fit_affine(
    calibration: Calibration,
    residuals_of: Callable[[Tensor], Sequence[Tensor]],
    unembedding: Unembedding,
    room: int,
    device: torch.device,
    ridge: float = 0.0,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> AffineFit:
    """Fit the affine lens at all depths.

    Where the sums of all depths do not fit in memory, the texts are read once for each group of
    depths.

    Args:
        calibration: the texts.
        residuals_of: a text's h_0 … h_L, each `[T, d]`.
        unembedding: final norm and LM head.
        room: bytes that the sums may take, on `device`.
        device: the device of the sums; it must have double precision.
        ridge: weight of the pull towards the identity; 0 to choose it on the held-out texts.
        report: called with the steps done and in all.

    Raises:
        DepthError: not even one depth's sums fit, or the model has no norm before its head.
    """
    held_out = HeldOutTokens.read(calibration.held_out, residuals_of)
    n_layers, width = len(held_out.residuals) - 1, held_out.residuals[-1].shape[-1]
    at_a_time = _depths_at_a_time(n_layers, width, room)
    check_ignores_scale(unembedding, held_out.residuals[-1])
    groups = -(-n_layers // at_a_time)
    fit = AffineFit(
        torch.empty(n_layers, width, width),
        torch.empty(n_layers, width),
        ridge,
        *(np.full(n_layers, np.nan, np.float32) for _ in range(3)),
    )
    steps = groups * len(calibration.fitting_texts) + n_layers
    steps_done = 0
    with torch.inference_mode():
        output = held_out.output(unembedding)
        # Depths of a group are spread out, so that the first group represents all in choosing.
        for depths in (range(first, n_layers, groups) for first in range(groups)):
            moments = Moments.empty(depths, width, device)
            for ids in calibration.fitting_texts:
                moments.add(residuals_of(ids))
                report(steps_done := steps_done + 1, steps)
            if not fit.ridge:
                fit = replace(fit, ridge=_best_ridge(moments, held_out, unembedding, output))
            for place in range(len(depths)):
                _fit_depth(fit, moments, place, held_out, unembedding, output)
                report(steps_done := steps_done + 1, steps)
    return fit


def _fit_depth(
    fit: AffineFit,
    moments: Moments,
    place: int,
    held_out: HeldOutTokens,
    unembedding: Unembedding,
    output: Tensor,
) -> None:
    """Solve for the map of a depth, at its place in the moments, and test it on held-out texts."""
    depth, rows = moments.depths[place], held_out.residuals[moments.depths[place]]
    matrix = moments.maps(place, fit.ridge).float().cpu()
    fit.weight[depth], fit.bias[depth] = matrix[:-1].T, matrix[-1]
    fit.held_out_kl[depth] = kl_to_output(unembedding, fit.at(depth)(rows), output)
    fit.logit_held_out_kl[depth] = kl_to_output(unembedding, rows, output)
    fit.nonlinear[depth] = _not_affine(moments, place, fit.ridge, held_out)


def _depths_at_a_time(n_layers: int, width: int, room: int) -> int:
    """How many depths' sums fit in memory.

    Raises:
        DepthError: not even one depth's sums fit.
    """
    # Solving takes about as much memory again as the sums of a depth.
    size = 8 * (width + 1) * (3 * width + 1)
    if 2 * size > room:
        raise DepthError(
            f"The affine lens of a model of width {width:,} takes {format_size(2 * size)} for one "
            f"depth, and {format_size(max(0, room))} are free.",
            "Free some memory.",
        )
    return at_once(n_layers, room - size, size)


def check_ignores_scale(unembedding: Unembedding, rows: Tensor) -> None:
    """Check that the output depends only on the direction of residuals `[N, d]`, as after a norm.

    Raises:
        DepthError: it depends on their size.
    """
    with torch.inference_mode():
        once, twice = unembedding.normed(rows).float(), unembedding.normed(2 * rows).float()
    if not (twice - once).norm() < 0.1 * once.norm():
        raise DepthError(
            "An affine map to the output needs a norm before the LM head: this model has none.",
            "Read it through the logit lens or a Jacobian lens.",
        )


def _best_ridge(
    moments: Moments, held_out: HeldOutTokens, unembedding: Unembedding, output: Tensor
) -> float:
    """The ridge with the least KL on the held-out tokens, summed over some depths."""
    count = len(moments.depths)
    places = sorted({round(place) for place in np.linspace(0, count - 1, _DEPTHS_TRIED)})
    step = max(1, len(output) // _TOKENS_TRIED)

    def kl(ridge: float) -> float:
        total = 0.0
        for place in places:
            matrix = moments.maps(place, ridge).float()
            rows = held_out.residuals[moments.depths[place]][::step]
            through = DepthMap(matrix[:-1].T, matrix[-1], scales=True)(rows)
            total += kl_to_output(unembedding, through, output[::step])
        return total

    return min(RIDGES, key=kl)


def _not_affine(moments: Moments, place: int, ridge: float, held_out: HeldOutTokens) -> float:
    """1 - R^2, on the held-out tokens, of a layer's update as an affine map of its input."""
    depth = moments.depths[place]
    layer_input = held_out.residuals[depth].cpu().double()
    added = held_out.residuals[depth + 1].cpu().double() - layer_input
    x = with_one(unit(held_out.residuals[depth]).cpu().double())
    residual_error = added - x @ moments.added(place, ridge).cpu()
    spread = (added - added.mean(dim=0)).pow(2).sum()
    return float(residual_error.pow(2).sum() / spread) if spread > 0 else float("nan")


def with_one(rows: Tensor) -> Tensor:
    """Rows `[N, d]` with a 1 at the end of each, `[N, d + 1]`: the factor of a map's bias."""
    return torch.cat([rows, torch.ones_like(rows[:, :1])], dim=1)
