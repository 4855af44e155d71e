"""Run a prompt with more and more attention heads left out together."""

from __future__ import annotations

from depthtui.metrics.context import Context
from depthtui.metrics.kept.compute import in_orders
from depthtui.metrics.kept_heads import KeptHeads


def compute(context: Context, partial: KeptHeads | None) -> KeptHeads:
    """Compute the metric of a run; orders and rows already in `partial` are not computed again."""
    return in_orders(context, KeptHeads, partial)
