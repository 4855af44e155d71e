"""A reading's results beyond the effective depth, in words."""

from __future__ import annotations

from collections.abc import Iterator

from depthtui.data.lens_view import LENS_METRICS, LOGIT, fitted_words
from depthtui.depth import rules
from depthtui.depth.effective_depth import depths
from depthtui.depth.reading import Reading
from depthtui.depth.warnings import is_finite
from depthtui.metrics import ALL, METRICS
from depthtui.metrics.reduced_lens import ReducedFittedLens
from depthtui.metrics.spec import Finding, LayerMap, LayerValues, Metric

_FITTED_LENSES = {metric: lens for lens, metric in LENS_METRICS.items() if lens != LOGIT}


def findings(reading: Reading) -> list[Finding]:
    """The other metrics that were computed, in words; then the unavailable ones.

    A reading with values that are not finite yields the unavailable ones alone.
    """
    lines: list[Finding] = []
    if not is_finite(reading):
        return unavailable(reading)
    for metric in ALL:
        if (value := reading.get(metric)) is not None:
            if metric.name in _FITTED_LENSES:
                lines += _by_rules(metric, value, reading)
            lines += metric.findings(value, reading)
    return lines + unavailable(reading)


def _by_rules(metric: Metric, value: ReducedFittedLens, reading: Reading) -> Iterator[Finding]:
    """The depths that a fitted lens reads, and how it was fitted."""
    through = reading.through(_FITTED_LENSES[metric.name])
    words = fitted_words(value.fit)
    for estimate in depths(through.curves, through.settings):
        rule = rules.named(estimate.rule)
        if rule.through_lens:
            count = "none" if estimate.count is None else f"{estimate.count} of {reading.n_layers}"
            yield Finding(f"{metric.title}, {rule.title} rule", count, words)
            words = ""


def by_layer(reading: Reading) -> list[tuple[Metric, LayerValues]]:
    """The values for each layer or each depth, each with its metric."""
    return [
        (metric, values)
        for metric in ALL
        if (value := reading.get(metric)) is not None
        for values in metric.per_layer(value)
    ]


def layer_maps(reading: Reading) -> list[tuple[Metric, LayerMap]]:
    """The pictures of layers x layers or heads, each with its metric."""
    return [
        (metric, picture)
        for metric in ALL
        if (value := reading.get(metric)) is not None
        for picture in metric.maps(value)
    ]


def unavailable(reading: Reading) -> list[Finding]:
    """Why metrics that were asked for are unavailable, and for how many prompts."""
    lines, count = [], len(reading.prompts)
    for metric in METRICS:
        reasons_of_prompts = (reading.unavailable(prompt) for prompt in reading.prompts)
        reasons = [reason for prompt in reasons_of_prompts if (reason := prompt.get(metric.name))]
        for reason in dict.fromkeys(reasons):
            share = f" ({reasons.count(reason)} of {count} prompts)" if count > 1 else ""
            lines.append(Finding(metric.title, "–", reason.rstrip(".") + share))
    return lines
