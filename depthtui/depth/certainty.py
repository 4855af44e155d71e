"""Certainty: whether a count of layers is firm, and why it is not.

Rules and metrics find counts and vary them. No other module decides how certain a count is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from depthtui.data.verdict import Evidence
from depthtui.metrics.evidence import LayerCount, Variant, widest
from depthtui.metrics.resampling import FEWEST_UNITS


def evidence_of(
    layer_count: LayerCount,
    n_layers: int,
    prompts: tuple[int, int],
    idle: Sequence[int] = (),
    is_draft: bool = False,
    knows_nothing: bool = False,
) -> Evidence:
    """A count of layers as evidence: it is firm, unless there is a reason against it.

    Firm is a claim about other prompts. A count that holds here is as robust, for these prompts
    alone; a fragile count is not robust. The first reason counts.

    Args:
        layer_count: the count, with everything that it was varied by.
        n_layers: L.
        prompts: number of prompts that the count is of, and of all prompts.
        idle: the layers that write nothing, which are in no count of layers.
        is_draft: whether intervals are still to be computed.
        knows_nothing: whether the model knows nothing of the text.
    """
    n_with_count, n_prompts = prompts
    moved = _moved_too_far(layer_count, n_layers, n_layers - len(idle))
    some = f"it rests on {n_with_count} of {n_prompts} prompts" if n_with_count < n_prompts else ""

    firm = holds_here = is_pending = False
    if knows_nothing:
        reason = "the model knows nothing of the text"
    elif layer_count.count is None:
        reason = layer_count.why_none
    elif is_draft:
        is_pending, reason = True, ""
    elif moved is not None:
        reason = _both(moved.reason, some)
    elif layer_count.why_here:
        holds_here, reason = True, _both(layer_count.why_here, some)
    elif some:
        reason = some
    elif n_prompts < FEWEST_UNITS:
        few = "one prompt alone was" if n_prompts == 1 else f"{n_prompts} prompts alone were"
        holds_here, reason = True, f"{few} read"
    elif layer_count.interval is None:
        holds_here, reason = True, "it has no interval over prompts"
    else:
        firm, reason = True, ""

    evidence = replace(
        _in_numbers(layer_count, n_layers, is_draft),
        firm=firm,
        holds_here=holds_here,
        is_pending=is_pending,
        reason=reason,
        prompts=prompts if some else None,
    )
    return _without_idle(evidence, n_layers, idle)


def _moved_too_far(layer_count: LayerCount, n_layers: int, working: int) -> Variant | None:
    """The variant that moves a count most, the first of several, if it is not robust; else None.

    A count is robust where neither its range nor its interval is wider than a tenth of the layers
    that are not idle, and every variant has a count.
    """
    count, variants = layer_count.count, layer_count.varied(n_layers)
    if count is None or not variants:
        return None

    def moved(variant: Variant) -> int:
        return n_layers + 1 if variant.count is None else abs(variant.count - count)

    low, high = layer_count.range(n_layers)
    # A whole number of layers is not known better than to one layer.
    ends = (0.0, 0.0) if layer_count.interval is None else layer_count.interval.ends(n_layers)
    is_robust = (
        all(variant.count is not None for variant in variants)
        and high - low <= widest(working)
        and ends[1] - ends[0] <= max(1, widest(working))
    )
    return None if is_robust else max(variants, key=moved)


def _in_numbers(layer_count: LayerCount, n_layers: int, is_draft: bool) -> Evidence:
    """A count with its range and its interval; in a draft, the range is the count."""
    measure, count = layer_count.measure, layer_count.count
    evidence = Evidence(
        measure.kind, measure.measure, measure.title, count, meaning=measure.meaning
    )
    if count is None:
        return evidence
    low, high = (count, count) if is_draft else layer_count.range(n_layers)
    interval = None if layer_count.interval is None else layer_count.interval.ends(n_layers)
    return replace(
        evidence,
        low=low,
        high=high,
        layers=layer_count.layers,
        curve=layer_count.curve,
        interval=interval,
    )


def _without_idle(evidence: Evidence, n_layers: int, idle: Sequence[int]) -> Evidence:
    """Evidence with its count capped at the number of layers that are not idle.

    A depth is a place and does not change: layers up to it may be idle.
    """
    if evidence.layers is None or not idle:
        return evidence
    most = n_layers - len(idle)
    counts = (evidence.count, evidence.low, evidence.high)
    count, low, high = (None if value is None else min(value, most) for value in counts)
    low_end, high_end = evidence.interval or (0.0, 0.0)
    interval = evidence.interval and (min(low_end, float(most)), min(high_end, float(most)))
    layers = tuple(layer for layer in evidence.layers if layer not in idle)
    return replace(evidence, count=count, low=low, high=high, layers=layers, interval=interval)


def _both(reason: str, other: str) -> str:
    return f"{reason}, and {other}" if other else reason
