"""Which tokens the answer's probability comes from, at each depth (paper, metric 5).

The path runs straight from the mean residual over tokens to the residual after
layer l. The integrand is nearly all in a few needle-thin steps, so the path is
subdivided where it needs it: completeness holds on every interval (the integral
over it must equal the change of f across it), which gives an exact local error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from depthtui.engine.anatomy import Unembedding
from depthtui.engine.replay import Replay
from depthtui.engine.results import IntegratedGradients

_BOOLE = (7 / 90, 32 / 90, 12 / 90, 32 / 90, 7 / 90)
"""Boole's rule on five equally spaced points: those of an interval serve its halves too."""


def integrated_gradients(
    replay: Replay,
    unembedding: Unembedding,
    answer_start: int,
    tolerance: float = 0.01,
    most_points: int = 2048,
    steps: int = 0,
    on_layer: Callable[[int, IntegratedGradients], None] = lambda layer, result: None,
    result: IntegratedGradients | None = None,
) -> IntegratedGradients:
    """Integrate the gradients of f, the answer tokens' summed probability, at every layer.

    Args:
        replay: the clean run.
        unembedding: final norm and LM head.
        answer_start: index of the answer's first token, at least 1.
        tolerance: wanted completeness error, summed over intervals without cancelling.
        most_points: gradients after which a layer is given up as not reached.
        steps: if positive, so many left-Riemann steps instead (the paper: 256).
        on_layer: called with each finished layer.
        result: layers that are finished already are not computed again.
    """
    if not 0 < answer_start < replay.n_tokens:
        raise ValueError("the answer must begin after the first token and before the end")
    if result is None:
        result = IntegratedGradients(
            attribution=np.full((replay.n_layers, replay.n_tokens), np.nan, np.float32),
            completeness_error=np.full(replay.n_layers, np.nan, np.float32),
            points=np.zeros(replay.n_layers, np.int32),
            reached=np.zeros(replay.n_layers, np.bool_),
            tolerance=tolerance,
            answer_start=answer_start,
        )
    for layer in range(replay.n_layers):
        if np.isfinite(result.completeness_error[layer]):
            continue
        path = _Path(replay, unembedding, layer, answer_start)
        if steps > 0:
            total, error, points, reached = _riemann(path, steps, tolerance)
        else:
            total, error, points, reached = _adaptive(path, tolerance, most_points)
        result.attribution[layer] = total.numpy()
        result.completeness_error[layer] = error
        result.points[layer] = points
        result.reached[layer] = reached
        on_layer(layer, result)
    return result


class _Path:
    """f and its gradient along the straight line at one layer."""

    def __init__(
        self, replay: Replay, unembedding: Unembedding, layer: int, answer_start: int
    ) -> None:
        self._replay = replay
        self._unembedding = unembedding
        self._layer = layer
        actual = replay.residual[layer + 1]
        self._base = actual.float().mean(dim=0, keepdim=True)
        # The last token predicts nothing of the answer, so f does not depend on it.
        self._delta = (actual.float() - self._base)[:-1]
        self._dtype = actual.dtype
        self._reads = slice(answer_start - 1, replay.n_tokens - 1)
        self._targets = replay.ids[answer_start:]
        self._values: dict[float, tuple[float, Tensor]] = {}

    @property
    def points(self) -> int:
        """How many gradients have been taken."""
        return len(self._values)

    def visit(self, places: list[float]) -> None:
        """Compute f and the gradients at those places of the path that are new."""
        new = sorted({each for each in places if each not in self._values})
        size = max(1, self._replay.tokens_at_once // 2 // len(self._delta))
        for first in range(0, len(new), size):
            part = new[first : first + size]
            values, slopes = self._evaluate(part)
            for place, value, slope in zip(part, values, slopes, strict=True):
                self._values[place] = float(value), slope

    def value(self, place: float) -> float:
        """f at a visited place."""
        return self._values[place][0]

    def slopes(self, place: float) -> Tensor:
        """Each token's share of df/dr at a visited place, `[T]`, float64; the last is 0."""
        return self._values[place][1]

    def _evaluate(self, places: list[float]) -> tuple[Tensor, Tensor]:
        where = torch.tensor(places, device=self._delta.device)[:, None, None]
        start = (self._base + where * self._delta).to(self._dtype).requires_grad_()
        with torch.enable_grad():
            rows = start
            for layer in range(self._layer + 1, self._replay.n_layers):
                rows = self._replay.run_layer(layer, rows)
            logits = self._unembedding.logits(rows[:, self._reads])
            targets = self._targets.to(logits.device)[None, :, None].expand(len(places), -1, 1)
            chosen = logits.log_softmax(dim=-1).gather(-1, targets).exp().sum(dim=(1, 2))
            (gradient,) = torch.autograd.grad(chosen.sum(), start)
        shares = (gradient.float() * self._delta).sum(dim=-1).double().cpu()
        return chosen.detach().cpu(), torch.nn.functional.pad(shares, (0, 1))


def _riemann(path: _Path, steps: int, tolerance: float) -> tuple[Tensor, float, int, bool]:
    places = [step / steps for step in range(steps)]
    path.visit([*places, 1.0])
    total = torch.stack([path.slopes(each) for each in places]).mean(dim=0)
    error = _relative(float(total.sum()), path)
    return total, error, steps, error <= tolerance


def _adaptive(path: _Path, tolerance: float, most_points: int) -> tuple[Tensor, float, int, bool]:
    intervals = [_Interval.of(path, 0.0, 0.5), _Interval.of(path, 0.5, 1.0)]
    wanted = tolerance * abs(path.value(1.0) - path.value(0.0))
    while True:
        # Half of what is allowed is left to the intervals that stay as they are.
        intervals.sort(key=lambda each: each.error)
        kept, left = 0, 0.0
        while kept < len(intervals) and left + intervals[kept].error <= wanted / 2:
            left += intervals[kept].error
            kept += 1
        reached = sum(each.error for each in intervals) <= wanted
        if reached or path.points + 4 * (len(intervals) - kept) > most_points:
            break
        halves = [half for each in intervals[kept:] for half in each.halves()]
        path.visit([place for half in halves for place in _places(*half)])
        intervals = intervals[:kept] + [_Interval.of(path, *half) for half in halves]
    total = torch.stack([each.integral for each in intervals]).sum(dim=0)
    return total, _relative(float(total.sum()), path), path.points, reached


@dataclass(frozen=True)
class _Interval:
    """A piece of the path: its integral `[T]` and by how much it misses completeness."""

    low: float
    high: float
    integral: Tensor
    error: float

    @classmethod
    def of(cls, path: _Path, low: float, high: float) -> _Interval:
        places = _places(low, high)
        path.visit(places)
        parts = [weight * path.slopes(place) for weight, place in zip(_BOOLE, places, strict=True)]
        integral = torch.stack(parts).sum(dim=0) * (high - low)
        change = path.value(high) - path.value(low)
        return cls(low, high, integral, abs(float(integral.sum()) - change))

    def halves(self) -> tuple[tuple[float, float], tuple[float, float]]:
        middle = (self.low + self.high) / 2
        return (self.low, middle), (middle, self.high)


def _places(low: float, high: float) -> list[float]:
    """Five equally spaced places; halving is exact in binary, so halves find the same ones."""
    return [low + (high - low) * quarter / 4 for quarter in range(5)]


def _relative(total: float, path: _Path) -> float:
    change = path.value(1.0) - path.value(0.0)
    return abs(total - change) / max(abs(change), 1e-12)
