"""Which layers a model would miss least."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from depthtui.metrics.spec import Finding

_NAMED = 3


class Ranked(Protocol):
    """A result by which layers can be ranked."""

    @property
    def useful(self) -> np.ndarray:
        """`[L, tokens]`, more where a layer would be missed more."""

    @property
    def rule(self) -> str:
        """What layers are left out by, such as `ablation loss`."""

    @property
    def ranked_by(self) -> str:
        """What that is for one layer, such as `loss change`."""

    @property
    def unit(self) -> str:
        """Its unit, or empty."""

    @property
    def of_layers(self) -> bool:
        """Whether it tells what whole layers are worth, not only one of their sublayers."""


def usefulness(measured: Ranked, include_first_token: bool = True) -> np.ndarray:
    """What layers are ranked by, `[L]`: mean over tokens, with token 0 or without.

    NaN where no token is left.
    """
    counted = measured.useful[:, 0 if include_first_token else 1 :]
    if not counted.shape[1]:
        return np.full(len(counted), np.nan)
    return np.asarray(counted.mean(axis=1, dtype=np.float64))


def least_useful(measured: Ranked, n: int, include_first_token: bool = True) -> list[int]:
    """The n layers that would be missed least, the most useless first; unknown ones never."""
    values = usefulness(measured, include_first_token)
    known = int(np.isfinite(values).sum())
    return [int(layer) for layer in np.argsort(values, kind="stable")[: min(n, known)]]


def useful_layers(measured: Ranked, remark: Callable[[Sequence[float]], str]) -> list[Finding]:
    """The most and the least useful layers; `remark` puts what they are ranked by in words."""
    values = usefulness(measured)
    order = least_useful(measured, len(values))
    if not order:
        return []

    def line(title: str, layers: list[int]) -> Finding:
        shown = [float(values[layer]) for layer in layers]
        return Finding(title, ", ".join(map(str, layers)), remark(shown))

    return [
        line("Most useful layers", order[::-1][:_NAMED]),
        line("Least useful layers", order[:_NAMED]),
    ]
