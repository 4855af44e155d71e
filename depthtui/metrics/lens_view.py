"""Runs as a chosen lens reads them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields

from depthtui.data.lens import FittedLens, LogitLens
from depthtui.data.lens_view import LENS_METRICS, LOGIT, LensView, lens_of, why_not
from depthtui.data.run import RunResult
from depthtui.metrics import settling
from depthtui.metrics.chosen_lens import REPLACED
from depthtui.metrics.settling import Settling


def through(result: RunResult, lens: str) -> RunResult:
    """A run as a lens of `LENSES` reads it; arrays are shared, and the run stays as it is."""
    plain = result.plain if isinstance(result, LensView) else result
    if lens == LOGIT:
        return plain
    values = {field.name: getattr(plain, field.name) for field in fields(RunResult)}
    view = LensView(**values, plain=plain, lens=lens)
    view.drop(REPLACED)
    found = lens_of(plain, lens)
    if isinstance(found, FittedLens):
        arrays = {name: getattr(found, name) for name in LogitLens.shapes()}
        view.put(LENS_METRICS[LOGIT], LogitLens(**arrays, vocabulary=found.vocabulary))
        view.put(settling.NAME, Settling(found.divergence))
    else:
        view.fail(LENS_METRICS[LOGIT], why_not(plain, lens))
    return view


def all_through(results: Iterable[RunResult], lens: str) -> list[RunResult]:
    """Runs as a lens reads them."""
    return [through(result, lens) for result in results]
