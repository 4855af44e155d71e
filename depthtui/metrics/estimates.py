"""How long a metric is going to take, from what was timed before on the same model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from depthtui.data.protocol import Pace
from depthtui.data.run import RunResult
from depthtui.metrics.spec import Metric
from depthtui.sizes import about


def seconds_of(metric: Metric, result: RunResult, pace: Pace) -> float | None:
    """Seconds that a metric of a run takes; None where that cannot be told.

    By the metric's own pace on another prompt where it has been computed on this model, else by
    that of a forward pass, which tells nothing of a lens that may have to be fitted first.
    """
    if metric.through and metric.name not in pace.metrics:
        return None
    pace_of_it = pace.metrics.get(metric.name, pace.forward)
    if not np.isfinite(pace_of_it) or metric.why_unavailable(result):
        return None
    return pace_of_it * len(result.tokens) * metric.work(result)


def about_time(metric: Metric, result: RunResult, pace: Pace) -> str:
    """The same in words, such as `about 10 s`; empty where it cannot be told."""
    seconds = seconds_of(metric, result, pace)
    return "" if seconds is None else about(seconds)


def with_metric(pace: Pace, metric: Metric, result: RunResult, seconds: float) -> Pace:
    """The pace once a metric of a run has been computed in so many seconds."""
    work = len(result.tokens) * metric.work(result)
    if work <= 0:
        return pace
    return replace(pace, metrics={**pace.metrics, metric.name: seconds / work})


class TimeLeft:
    """How long a metric that is being computed still takes, from what it took so far.

    Args:
        now: when it began, in seconds.
        share: of its work that was done by then; None where that is not known.
    """

    def __init__(self, now: float, share: float | None) -> None:
        self._began = now
        self._share = share

    def at(self, now: float, share: float) -> float:
        """Seconds once a share of all its work is done; negative where they cannot be told."""
        if self._share is None:
            self._began, self._share = now, share
        done = share - self._share
        return -1.0 if done <= 0 else (now - self._began) * (1 - share) / done
