"""Readings of runs in short."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from depthtui.data.run import RunResult
from depthtui.data.run_settings import SummarySettings
from depthtui.data.verdict import Verdict
from depthtui.depth.reading import reading_of
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
