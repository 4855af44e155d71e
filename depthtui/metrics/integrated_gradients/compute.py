"""Which tokens the answer's probability comes from, at each depth (paper, metric 5).

The path runs straight from the mean residual over tokens to the residual after
layer l. Nearly all of the integral lies in a few needle-thin steps, so the path
is refined there: cubics that do not overshoot join the gradients, and
completeness holds between any two places (the integral there must equal the
change of f), which gives an exact local error to refine by.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from scipy.interpolate import PchipInterpolator
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from depthtui.metrics.choices import chosen_layers, measured_layers
from depthtui.metrics.context import Context
from depthtui.metrics.integrated_gradients import IntegratedGradients
from depthtui.metrics.part_bytes import part_bytes
from depthtui.models.devices import execution_device
from depthtui.tracing.anatomy import Unembedding
from depthtui.tracing.batching import at_once
from depthtui.tracing.float32 import can_widen, in_float32
from depthtui.tracing.replay import Replay

_FIRST_GAPS = 8
"""The number of equal gaps at whose ends the path is visited first."""

_MOST_POINTS = 2048
"""Gradients after which a layer is given up as not reached."""

_SHARE_LEFT = 0.9
"""The gaps that are not halved may together have this share of the allowed error."""

_NARROWEST = 2.0**-20
"""The narrowest gap that is halved: f jumps where a router chooses other experts.

Gaps below the rounding of the residuals, 2^-7 of the path in bfloat16, are not halved either.
"""


_LOGITS_BYTES = 512 << 20
"""Most bytes of the logits of a backward pass on a CPU, with their gradients."""

_BYTES_OF_A_LOGIT = 20
"""Bytes per logit: the logits themselves, their logarithms, and the gradients of both."""

_WIDTHS_KEPT = 48
"""About how many vectors of the residual stream's width a block keeps per token for gradients."""


def compute(context: Context, partial: IntegratedGradients | None) -> IntegratedGradients:
    """Integrate the gradients of f, the answer tokens' summed probability, at every layer.

    Layers already in `partial` are not computed again; it is filled in. The settings' tolerance is
    the wanted completeness error, both of the whole path and as the root-sum-square of the errors
    between visited places, which rules out that large errors cancel by luck.
    """
    settings, replay = context.result.settings, context.replay
    layers, answer_start = measured_layers(context.result), context.result.answer_start
    # The later a layer, the fewer layers run behind it.
    costs = [replay.n_layers - layer for layer in layers]
    most_tokens = context.tokens_with_gradients
    result = partial
    if result is None:
        result = IntegratedGradients.unknown(
            replay.n_layers,
            replay.n_tokens,
            tolerance=settings.tolerance,
            answer_start=answer_start,
            floor=0.0,
            chosen=chosen_layers(context.result),
        )
        result.points[:] = 0
    for done, layer in enumerate(layers, start=1):
        if np.isfinite(result.completeness_error[layer]):
            continue
        path = _Path(replay, context.unembedding, layer, answer_start, most_tokens)
        if settings.riemann_steps > 0:
            total, error, points, reached = _riemann(
                path, settings.riemann_steps, settings.tolerance
            )
        else:
            total, error, points, reached = _adaptive(path, settings.tolerance)
        result.floor = max(result.floor, abs(path.value(1.0) - path.clean_value()))
        result.attribution[layer] = total
        result.completeness_error[layer] = error
        result.points[layer] = points
        result.reached[layer] = reached
        context.report(done, len(layers), result, sum(costs[:done]) / sum(costs))
    return result


class _Path:
    """f and its gradient along the straight line at one layer."""

    def __init__(
        self,
        replay: Replay,
        unembedding: Unembedding,
        layer: int,
        answer_start: int,
        most_tokens: int,
    ) -> None:
        self._replay = replay
        self._unembedding = unembedding
        self._layer = layer
        actual = replay.states[layer + 1]
        self._base = actual.float().mean(dim=0, keepdim=True)
        # The last token predicts no token of the answer, so f does not depend on it.
        self._delta = (actual.float() - self._base)[: replay.end_for(replay.n_tokens - 1)]
        later_layers = replay.layers[layer + 1 :]
        head = (*unembedding.norm, unembedding.head)
        # Rounding to 16 bits is larger than the error allowed for the attributions.
        self._widens = can_widen((*later_layers, *head))
        self._dtype = torch.float32 if self._widens else actual.dtype
        if self._widens and later_layers:
            # Replay must record how the layers are called before they are changed.
            with torch.no_grad():
                replay.run_layer(layer + 1, actual[None, : len(self._delta)])
        self.narrowest = max(_NARROWEST, torch.finfo(self._dtype).eps)
        tokens = min(most_tokens, replay.tokens_at_once // 2)
        self._saves = self._widens or tokens < len(self._delta) or _moves(later_layers)
        if self._saves:
            tokens = min(tokens * _block_share(len(later_layers)), replay.tokens_at_once // 2)
        self._reads = slice(answer_start - 1, replay.n_tokens - 1)
        self._targets = replay.ids[answer_start:]
        row = unembedding.vocab_size * _BYTES_OF_A_LOGIT
        room = part_bytes(_LOGITS_BYTES, execution_device(unembedding.head))
        self._positions_at_once = max(1, room // row)
        places = max(1, self._positions_at_once // len(self._targets))
        self._most_tokens = min(tokens, places * len(self._delta))
        self._values: dict[float, tuple[float, np.ndarray]] = {}

    @property
    def points(self) -> int:
        """How many gradients have been taken."""
        return len(self._values)

    @property
    def n_tokens(self) -> int:
        """The number of tokens, T."""
        return self._replay.n_tokens

    @property
    def is_finite(self) -> bool:
        """Whether f and every gradient taken are numbers."""
        return all(
            math.isfinite(value) and np.isfinite(slopes).all()
            for value, slopes in self._values.values()
        )

    def visit(self, places: list[float]) -> None:
        """Compute f and the gradients at those places of the path that are new."""
        new = [place for place in places if place not in self._values]
        size = at_once(len(new), self._most_tokens, len(self._delta))
        for first in range(0, len(new), size):
            part = new[first : first + size]
            values, slopes = self._evaluate(part)
            for place, value, slope in zip(part, values, slopes, strict=True):
                self._values[place] = float(value), slope.numpy()

    def value(self, place: float) -> float:
        """f at a visited place."""
        return self._values[place][0]

    def clean_value(self) -> float:
        """f of the clean pass, at which the path ends."""
        clean = self._replay.states[-1][self._reads].to(self._dtype)
        with torch.no_grad():
            return float(self._answer_probability(clean[None]))

    def slopes(self, place: float) -> np.ndarray:
        """Each token's share of df/dr at a visited place, `[T]`, float64; the last is 0."""
        return self._values[place][1]

    def _evaluate(self, places: list[float]) -> tuple[Tensor, Tensor]:
        where = torch.tensor(places, device=self._delta.device)[:, None, None]
        start = (self._base + where * self._delta).to(self._dtype).requires_grad_()
        with torch.enable_grad():
            rows = start
            for layer in range(self._layer + 1, self._replay.n_layers):
                rows = self._saving(self._run_layer, layer, rows)
            chosen = self._answer_probability(rows[:, self._reads])
            # Scaled by powers of two: gradients of an unlikely answer would underflow in float16.
            scale = chosen.detach().clamp(min=1e-30).log2().floor().neg().exp2()
            (gradient,) = torch.autograd.grad((chosen * scale).sum(), start)
        gradient = gradient.float() / scale.to(gradient.device)[:, None, None]
        shares = (gradient * self._delta).sum(dim=-1).cpu().double()
        n_padded = self.n_tokens - shares.shape[1]
        return chosen.detach().cpu(), torch.nn.functional.pad(shares, (0, n_padded))

    def _answer_probability(self, rows: Tensor) -> Tensor:
        """f, `[places]`, from h_L `[places, answer, d]` where the answer is predicted."""
        size = max(1, self._positions_at_once // len(rows))
        parts = zip(torch.split(rows, size, dim=1), torch.split(self._targets, size), strict=True)
        in_parts = rows.shape[1] > size
        sums = [self._saving(self._probability, *part, always=in_parts) for part in parts]
        return torch.stack(sums).sum(dim=0)

    def _run_layer(self, layer: int, rows: Tensor) -> Tensor:
        with self._precisely(*self._replay.modules_of(layer)):
            return self._replay.run_layer(layer, rows)

    def _probability(self, rows: Tensor, targets: Tensor) -> Tensor:
        unembedding = self._unembedding
        with self._precisely(*unembedding.norm, unembedding.head):
            logits = unembedding.logits(rows)
        columns = targets.to(logits.device)[None, :, None].expand(len(rows), -1, 1)
        return logits.log_softmax(dim=-1).gather(-1, columns).exp().sum(dim=(1, 2))

    def _precisely(self, *modules: nn.Module) -> AbstractContextManager[None]:
        return in_float32(*modules) if self._widens else nullcontext()

    def _saving(self, function: Callable[..., Tensor], *args: Any, always: bool = False) -> Tensor:
        """Call a function; to save memory it is called again for its gradient and keeps nothing."""
        if not (self._saves or always):
            return function(*args)
        return checkpoint(function, *args, use_reentrant=False, preserve_rng_state=False)


def _moves(layers: Sequence[nn.Module]) -> bool:
    """Whether accelerate loads the weights of some of the layers only while they compute."""
    return any(weight.is_meta for layer in layers for weight in layer.parameters())


def _block_share(layers: int) -> int:
    """How many times more tokens fit if one block is kept at a time, and else only residuals."""
    return max(1, layers * _WIDTHS_KEPT // (layers + _WIDTHS_KEPT))


def _riemann(path: _Path, steps: int, tolerance: float) -> tuple[np.ndarray, float, int, bool]:
    places = [step / steps for step in range(steps)]
    path.visit([*places, 1.0])
    total = np.mean([path.slopes(place) for place in places], axis=0)
    error = _relative(float(total.sum()), path)
    return total, error, steps, error <= tolerance


def _adaptive(path: _Path, tolerance: float) -> tuple[np.ndarray, float, int, bool]:
    places = [gap / _FIRST_GAPS for gap in range(_FIRST_GAPS + 1)]
    while True:
        path.visit(places)
        if not path.is_finite:
            return np.full(path.n_tokens, np.nan), float("nan"), path.points, False
        parts = _integrals(path, places)
        changes = np.diff([path.value(place) for place in places])
        errors = np.abs(parts.sum(axis=1) - changes)
        allowed_error = tolerance * abs(float(changes.sum()))
        error = _relative(float(parts.sum()), path)
        reached = error <= tolerance and _together(errors) <= allowed_error
        middles = _middles(places, errors, _SHARE_LEFT * allowed_error, path.narrowest)
        if reached or not middles or path.points + len(middles) > _MOST_POINTS:
            return parts.sum(axis=0), error, path.points, reached
        places = sorted([*places, *middles])


def _integrals(path: _Path, places: list[float]) -> np.ndarray:
    """Each token's share of the change of f between neighbouring places, `[gaps, T]`."""
    slopes = np.stack([path.slopes(place) for place in places])
    return np.diff(PchipInterpolator(places, slopes).antiderivative()(places), axis=0)


def _middles(
    places: list[float], errors: np.ndarray, allowed: float, narrowest: float
) -> list[float]:
    """The middles of the gaps with the largest errors; the other errors together are allowed.

    Gaps that are too narrow to be halved are left out.
    """
    order = np.argsort(errors)
    errors_left = np.sqrt(np.cumsum(errors[order] ** 2))
    # Where no gap has a large error but the errors add up, the worst one is halved all the same.
    chosen = order[min(np.searchsorted(errors_left, allowed, "right"), len(order) - 1) :]
    ends = [(places[gap], places[gap + 1]) for gap in chosen]
    return [(start + end) / 2 for start, end in ends if end - start > narrowest]


def _together(errors: np.ndarray) -> float:
    return float(np.sqrt((errors**2).sum()))


def _relative(total: float, path: _Path) -> float:
    change = path.value(1.0) - path.value(0.0)
    return abs(total - change) / max(abs(change), 1e-12)
