"""What a heatmap draws of a lens: the same of every lens."""

from __future__ import annotations

import math

import numpy as np

from depthtui.data.arrays import MetricResult
from depthtui.data.lens import LogitLens
from depthtui.data.run import RunResult
from depthtui.metrics.spec import Measure, Values, array


def lens_measures(
    kind: type[LogitLens], title: str, prefix: str = ""
) -> tuple[Measure, Measure, Measure, Measure]:
    """KL, overlap and entropy of a lens, and whether its first choice is the output's.

    Args:
        kind: the class of the lens's results.
        title: the beginning of each title.
        prefix: the beginning of each name.
    """
    return (
        Measure(
            f"{prefix}kl",
            f"{title} KL",
            "KL(p_l || p), nats",
            array(kind, "kl"),
            reads_residual=True,
            reading="0 is the output's own distribution.",
        ),
        Measure(
            f"{prefix}overlap",
            f"{title} overlap",
            "top-5 shared",
            array(kind, "overlap"),
            limits=(0.0, 1.0),
            reads_residual=True,
            reading="1: the same five tokens come first as in the output, 0: none of them.",
        ),
        Measure(
            f"{prefix}entropy",
            f"{title} entropy",
            "H(p_l), nats",
            array(kind, "entropy"),
            reads_residual=True,
            reading="0: the lens is certain of one token; the more, the more tokens share.",
        ),
        Measure(
            f"{prefix}says_final",
            f"{title} says it",
            "top-1 = final",
            _says_final(kind),
            limits=(0.0, 1.0),
            reads_residual=True,
            reading="1: the lens says what the model says; else 0.",
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


def _says_final(kind: type[LogitLens]) -> Values:
    """1 where the lens's first choice is the output's, 0 elsewhere, NaN where either is unknown."""

    def values(result: RunResult) -> np.ndarray | None:
        found = result.get(kind)
        if found is None:
            return None
        top = found.top_ids[:, :, 0]
        known = (top >= 0) & (top[-1] >= 0)
        return np.where(known, top == top[-1], np.nan).astype(np.float32)

    return values
