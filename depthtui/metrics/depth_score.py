"""DepthScore: the centre of mass of useful depth (arXiv 2505.13898). No threshold."""

from __future__ import annotations

from typing import Any

import numpy as np

from depthtui.metrics import skip_effects
from depthtui.metrics.ablation import only
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.skip_effects import SkipEffects
from depthtui.metrics.spec import Finding, Metric, PromptMetrics


def depth_score(effects: np.ndarray) -> float:
    """sum_l l e_l / sum_l e_l, in layers counted from 0; NaN where no layer has an effect.

    Args:
        effects: `[L]`, the effect e_l >= 0 of leaving out layer l, such as
            `SkipEffects.output` or `downstream_effect`.
    """
    total = float(np.sum(effects, dtype=np.float64))
    if not np.isfinite(total) or total <= 0:
        return float("nan")
    return float(np.arange(len(effects)) @ effects.astype(np.float64)) / total


def downstream_effect(skip: SkipEffects) -> np.ndarray:
    """The mean over the later layers of the mean relative change, `[L]` by layer left out.

    The last layer has no later ones: 0.
    """
    later = np.triu(skip.mean_layers, 1).sum(axis=1, dtype=np.float64)
    n_layers = len(later)
    return np.asarray(later / np.maximum(1, n_layers - 1 - np.arange(n_layers)))


def _pool(pooled: Pooled) -> SkipEffects | None:
    found: SkipEffects | None = pooled.get(skip_effects.METRIC)
    return found


def _summary(skip: SkipEffects, pooled: Pooled) -> dict[str, Any]:
    return {
        "depth_score": {
            "output": depth_score(skip.output),
            "downstream": depth_score(downstream_effect(skip)),
        }
    }


def _findings(skip: SkipEffects, pooled: Pooled) -> list[Finding]:
    effects = {"output": skip.output, "later layers": downstream_effect(skip)}
    scores = {name: depth_score(values) for name, values in effects.items()}
    known = {name: score for name, score in scores.items() if np.isfinite(score)}
    if not known:
        return [Finding("DepthScore", "–", "skipping a layer changes nothing")]
    value = " and ".join(f"{score:.1f}" for score in known.values())
    remark = f"by effect on {' and '.join(known)}{only(skip.part)}"
    return [Finding("DepthScore", f"{value} of {pooled.n_layers}", remark)]


def _cell_means(prompts: PromptMetrics) -> dict[str, float]:
    """The score of the cell: of the largest effects of its prompts."""
    skipped = [metrics["skip_effects"] for metrics, _ in prompts if "skip_effects" in metrics]
    outputs = [found["output"] for found in skipped if found is not None]
    if not outputs:
        return {}
    return {"DepthScore": depth_score(np.max(np.array(outputs, float), axis=0))}


METRIC = Metric(
    name="depth_score",
    title="DepthScore",
    tells="DepthScore, the centre of mass of useful depth.",
    formula="`Σ l e_l / Σ e_l`, e_l the effect of skipping layer l",
    stage="derived",
    of="skip_effects",
    pool=_pool,
    summary=_summary,
    findings=_findings,
    cell_means=_cell_means,
)
