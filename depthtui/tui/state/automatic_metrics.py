"""The metrics that begin by themselves after a finished run, and how they are computed soon."""

from __future__ import annotations

from typing import Any

from depthtui.data.protocol import Pace
from depthtui.data.run import RunResult
from depthtui.metrics import sufficient
from depthtui.metrics.estimates import preparation_seconds, seconds_of
from depthtui.tui.state.session import SessionRun

MOST_SECONDS = 120.0
"""Longest time of work that begins by itself, by the measured pace; longer work needs a key."""

_OWN_ORDER: dict[str, Any] = {"sufficient_order": "own", "sufficient_search": "ranked"}
MODEL_ORDER: dict[str, Any] = {"sufficient_order": "model", "sufficient_search": "greedy"}


def automatic_metrics(run: SessionRun, pace: Pace, most_seconds: float) -> tuple[str, ...]:
    """Names of the metrics that begin by themselves after a finished run.

    Args:
        run: the run.
        pace: the pace of its model.
        most_seconds: the longest time that they may take.
    """
    result, metric = run.result, sufficient.METRIC
    if result is None or not result.complete or metric.name in run.settings.metrics:
        return ()
    if run.settings.sufficient_order != "model":
        return ()
    seconds = seconds_of(metric, result, pace)
    return (metric.name,) if seconds is not None and seconds <= most_seconds else ()


def quick_order(result: RunResult, pace: Pace) -> dict[str, Any]:
    """Settings that make layers that suffice come soon, on top of those of the run.

    They choose an order of the prompt's own tokens while the model's order takes long to find.
    """
    if result.settings.sufficient_order != "model":
        return {}
    preparation = preparation_seconds(sufficient.METRIC, result, pace)
    is_long = not preparation <= MOST_SECONDS
    return _OWN_ORDER if is_long and sufficient.has_own_order(len(result.tokens)) else {}
