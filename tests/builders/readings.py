"""Readings of runs in short."""

from __future__ import annotations

from collections.abc import Sequence

from depthtui.data.run import RunResult
from depthtui.data.run_settings import SummarySettings
from depthtui.data.verdict import Verdict
from depthtui.depth.reading import reading_of


def verdict(results: Sequence[RunResult], settings: SummarySettings) -> Verdict | None:
    """The verdict of runs of one model; None without runs, or without evidence."""
    return reading_of(results, settings).verdict if results else None
