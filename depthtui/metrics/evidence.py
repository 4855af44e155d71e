"""How far a count of layers holds: what it becomes where something else is varied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from depthtui.data.verdict import Evidence, EvidenceKind

FIFTH = 0.2
"""By how much thresholds are lowered and raised."""

FELT = 0.05
"""The gain of the loss, in nats, from which on something is missed."""


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

    It is firm where that is no wider than a tenth of `n_layers` and every variant has a count;
    else the reason is that of the variant that moves it most, the first of several.
    """
    known = [count, *(variant.count for variant in variants if variant.count is not None)]

    def moved(variant: Variant) -> int:
        return n_layers + 1 if variant.count is None else abs(variant.count - count)

    low, high = min(known), max(known)
    firm = len(known) > len(variants) and high - low <= n_layers / 10
    reason = "" if firm else max(variants, key=moved).reason
    return Evidence(kind, measure, title, count, low, high, firm, reason)


def uncounted(kind: EvidenceKind, measure: str, title: str, reason: str) -> Evidence:
    """A measure that has no count, and why."""
    return Evidence(kind, measure, title, None, firm=False, reason=reason)
