"""What runs of one model found beyond the effective depth, in words."""

from __future__ import annotations

from collections.abc import Sequence

from depthtui.data.run import RunResult
from depthtui.data.run_settings import SummarySettings
from depthtui.depth.effective_depth import mean_curves
from depthtui.metrics import ALL, METRICS
from depthtui.metrics.lens_view import all_through
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.spec import Finding, LayerMap, LayerValues, Metric


def findings(pooled: Pooled) -> list[Finding]:
    """The other metrics that were computed, in words; then those that could not be."""
    lines = [
        line
        for metric in ALL
        if (value := pooled.get(metric)) is not None
        for line in metric.findings(value, pooled)
    ]
    return lines + unavailable(pooled.results)


def by_layer(pooled: Pooled) -> list[tuple[Metric, LayerValues]]:
    """What there is for each layer, or for each depth, and the metric that it is of."""
    return [
        (metric, values)
        for metric in ALL
        if (value := pooled.get(metric)) is not None
        for values in metric.per_layer(value)
    ]


def layer_maps(pooled: Pooled) -> list[tuple[Metric, LayerMap]]:
    """The pictures of layers x layers, and the metric that each is of."""
    return [
        (metric, picture)
        for metric in ALL
        if (value := pooled.get(metric)) is not None
        for picture in metric.maps(value)
    ]


def unavailable(results: Sequence[RunResult]) -> list[Finding]:
    """Why metrics that were asked for are unavailable, and for how many prompts."""
    lines = []
    for metric in METRICS:
        reasons = [reason for run in results if (reason := run.unavailable.get(metric.name))]
        for reason in dict.fromkeys(reasons):
            count = reasons.count(reason)
            share = f" ({count} of {len(results)} prompts)" if len(results) > 1 else ""
            lines.append(Finding(metric.title, "–", reason.rstrip(".") + share))
    return lines


def pool_runs(results: Sequence[RunResult], settings: SummarySettings) -> Pooled:
    """Runs of one model taken together, as the lens of the settings reads them."""
    results = all_through(results, settings.lens)
    return Pooled(results, settings, mean_curves(results, settings))
