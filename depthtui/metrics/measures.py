"""Measures for heatmaps: arrays of a result, and the same measures for every lens."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from depthtui.data.arrays import MetricResult
from depthtui.data.lens import LogitLens
from depthtui.data.run import Result, RunResult
from depthtui.metrics.spec import Measure, Values


def values_of(kind: type[Result], values: Callable[[Result], np.ndarray]) -> Values:
    """A measure's function of its values, from a metric's result; None where a run has none."""

    def of_run(run: RunResult) -> np.ndarray | None:
        result = run.get(kind)
        return None if result is None else values(result)

    return of_run


def array(kind: type[MetricResult], name: str, rows: slice = slice(None)) -> Values:
    """A measure's function of its values: an array of a result, or some rows of it."""
    return values_of(kind, lambda result: np.asarray(getattr(result, name))[rows])


def floor_of(kind: type[MetricResult]) -> Callable[[RunResult], float]:
    """A measure's function of its noise floor: `floor` of a result; 0 where there is none."""
    return lambda run: float(getattr(run.get(kind), "floor", 0.0))


def lens_measures(
    kind: type[LogitLens], title: str, prefix: str = ""
) -> tuple[Measure, Measure, Measure, Measure]:
    """KL, overlap and entropy of a lens, and whether its first choice is the output's.

    Args:
        kind: the class of the lens's results.
        title: the beginning of each title.
        prefix: the beginning of each name.
    """
    of_depths = partial(Measure, reads_residual=True)
    return (
        of_depths(
            f"{prefix}kl",
            f"{title} KL",
            "KL(p_l || p), nats",
            array(kind, "kl"),
            reading="0 is the output's own distribution.",
        ),
        of_depths(
            f"{prefix}overlap",
            f"{title} overlap",
            "top-5 shared",
            array(kind, "overlap"),
            limits=(0.0, 1.0),
            reading="1: the same five tokens come first as in the output, 0: none of them.",
        ),
        of_depths(
            f"{prefix}entropy",
            f"{title} entropy",
            "H(p_l), nats",
            array(kind, "entropy"),
            reading="0: the lens is certain of one token; the more, the more tokens share.",
        ),
        of_depths(
            f"{prefix}says_final",
            f"{title} agrees",
            "top-1 = final",
            values_of(kind, _says_final),
            limits=(0.0, 1.0),
            reading="1: the lens's first choice is the output's; 0: it is not.",
        ),
    )


def divergence_measure(
    kind: type[MetricResult], name: str, title: str, reading: str = ""
) -> Measure:
    """The Jensen-Shannon divergence of a lens and the output, an array of the class `kind`."""
    return Measure(
        name,
        title,
        "JSD(p_l, p), nats",
        array(kind, "divergence"),
        limits=(0.0, math.log(2)),
        reads_residual=True,
        reading=reading,
    )


def _says_final(lens: LogitLens) -> np.ndarray:
    """1 where the lens's first choice is the output's, 0 elsewhere, NaN where either is unknown."""
    top = lens.top_ids[:, :, 0]
    is_known = (top >= 0) & (top[-1] >= 0)
    return np.where(is_known, top == top[-1], np.nan).astype(np.float32)


def known_mean(values: np.ndarray, axis: int) -> np.ndarray:
    """The mean of the known values along an axis; NaN where there is none."""
    is_finite = np.isfinite(values)
    total = np.where(is_finite, values, 0.0).sum(axis=axis, dtype=np.float64)
    counts = is_finite.sum(axis=axis)
    return np.where(counts > 0, total / np.maximum(1, counts), np.nan)
