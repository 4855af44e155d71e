"""Readings of runs in short."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from depthtui.data.run import RunResult
from depthtui.data.run_settings import SummarySettings
from depthtui.data.verdict import Evidence, Verdict
from depthtui.depth.certainty import evidence_of
from depthtui.depth.reading import Reading, reading_of
from depthtui.metrics.resampling import FEWEST_UNITS
from depthtui.metrics.spec import Metric
from depthtui.report.groups import PooledRuns, RunGroup
from depthtui.report.summary_json import summary_dict


def verdict(results: Sequence[RunResult], settings: SummarySettings) -> Verdict | None:
    """The verdict of runs of one model; None without runs, or without evidence."""
    return reading_of(results, settings).verdict if results else None


def group_of(*parts: Sequence[RunResult], settings: SummarySettings) -> RunGroup:
    """A group of runs, in parts that are pooled."""
    return RunGroup(tuple(PooledRuns(reading_of(part, settings)) for part in parts))


def summary_of(*parts: Sequence[RunResult], settings: SummarySettings) -> dict[str, Any]:
    """The JSON values of the runs' summary."""
    return summary_dict(group_of(*parts, settings=settings))


def evidence_by(metric: Metric, reading: Reading) -> list[Evidence]:
    """The evidence by a metric, as if enough prompts were read."""
    value = reading.get(metric)
    found = [] if value is None else metric.evidence(value, reading)
    return [evidence_of(one, reading.n_layers, (FEWEST_UNITS, FEWEST_UNITS)) for one in found]
