"""Idle layers: they write nothing, so that a model without them is the same model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from depthtui.data.depth import PromptCurves
from depthtui.depth import rules
from depthtui.metrics import ablation, contributions, similarity
from depthtui.metrics.pooling import PromptReading


def idle_layers(prompts: Sequence[PromptReading]) -> tuple[int, ...] | None:
    """The layers whose update is exactly 0 at every token of every prompt, in order.

    Such a layer does not turn the stream, and its ablation changes nothing: where angle and
    ablation were measured, they are 0 as well, within their rounding.

    Returns:
        None where the updates of some prompt are not known.
    """
    idle = [on for prompt in prompts if (on := _idle_on(prompt)) is not None]
    if not idle or len(idle) < len(prompts):
        return None
    return tuple(np.flatnonzero(np.all(idle, axis=0)).tolist())


def _idle_on(prompt: PromptReading) -> np.ndarray | None:
    """Whether each layer is idle on a prompt, `[L]`; None where unknown."""
    contribution = prompt.every.get(contributions.METRIC.name)
    if not isinstance(contribution, contributions.ReducedContributions):
        return None
    idle = contribution.layer_norm_ratio == 0
    similarities = prompt.every.get(similarity.METRIC.name)
    if isinstance(similarities, similarity.ReducedSimilarity):
        idle &= ~(similarities.angular_distance[0] > similarity.FLOOR)
    ablations = prompt.every.get(ablation.METRIC.name)
    if isinstance(ablations, ablation.ReducedAblation):
        idle &= ~(ablations.output.kl > ablations.output.rounding)
    return idle


def past_idle(part: PromptCurves, idle: Sequence[int]) -> PromptCurves:
    """The curves without turns at idle layers; curves that a lens reads do not change."""
    curves = {
        rule.curve: writing_only(part.curves[rule.curve], idle)
        for rule in rules.ALL
        if not rule.through_lens and rule.curve in part.curves
    }
    return replace(part, curves={**part.curves, **curves})


def writing_only(values: np.ndarray, idle: Sequence[int]) -> np.ndarray:
    """The values `[..., L]`, with the value of the next writing layer at each idle one."""
    layers = np.arange(values.shape[-1])
    writing = np.setdiff1d(layers, idle)
    if not len(writing):
        return values
    following = np.searchsorted(writing, layers).clip(max=len(writing) - 1)
    return np.asarray(values[..., writing[following]])
