"""How far the counts of the three rules hold.

A rule's count e + 1 hangs on its threshold, on token 0, on the lens, on the prompts that were
taken, and on whether its curve crosses the threshold once. Each is varied by itself:

- the threshold of the KL and the overlap rule, a fifth lower and higher. The cosine rule has
  none; its zero is moved by a fifth of the mean size of the curve, down and up
- token 0 counted, and left out
- every lens that all runs have
- the layer from which on the curve stays on the far side of its threshold
- the bootstrap interval over prompts, where there is one

Where the KL or the overlap never crosses a threshold, the answer is read at the output alone:
that counts as L layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from depthtui.data.depth import Curves, DepthEstimate, PromptCurves
from depthtui.data.lens_view import LOGIT, lens_title
from depthtui.data.run_settings import SummarySettings
from depthtui.data.verdict import Evidence
from depthtui.depth.effective_depth import depths, pool
from depthtui.depth.intervals import LEVEL
from depthtui.depth.rules import RULE_CURVES, bridged, cosine_layers
from depthtui.metrics.evidence import FIFTH, Counted, Variant
from depthtui.metrics.lens_rules import kl_layers, overlap_layers

RULE_TITLES: Mapping[str, str] = {"cosine": "cosine", "kl": "KL", "overlap": "overlap"}
"""The rules as people write them."""


def rule_evidence(
    estimates: Sequence[DepthEstimate],
    parts: Sequence[PromptCurves],
    settings: SummarySettings,
    other_parts: Sequence[PromptCurves] = (),
    lenses: Mapping[str, Curves] | None = None,
) -> list[Evidence]:
    """What each rule says, and how far that holds.

    Args:
        estimates: the rules' layers on the pooled curves, with their intervals.
        parts: the prompts that were pooled.
        settings: the thresholds, and whether token 0 is counted in `parts`.
        other_parts: the same prompts with token 0 left out, or counted where it was not.
        lenses: pooled curves by the title of the lens that read them.
    """
    curves = bridged(pool(parts), settings) if parts else Curves()
    n_layers = _n_layers(curves)
    found = {estimate.rule: estimate for estimate in estimates}
    without = _known_depths(pool(other_parts), settings) if other_parts else {}
    evidence = []
    for counted in _rules_counted(settings):
        rule = counted.measure
        estimate = found.get(rule)
        if estimate is None:
            # A lens that was chosen is missed; where there is none at all, none was asked for.
            if settings.lens != LOGIT and counted.kind == "readable":
                why = f"the {lens_title(settings.lens)} has not read this yet"
                evidence.append(counted.unknown(why))
            continue
        if estimate.count is None:
            evidence.append(counted.unknown(estimate.reason))
            continue
        curve = getattr(curves, RULE_CURVES[rule])
        variants = [
            *_other_thresholds(rule, curve, estimate, settings),
            *_other_crossing(rule, curve, estimate, settings),
            *_other_token_zero(estimate, without.get(rule), settings),
            *_other_lenses(estimate, lenses or {}, settings),
            *_other_prompts(estimate),
        ]
        evidence.append(counted.weighed(estimate.count, n_layers, variants))
    return evidence


def _rules_counted(settings: SummarySettings) -> list[Counted]:
    """The rules and what they count, in the order of a verdict.

    A lens that is not the logit lens, and a threshold that is not the paper's, are told.
    """
    paper = SummarySettings()

    def title(rule: str, threshold: float, of_paper: float) -> str:
        return RULE_TITLES[rule] + (f" at {threshold:g}" if threshold != of_paper else "")

    lens = "lens" if settings.lens == LOGIT else lens_title(settings.lens)
    return [
        Counted(
            "readable",
            "kl",
            title("kl", settings.kl_threshold, paper.kl_threshold),
            f"until the {lens} comes close to the output",
        ),
        Counted(
            "readable",
            "overlap",
            title("overlap", settings.overlap_threshold, paper.overlap_threshold),
            f"until the {lens} reads the output's tokens",
        ),
        Counted(
            "geometric", "cosine", RULE_TITLES["cosine"], "until layers strengthen what is there"
        ),
    ]


def _known_depths(curves: Curves, settings: SummarySettings) -> dict[str, DepthEstimate]:
    """What the rules say, of the curves that are finite."""
    curves = bridged(curves, settings)
    return {
        estimate.rule: estimate
        for estimate in depths(curves, settings)
        if np.isfinite(getattr(curves, RULE_CURVES[estimate.rule])).all()
    }


def _n_layers(curves: Curves) -> int:
    if curves.mean_cosine is not None:
        return len(curves.mean_cosine)
    known = curves.kl if curves.kl is not None else curves.overlap
    return 0 if known is None else len(known) - 1


def _other_thresholds(
    rule: str, curve: np.ndarray, estimate: DepthEstimate, settings: SummarySettings
) -> Iterator[Variant]:
    """A fifth lower, a fifth higher."""
    assert estimate.layer is not None
    for share in (1 - FIFTH, 1 + FIFTH):
        if rule == "cosine":
            level = (share - 1) * float(np.mean(np.abs(curve)))
            yield _cosine_at(curve, level, estimate.layer)
        else:
            yield _lens_at(rule, curve, share, estimate.layer, settings)


def _cosine_at(curve: np.ndarray, level: float, layer: int) -> Variant:
    """The turn at another level than zero, and the value that this hangs on."""
    moved = cosine_layers(curve - level)
    last = layer if np.isnan(moved) else max(layer, int(moved))
    pair = [place for place in (last, last + 1) if place < len(curve)]
    swayed = [place for place in pair if (curve[place] < 0) != (curve[place] < level)]
    place = min(swayed or [layer], key=lambda place: abs(curve[place]))
    reason = f"it hangs on a mean cosine of {curve[place]:.2g} at layer {place}"
    return Variant(None if np.isnan(moved) else int(moved) + 1, reason, len(reason))


def _lens_at(
    rule: str, curve: np.ndarray, share: float, layer: int, settings: SummarySettings
) -> Variant:
    """The crossing of another threshold."""
    crossing, threshold, unit = _crossing(rule, curve, settings)
    moved, title = crossing(share * threshold), RULE_TITLES[rule]
    beside = f"beside a threshold of {threshold * unit:.3g}"
    at_layer = f"{title} is {curve[layer]:.3g} at layer {layer}"
    here = f"{at_layer} {beside}"
    side = f"{'below' if rule == 'kl' else 'above'} {share * threshold * unit:.3g}"
    if np.isnan(moved):
        return Variant(len(curve) - 1, f"{here}, and never {side}", len(at_layer))
    other = int(moved)
    if other < layer:
        at_layer = f"{title} is {curve[other]:.3g} at layer {other}"
        return Variant(other + 1, f"{at_layer} already, {beside}", len(at_layer))
    later = f"{here}, and {side} only from layer {other} on"
    return Variant(other + 1, later, len(at_layer))


def _crossing(
    rule: str, curve: np.ndarray, settings: SummarySettings
) -> tuple[Callable[[float], np.ndarray], float, float]:
    """What finds the layer of a threshold, the threshold, and the unit that it is a share of."""
    if rule == "kl":
        largest = float(curve[:-1].max())
        return (lambda threshold: kl_layers(curve, threshold)), settings.kl_threshold, largest
    return (lambda threshold: overlap_layers(curve, threshold)), settings.overlap_threshold, 1.0


def _other_crossing(
    rule: str, curve: np.ndarray, estimate: DepthEstimate, settings: SummarySettings
) -> Iterator[Variant]:
    """Where the curve comes to stay on the far side of its threshold."""
    if rule == "cosine":
        return  # Its rule takes the last turn.
    layers = curve[:-1]
    _, threshold, unit = _crossing(rule, curve, settings)
    beyond = layers >= threshold * unit if rule == "kl" else layers <= threshold
    last = int(np.flatnonzero(beyond).max(initial=-1))
    if estimate.layer is not None and last > estimate.layer:
        side = f"{'KL stays below' if rule == 'kl' else 'the overlap stays above'} its threshold"
        if last + 1 < len(layers):
            from_layer = f"{side} only from layer {last + 1}"
            yield Variant(last + 2, f"{from_layer} on", len(from_layer))
        else:
            yield Variant(len(layers), f"{side} at the output only")


def _other_token_zero(
    estimate: DepthEstimate, other: DepthEstimate | None, settings: SummarySettings
) -> Iterator[Variant]:
    if other is None:
        return
    if other.count is None:
        counted = "without" if settings.include_first_token else "with"
        # What the lens does not read before the output takes all layers.
        never = None if estimate.rule == "cosine" else _all_layers(estimate)
        yield Variant(never, f"{counted} token 0 there is none: {other.reason}")
        return
    reason = f"token 0 alone moves it from {estimate.count} to {other.count} layers"
    yield Variant(other.count, reason)


def _all_layers(estimate: DepthEstimate) -> int:
    assert estimate.count is not None
    assert estimate.ratio is not None
    return round(estimate.count / estimate.ratio)


def _other_lenses(
    estimate: DepthEstimate, lenses: Mapping[str, Curves], settings: SummarySettings
) -> Iterator[Variant]:
    for title, curves in lenses.items():
        other = _known_depths(curves, settings).get(estimate.rule)
        if other is not None and estimate.rule != "cosine":
            count = _all_layers(estimate) if other.count is None else other.count
            yield Variant(count, f"the {title} says {count} layers")


def _other_prompts(estimate: DepthEstimate) -> Iterator[Variant]:
    if estimate.interval is not None:
        low, high = (int(end) + 1 for end in estimate.interval)
        reason = f"the {LEVEL:.0%} interval over prompts is {low} to {high} layers"
        yield from (Variant(end, reason) for end in (low, high))
