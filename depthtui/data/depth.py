"""Curves over depth, and the effective depths that rules find on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

import numpy as np

from depthtui.data.run_settings import SummarySettings


@dataclass(frozen=True)
class DepthEstimate:
    """One effective depth (paper, section on effective depth).

    Attributes:
        rule: name of the rule, such as `kl`.
        layer: 0-based layer index e, or None where no layer qualifies.
        ratio: (e + 1) / L, or None.
        threshold: the threshold used, or None for a rule without one.
        reason: why there is no layer; empty where there is one.
        warning: why to doubt the layer, such as a non-monotone crossing; may be empty.
        interval: bootstrap interval of the layer, or None.
        crossing: where the line through the curve's values meets the threshold (zero for the
            cosine), a layer with decimals: between layers e - 1 and e, for the cosine between e
            and e + 1. It moves smoothly where the layer jumps. None without a layer.
        area: of the KL rule: the mean over layers of KL / largest KL. Smooth, and of no threshold:
            the share of the depth that it would take a KL which falls at once. None for others.
            Of few prompts the largest KL is too large, and the area a little too small: it has
            no interval, since resamples are off by as much again.
        prompt_weighted: what the rule says of the mean in which each prompt counts once instead
            of each token; None where the mean is that one, or unknown.
    """

    rule: str
    layer: int | None
    ratio: float | None
    threshold: float | None
    reason: str = ""
    warning: str = ""
    interval: tuple[float, float] | None = None
    crossing: float | None = None
    area: float | None = None
    prompt_weighted: DepthEstimate | None = None

    @property
    def count(self) -> int | None:
        """How many layers that is: e + 1, or None."""
        return None if self.layer is None else self.layer + 1


@dataclass(frozen=True)
class Curves:
    """Means over tokens, one value a layer; None where a metric was not computed.

    `attention_*`, `mlp_*` and `layer_*` are `[L]`; `kl`, `overlap` and
    `entropy` are `[L+1]`. `mean_cosine` is the mean of the three cosines, or
    the layer's alone where the split is unavailable. `others` are further
    curves by name, `[L]` or `[L+1]`.
    """

    attention_norm_ratio: np.ndarray | None = None
    attention_cosine: np.ndarray | None = None
    mlp_norm_ratio: np.ndarray | None = None
    mlp_cosine: np.ndarray | None = None
    layer_norm_ratio: np.ndarray | None = None
    layer_cosine: np.ndarray | None = None
    mean_cosine: np.ndarray | None = None
    kl: np.ndarray | None = None
    overlap: np.ndarray | None = None
    entropy: np.ndarray | None = None
    others: dict[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> Curves:
        """The curves of these names."""
        declared = {name: values for name, values in arrays.items() if name in _DECLARED}
        others = {name: values for name, values in arrays.items() if name not in _DECLARED}
        return cls(**declared, others=others)

    def get(self, name: str) -> np.ndarray | None:
        """The curve of a name; None where it was not computed."""
        return self.by_name().get(name)

    def by_name(self) -> dict[str, np.ndarray]:
        """The curves that were computed."""
        declared = {name: getattr(self, name) for name in _DECLARED}
        return {name: curve for name, curve in declared.items() if curve is not None} | self.others


_DECLARED = tuple(field.name for field in fields(Curves) if field.name != "others")
"""Names of the curves that have a field."""


@dataclass(frozen=True)
class PromptCurves:
    """One prompt's share of a pooled mean.

    Attributes:
        n_tokens: how many tokens were averaged, at least 1.
        curves: the means over these tokens.
        task: what the prompt is of; in a mean over prompts of several tasks, each task has the
            same weight. None where that does not matter.
    """

    n_tokens: int
    curves: Curves
    task: str | None = None


@dataclass(frozen=True)
class DepthSummary:
    """Curves pooled over the tokens of `n_prompts` runs, and the depths they give.

    `effective_prompts` is how many prompts of the same length that is worth (see
    `depth.weights`).
    """

    settings: SummarySettings
    n_layers: int
    n_tokens: int
    curves: Curves
    depths: tuple[DepthEstimate, ...]
    n_prompts: int = 1
    effective_prompts: float = 1.0
