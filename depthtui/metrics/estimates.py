"""How long a metric is going to take, from earlier timings on the same model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from depthtui.data.protocol import Pace
from depthtui.data.run import RunResult
from depthtui.metrics.spec import Metric
from depthtui.sizes import about

_FIXED = 48
"""The fixed time of a pass, in tokens: measured on two cores, where a pass of 10 tokens takes half
as long as one of 64. On a GPU it is more."""

_MANY = 256
"""Tokens that run at once in the preparation of a metric for a model."""

_EARLY = 0.05
"""Up to this share of a metric's work, its start may be most of the time."""


def preparation_seconds(metric: Metric, result: RunResult, pace: Pace) -> float:
    """Seconds that a metric's preparation, once for a model, still takes; NaN if unknown.

    It runs hundreds of tokens at once, which take less time each than those of a short prompt.
    """
    work = 0.0 if metric.name in pace.prepared else metric.preparation(result)
    if not work:
        return 0.0
    tokens = pace.tokens or _MANY
    return work * pace.forward * (1 + _FIXED / _MANY) / (1 + _FIXED / tokens)


def seconds_of(metric: Metric, result: RunResult, pace: Pace) -> float | None:
    """Estimate the seconds that a metric of a run takes; None where there is no estimate.

    The pace is the metric's own on another prompt where it has been computed on this model, else
    that of a forward pass. A lens or an order that is found first counts too.
    """
    seconds_per_unit = pace.metrics.get(metric.name, pace.forward)
    before = preparation_seconds(metric, result, pace)
    if not np.isfinite(seconds_per_unit + before) or metric.why_unavailable(result):
        return None
    overhead = 0.0 if metric.name in pace.metrics else metric.overhead(result)
    return before + seconds_per_unit * (len(result.tokens) * metric.work(result) + overhead)


def about_time(metric: Metric, result: RunResult, pace: Pace) -> str:
    """The estimate in words, such as `about 10 s`; empty where there is none."""
    seconds = seconds_of(metric, result, pace)
    return "" if seconds is None else about(seconds)


def with_metric(pace: Pace, metric: Metric, result: RunResult, seconds: float) -> Pace:
    """The pace, with that of a metric of a run that was computed in `seconds`."""
    work = len(result.tokens) * metric.work(result)
    if work <= 0:
        return pace
    return replace(pace, metrics={**pace.metrics, metric.name: seconds / work})


class TimeLeft:
    """How long a metric that is being computed still takes, from its time so far.

    The time before its first unit, such as a pass over the prompt, is counted once it is a small
    part of the work done; until then only the time between its units counts.

    Args:
        now: when it began, in seconds.
        share: the share of its work that was done by then; None where unknown.
        expected: an earlier estimate of the seconds of all its work; None where unknown.
    """

    def __init__(self, now: float, share: float | None, expected: float | None = None) -> None:
        self._expected = expected
        self._began = None if share is None else (now, share)
        self._first: tuple[float, float] | None = None

    def at(self, now: float, share: float) -> float:
        """Seconds left once a share of all its work is done; negative where unknown."""
        self._first = self._first or (now, share)
        since, before = self._began or self._first
        if share - before < _EARLY:
            since, before = self._first
        completed_share = share - before
        if completed_share <= 0:
            return -1.0 if self._expected is None else self._expected * (1 - share)
        return (now - since) * (1 - share) / completed_share
