"""The metric and the measures of a chosen lens, in place of the logit lens's."""

from __future__ import annotations

from dataclasses import replace

from depthtui.data.lens_view import LENS_METRICS, LOGIT, lens_name
from depthtui.metrics import settling
from depthtui.metrics.pooling import READ_BY_LENS, Pooled
from depthtui.metrics.registry import MEASURE_BY_NAME
from depthtui.metrics.spec import Measure

_NAMES = {settling.NAME: "divergence"}
"""Metrics of the logit lens whose measure has another name in a fitted lens."""


def metric_of_lens(metric: str, lens: str) -> str:
    """The metric that replaces, under a lens, a metric of the logit lens."""
    return LENS_METRICS[lens] if metric in READ_BY_LENS and lens != LOGIT else metric


def measure_of_lens(measure: Measure, lens: str, pooled: Pooled | None = None) -> Measure:
    """A measure with a lens's title and values, such as `Lens KL, affine` for `Lens KL`.

    The measure of a metric that no lens replaces is returned as it is. A measure that lens and
    thresholds decide has the values of a reading, and none without one.
    """
    if metric_of_lens(measure.metric, lens) != measure.metric:
        measure = replace(measure, title=f"{measure.title}, {lens_name(lens)}")
        if measure.read_by is None:
            of_lens = MEASURE_BY_NAME[f"{lens}_{_NAMES.get(measure.name, measure.name)}"]
            return replace(measure, values=of_lens.values)
    if measure.read_by is None or pooled is None:
        return measure
    read_by, limits = measure.read_by, (0.0, float(pooled.n_layers))
    return replace(measure, values=lambda run: read_by(run, pooled), limits=limits)
