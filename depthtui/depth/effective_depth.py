"""Effective depth: from per-token values to curves, from curves to a layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from depthtui.data.depth import Curves, DepthEstimate, PromptCurves
from depthtui.data.run_settings import SummarySettings
from depthtui.depth import rules
from depthtui.depth.intervals import RESAMPLES, depth_interval, draw, too_few
from depthtui.depth.weights import WEIGHTINGS, Weighting, pool_weights, task_numbers

NOT_FINITE = "the model's values are not finite"
"""Why a rule has no layer on a curve with values that are not numbers."""


def estimate_depths(
    parts: Sequence[PromptCurves],
    settings: SummarySettings,
    unknown: Mapping[str, str] = MappingProxyType({}),
) -> tuple[DepthEstimate, ...]:
    """What each rule says of pooled prompts, as the paper pools them and with each prompt once.

    Each has its bootstrap interval (see `intervals`) where it has a layer and there are
    prompts enough.

    Args:
        parts: one or more prompts of one model.
        settings: the thresholds.
        unknown: by rule, why its curve has values that are not finite, where that is known.
    """
    drawn = None if too_few(parts) else draw(task_numbers(parts), RESAMPLES, settings.seed)

    def with_interval(estimate: DepthEstimate, weighting: Weighting) -> DepthEstimate:
        if drawn is None or estimate.layer is None:
            return estimate
        rule = rules.named(estimate.rule)
        return replace(estimate, interval=depth_interval(parts, rule, settings, drawn, weighting))

    by_tokens, by_prompts = (
        [
            with_interval(estimate, weighting)
            for estimate in depths(pool(parts, weighting), settings, unknown)
        ]
        for weighting in WEIGHTINGS
    )
    return tuple(
        replace(estimate, prompt_weighted=once)
        for estimate, once in zip(by_tokens, by_prompts, strict=True)
    )


def pool(parts: Sequence[PromptCurves], weighting: Weighting = "tokens") -> Curves:
    """The mean over all prompts of each curve that every prompt has.

    Args:
        parts: one or more prompts of one model.
        weighting: what counts once.
    """
    if len(parts) == 1:
        return parts[0].curves
    (weights,) = pool_weights(parts, weighting, np.ones((1, len(parts))))
    return {
        name: np.average([part.curves[name] for part in parts], axis=0, weights=weights)
        for name in parts[0].curves
        if all(name in part.curves for part in parts)
    }


def depths(
    curves: Curves,
    settings: SummarySettings,
    unknown: Mapping[str, str] = MappingProxyType({}),
) -> tuple[DepthEstimate, ...]:
    """What each rule says about pooled curves; a rule without its curve is absent.

    Args:
        curves: what `pool` gives.
        settings: the thresholds.
        unknown: by rule, why its curve has values that are not finite, where that is known.
    """
    found = []
    for rule in rules.ALL:
        if (curve := rule.read(curves, settings)) is not None:
            finite = np.isfinite(curve).all()
            reason = unknown.get(rule.name, NOT_FINITE)
            found.append(rule.estimate(curve, settings) if finite else rule.none(settings, reason))
    return tuple(found)
