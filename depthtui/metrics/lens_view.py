"""Runs as a chosen lens reads them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields

from depthtui.data.lens import LENS_CLASSES, FittedLens, LogitLens
from depthtui.data.lens_view import (
    LENS_METRICS,
    LOGIT,
    LensView,
    chosen_lens,
    lens_after,
    lens_title,
)
from depthtui.data.run import RunResult
from depthtui.data.run_settings import LENSES
from depthtui.metrics import METRIC_BY_NAME, settling
from depthtui.metrics.settling import Settling
from depthtui.metrics.spec import Measure

_REPLACED = (LENS_METRICS[LOGIT], settling.NAME)


def through(result: RunResult, lens: str) -> RunResult:
    """A run as a lens of `LENSES` reads it; arrays are shared, and the run stays as it is."""
    plain = result.plain if isinstance(result, LensView) else result
    if lens == LOGIT:
        return plain
    values = {field.name: getattr(plain, field.name) for field in fields(RunResult)}
    view = LensView(**values, plain=plain, lens=lens)
    view.drop(_REPLACED)
    found = plain.get(LENS_CLASSES[lens])
    if isinstance(found, FittedLens):
        arrays = {name: getattr(found, name) for name in LogitLens.shapes()}
        view.put(LENS_METRICS[LOGIT], LogitLens(**arrays, vocabulary=found.vocabulary))
        view.put(settling.NAME, Settling(found.divergence))
    else:
        view.fail(LENS_METRICS[LOGIT], _why_not(plain, lens))
    return view


def all_through(results: Iterable[RunResult], lens: str) -> list[RunResult]:
    """Runs as a lens reads them."""
    return [through(result, lens) for result in results]


def next_lens(lens: str, results: Iterable[RunResult]) -> str:
    """The lens after this one among those that can be computed, or that one of the runs has."""
    measured = {name for result in results for name in result.measured}
    there = {
        name
        for name in LENSES
        if name == LOGIT or LENS_METRICS[name] in METRIC_BY_NAME.keys() | measured
    }
    return lens_after(lens, there)


def measured_by(metric: str, lens: str) -> str:
    """The metric that has, under a lens, what a metric has under the logit lens."""
    return LENS_METRICS[lens] if metric in _REPLACED and lens != LOGIT else metric


def measure_title(measure: Measure, result: RunResult | None) -> str:
    """A measure's title, such as `Lens KL`, or `Lens KL, affine` where that lens is read."""
    lens = chosen_lens(result)
    if measured_by(measure.metric, lens) == measure.metric:
        return measure.title
    return f"{measure.title}, {lens_title(lens).removesuffix(' lens')}"


def _why_not(result: RunResult, lens: str) -> str:
    reason = result.unavailable.get(LENS_METRICS[lens]) or result.model.lens_missing
    return reason or f"the {lens_title(lens)} has not read this run"
