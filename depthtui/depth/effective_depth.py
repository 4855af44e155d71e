"""Effective depth: from per-token values to curves, from curves to a layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from depthtui.data.depth import Curves, DepthEstimate, PromptCurves
from depthtui.data.run_settings import SummarySettings
from depthtui.depth import rules
from depthtui.depth.intervals import depth_interval, too_few
from depthtui.depth.weights import WEIGHTINGS, Weighting, pool_weights, task_numbers
from depthtui.metrics.resampling import RESAMPLES, draw

NOT_FINITE = "the model's values are not finite"
"""Why a rule has no layer on a curve with values that are not finite."""


def estimate_depths(
    parts: Sequence[PromptCurves],
    settings: SummarySettings,
    unknown: Mapping[str, str] = MappingProxyType({}),
) -> tuple[DepthEstimate, ...]:
    """Each rule's estimate on pooled prompts, as the paper pools them and with each prompt once.

    An estimate has a bootstrap interval (see `intervals`) where it has a layer and there are
    enough prompts.

    Args:
        parts: one or more prompts of one model.
        settings: the thresholds.
        unknown: by rule, why its curve has values that are not finite, where the reason is known.
    """

    def with_interval(estimate: DepthEstimate, weighting: Weighting) -> DepthEstimate:
        rule = rules.named(estimate.rule)
        rule_parts = parts_with(rule.curve, parts)
        if estimate.layer is None or too_few(rule_parts):
            return estimate
        counts = draw(task_numbers(rule_parts), RESAMPLES, settings.seed)
        return replace(
            estimate, interval=depth_interval(rule_parts, rule, settings, counts, weighting)
        )

    by_tokens, by_prompts = (
        [
            with_interval(estimate, weighting)
            for estimate in depths(pool(parts, weighting), settings, unknown)
        ]
        for weighting in WEIGHTINGS
    )
    return tuple(
        replace(estimate, prompt_weighted=by_prompt)
        for estimate, by_prompt in zip(by_tokens, by_prompts, strict=True)
    )


def pool(parts: Sequence[PromptCurves], weighting: Weighting = "tokens") -> Curves:
    """The mean over all prompts of each curve that every prompt has.

    The curve of a rule that is `of_prompt` is the mean over the prompts that have it.

    Args:
        parts: one or more prompts of one model.
        weighting: the unit that counts once.
    """
    if len(parts) == 1:
        return parts[0].curves
    prompt_curves = {rule.curve for rule in rules.ALL if rule.of_prompt}
    curves = dict.fromkeys(name for part in parts for name in part.curves)
    parts_by_curve = {name: parts_with(name, parts) for name in curves}
    return {
        name: _mean(name, parts_by_curve[name], "prompts" if name in prompt_curves else weighting)
        for name in curves
        if name in prompt_curves or len(parts_by_curve[name]) == len(parts)
    }


def parts_with(curve: str, parts: Sequence[PromptCurves]) -> list[PromptCurves]:
    """The prompts that have a curve."""
    return [part for part in parts if curve in part.curves]


def _mean(curve: str, parts: Sequence[PromptCurves], weighting: Weighting) -> np.ndarray:
    (weights,) = pool_weights(parts, weighting, np.ones((1, len(parts))))
    return np.average([part.curves[curve] for part in parts], axis=0, weights=weights)


def depths(
    curves: Curves,
    settings: SummarySettings,
    unknown: Mapping[str, str] = MappingProxyType({}),
) -> tuple[DepthEstimate, ...]:
    """Each rule's estimate on pooled curves; a rule without its curve is absent.

    Args:
        curves: the result of `pool`.
        settings: the thresholds.
        unknown: by rule, why its curve has values that are not finite, where the reason is known.
    """
    estimates = []
    for rule in rules.ALL:
        if (curve := rule.read(curves, settings)) is not None:
            finite = np.isfinite(curve).all()
            reason = unknown.get(rule.name, NOT_FINITE)
            estimates.append(
                rule.estimate(curve, settings) if finite else rule.none(settings, reason)
            )
    return tuple(estimates)
