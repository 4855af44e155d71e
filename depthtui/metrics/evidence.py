"""How far a count of layers holds: what it becomes where something else is varied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from depthtui.data.verdict import Evidence, EvidenceKind

FIFTH = 0.2
"""By how much thresholds are lowered and raised."""


@dataclass(frozen=True)
class Variant:
    """A count with something varied.

    Attributes:
        count: layers; None where there is none any more.
        reason: what that says of the count, one clause without a full stop.
    """

    count: int | None
    reason: str


def weighed(
    kind: EvidenceKind,
    measure: str,
    title: str,
    count: int,
    n_layers: int,
    variants: Sequence[Variant] = (),
) -> Evidence:
    """A count with its range over all variants.

    It is firm where no variant moves it by more than a tenth of `n_layers`; else the reason is
    that of the variant that moves it most, the first of several.
    """
    known = [variant.count for variant in variants if variant.count is not None]

    def moved(variant: Variant) -> int:
        return n_layers + 1 if variant.count is None else abs(variant.count - count)

    most = max(variants, key=moved, default=None)
    firm = most is None or moved(most) <= n_layers / 10
    return Evidence(
        kind,
        measure,
        title,
        count,
        min(count, *known) if known else count,
        max(count, *known) if known else count,
        firm,
        "" if firm or most is None else most.reason,
    )


def uncounted(kind: EvidenceKind, measure: str, title: str, reason: str) -> Evidence:
    """A measure that has no count, and why."""
    return Evidence(kind, measure, title, None, firm=False, reason=reason)
