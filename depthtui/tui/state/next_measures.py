"""Which metrics to compute next for the verdict of a run."""

from __future__ import annotations

from depthtui.data.run import RunResult
from depthtui.metrics.patch import NO_SOURCE
from depthtui.metrics.registry import METRICS
from depthtui.metrics.spec import Metric

_QUICK = 8
"""The most forward passes a layer that a quick metric takes: the others take some a token too."""


def next_measures(result: RunResult) -> tuple[str, ...]:
    """Names of the metrics to compute next for the verdict of a run.

    The quick ones together, until the run has all of them that it can have; then the others too.
    """
    metrics = [
        metric
        for metric in METRICS
        if metric.gives_evidence and metric.on_demand and not metric.why_unavailable(result)
    ]
    quick = [metric for metric in metrics if is_quick(metric, result)]
    lacking = [
        metric
        for metric in quick
        if metric.name not in result.unavailable
        and not (result.complete and result.has_all(metric.name))
    ]
    return tuple(metric.name for metric in (quick if lacking else metrics))


def key_that_helps(metric: Metric, reason: str) -> str:
    """The key for what an unavailable metric needs, in a sentence; empty where none helps."""
    if reason == NO_SOURCE:
        return "L names one."
    return "L sets the token that the answer begins with." if metric.needs_answer else ""


def is_quick(metric: Metric, result: RunResult) -> bool:
    """Whether a metric of a run is computed in about the time that a user waits for an answer."""
    return metric.work(result) <= _QUICK * result.model.n_layers
