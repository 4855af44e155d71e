"""DepthScore: the centre of mass of useful depth (arXiv 2505.13898). No threshold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from depthtui.metrics import skip_effects
from depthtui.metrics.choices import left_out_words
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.skip_effects import ReducedSkipEffects, SkipEffects
from depthtui.metrics.spec import Finding, Metric


def depth_score(effects: np.ndarray, chosen: Sequence[int] = ()) -> float:
    """sum_l l e_l / sum_l e_l, in layers counted from 0; NaN where no layer has an effect.

    Args:
        effects: `[L]`, the effect e_l >= 0 of leaving out layer l, such as
            `SkipEffects.output` or `downstream_effect`.
        chosen: the layers to sum over; empty for every one.
    """
    layers = np.array(chosen or range(len(effects)))
    layer_effects = effects[layers].astype(np.float64)
    total = float(layer_effects.sum())
    if not np.isfinite(total) or total <= 0:
        return float("nan")
    return float(layers @ layer_effects) / total


def downstream_effect(skip: SkipEffects | ReducedSkipEffects) -> np.ndarray:
    """The mean over the later layers of the mean relative change, `[L]` by layer left out.

    0 for the last layer, which has no later ones; NaN for a layer that was not skipped.
    """
    later = np.triu(skip.mean_layers, 1).sum(axis=1, dtype=np.float64)
    later[np.isnan(skip.output)] = np.nan
    n_layers = len(later)
    return np.asarray(later / np.maximum(1, n_layers - 1 - np.arange(n_layers)))


def _summary(skip: ReducedSkipEffects, pooled: Pooled) -> dict[str, Any]:
    return {
        "output": depth_score(skip.output, skip.chosen),
        "downstream": depth_score(downstream_effect(skip), skip.chosen),
    }


def _findings(skip: ReducedSkipEffects, pooled: Pooled) -> list[Finding]:
    effects = {"output": skip.output, "later layers": downstream_effect(skip)}
    scores = {name: depth_score(values, skip.chosen) for name, values in effects.items()}
    finite_scores = {name: score for name, score in scores.items() if np.isfinite(score)}
    if not finite_scores:
        return [Finding("DepthScore", "–", "skipping a layer changes nothing")]
    value = " and ".join(f"{score:.1f}" for score in finite_scores.values())
    words = left_out_words(skip.part, skip.chosen, pooled.n_layers, pooled.stand_in)
    remark = f"by effect on {' and '.join(finite_scores)}{words}"
    return [Finding("DepthScore", f"{value} of {pooled.n_layers}", remark)]


METRIC = Metric(
    name="depth_score",
    title="DepthScore",
    description="The centre of mass of useful depth.",
    formula="`Σ l e_l / Σ e_l`, e_l the effect of skipping layer l",
    reading="The layer around which the effects balance. It is larger where later layers matter.",
    look_for="Its shift between prompts or models of the same depth.",
    source="Csordás, Manning, Potts, arXiv 2505.13898",
    stage="derived",
    derived_from="skip_effects",
    pool=lambda reduced, pooled: pooled.get(skip_effects.METRIC),
    summary=_summary,
    findings=_findings,
    means=lambda skip, pooled: {"DepthScore": depth_score(skip.output, skip.chosen)},
)
