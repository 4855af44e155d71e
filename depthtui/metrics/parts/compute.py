"""Run a prompt with more and more parts of layers left out together."""

from __future__ import annotations

from dataclasses import replace

from depthtui.metrics.context import Context
from depthtui.metrics.kept.compute import in_orders
from depthtui.metrics.parts import KeptParts


def compute(context: Context, partial: KeptParts | None) -> KeptParts:
    """Compute the metric of a run; orders and rows already in `partial` are not computed again."""

    def with_controls(result: KeptParts) -> KeptParts:
        untrained = context.untrained_parts(lambda done, total: context.report(done, total, result))
        return replace(result, untrained_parts=untrained)

    return in_orders(context, KeptParts, partial, with_controls)
