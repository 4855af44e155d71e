"""Layers that suffice begin by themselves behind a finished run, in the order that comes soon."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from depthtui.data.protocol import Pace
from depthtui.data.run import RunResult
from depthtui.metrics.estimates import seconds_of
from depthtui.metrics.sufficient import METRIC, MODEL_ORDER, NAME, OWN_ORDER, has_own_order

MOST_SECONDS = 120.0
"""Longest time of work that begins by itself, by the measured pace; longer work needs a key."""


def begins_by_itself(result: RunResult, pace: Pace, most_seconds: float = MOST_SECONDS) -> bool:
    """Whether layers that suffice are computed without a key, in the order of `soonest_order`.

    Args:
        result: the run's result.
        pace: the pace of its model.
        most_seconds: the longest time that they may take.
    """
    if not result.complete or NAME in result.settings.metrics:
        return False
    return _seconds(result, pace, soonest_order(result, pace)) <= most_seconds


def why_it_waits(result: RunResult, pace: Pace) -> str:
    """Why layers that suffice wait for a key behind a complete run; empty where they do not."""
    seconds = _seconds(result, pace, soonest_order(result, pace))
    if not result.complete or seconds <= MOST_SECONDS:
        return ""
    return "not timed yet" if math.isinf(seconds) else f"over {MOST_SECONDS / 60:g} min"


def soonest_order(result: RunResult, pace: Pace) -> Mapping[str, Any]:
    """Settings with which layers that suffice come soon; none where the run has them.

    They choose an order of the prompt's own tokens where the model's order takes too long.
    """
    if result.has_all(NAME):
        return {}
    of_model, own = (_seconds(result, pace, order) for order in (MODEL_ORDER, OWN_ORDER))
    is_own = MOST_SECONDS < of_model >= own and has_own_order(len(result.tokens))
    return OWN_ORDER if is_own else MODEL_ORDER


def _seconds(result: RunResult, pace: Pace, order: Mapping[str, Any]) -> float:
    """How long layers that suffice take in an order; infinite where there is no estimate."""
    ordered = replace(result, settings=replace(result.settings, **order))
    seconds = seconds_of(METRIC, ordered, pace)
    return math.inf if seconds is None else seconds
