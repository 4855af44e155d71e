"""Run a prompt with more and more parts of layers left out together."""

from __future__ import annotations

from depthtui.metrics.context import Context
from depthtui.metrics.kept import Kept
from depthtui.metrics.kept.compute import in_orders
from depthtui.metrics.parts import KeptParts
from depthtui.tracing.parts_left_out import PartsToLeave


def compute(context: Context, partial: Kept | None) -> Kept:
    """Compute the metric of a run; orders and rows already in `partial` are not computed again."""
    parts = PartsToLeave([context.replay], context.anatomy, context.substitute)
    return in_orders(context, parts, KeptParts, partial)
