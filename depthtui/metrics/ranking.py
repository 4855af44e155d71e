"""Rankings of layers by how little a model would miss them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np

from depthtui.data.model import PART_TITLES
from depthtui.metrics.reduced import token_mean
from depthtui.metrics.spec import Finding

_NAMED = 3


class Ranked:
    """A result by which layers can be ranked; where it has a `part`, by the worth of that part.

    Attributes:
        rule: the quantity by which layers are left out, such as `ablation loss`.
        of_one: the quantity of one layer, such as `loss change`.
        unit: its unit, or empty.
    """

    rule: ClassVar[str]
    of_one: ClassVar[str]
    unit: ClassVar[str] = ""

    @property
    def useful(self) -> np.ndarray:
        """How much each layer would be missed, `[L, tokens]`."""
        raise NotImplementedError

    @property
    def of_layers(self) -> bool:
        """Whether it ranks whole layers, not only one of their sublayers."""
        return getattr(self, "part", "layer") == "layer"

    @property
    def ranked_by(self) -> str:
        """The quantity that ranks layers, such as `loss change without MLP`."""
        part = getattr(self, "part", "layer")
        return self.of_one if part == "layer" else f"{self.of_one} without {PART_TITLES[part]}"


ALL_TOKENS = slice(0, None)


def usefulness(ranking: Ranked, tokens: slice = ALL_TOKENS) -> np.ndarray:
    """The value that ranks each layer, `[L]`: the mean over the tokens that count.

    NaN where no token is left.
    """
    useful = ranking.useful[:, tokens]
    return token_mean(useful) if useful.shape[1] else np.full(len(useful), np.nan)


def least_useful(ranking: Ranked, n: int, tokens: slice = ALL_TOKENS) -> list[int]:
    """The n known layers that would be missed least, the least useful first."""
    return lowest(usefulness(ranking, tokens), n)


def lowest(values: np.ndarray, n: int) -> list[int]:
    """The n layers with the lowest known values `[L]`, the lowest first."""
    n_known = int(np.isfinite(values).sum())
    return [int(layer) for layer in np.argsort(values, kind="stable")[: min(n, n_known)]]


def useful_layers(values: np.ndarray, remark: Callable[[Sequence[float]], str]) -> list[Finding]:
    """Findings of the most and least useful layers by `[L]` values; `remark` words the values."""
    order = lowest(values, len(values))
    if not order:
        return []

    def line(title: str, layers: list[int]) -> Finding:
        layer_values = [float(values[layer]) for layer in layers]
        return Finding(title, ", ".join(map(str, layers)), remark(layer_values))

    return [
        line("Most useful layers", order[::-1][:_NAMED]),
        line("Least useful layers", order[:_NAMED]),
    ]
