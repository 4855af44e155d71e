"""The nonlinear share of each layer, measured when the affine lens was fitted."""

from __future__ import annotations

from depthtui.metrics.context import Context
from depthtui.metrics.nonlinear import Nonlinear


def compute(context: Context, _partial: object) -> Nonlinear:
    """Return the metric of a run."""
    return Nonlinear(context.lens("affine").nonlinear)
