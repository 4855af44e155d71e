"""How far the counts of the rules hold.

A rule's count e + 1 hangs on its threshold, on token 0, on the lens, on the prompts that were
taken, and on whether its curve crosses the threshold once. Each is varied by itself:

- the threshold of the rule, a fifth lower and higher. The cosine rule has none; its zero is moved
  by a fifth of the mean size of the curve, down and up
- token 0 counted, and left out
- every lens that all runs have
- the layer from which on the curve stays on the far side of its threshold
- the bootstrap interval over prompts, where there is one

Where what a lens reads never crosses a threshold, the answer is read at the output alone: that
counts as L layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from depthtui.data.depth import Curves, DepthEstimate, PromptCurves
from depthtui.data.lens_view import LOGIT, lens_title
from depthtui.data.run_settings import SummarySettings
from depthtui.data.verdict import Evidence
from depthtui.depth import rules
from depthtui.depth.effective_depth import depths, pool
from depthtui.depth.intervals import LEVEL
from depthtui.depth.rules.rule import Rule
from depthtui.metrics.evidence import Counted, Variant


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
    curves = rules.bridged(pool(parts), settings) if parts else Curves()
    n_layers = _n_layers(curves)
    found = {estimate.rule: estimate for estimate in estimates}
    without = _known_depths(pool(other_parts), settings) if other_parts else {}
    evidence = []
    for rule in rules.by_kind():
        counted, estimate = _counted(rule, settings), found.get(rule.name)
        if estimate is None:
            # A lens that was chosen is missed; where there is none at all, none was asked for.
            if settings.lens != LOGIT and rule.through_lens:
                why = f"the {lens_title(settings.lens)} has not read this yet"
                evidence.append(counted.unknown(why))
            continue
        if estimate.layer is None or estimate.count is None:
            evidence.append(counted.unknown(estimate.reason))
            continue
        curve = curves.get(rule.curve)
        assert curve is not None
        variants = [
            *rule.variants(curve, estimate.layer, settings),
            *_other_token_zero(rule, estimate, without.get(rule.name), settings),
            *(_other_lenses(rule, estimate, lenses or {}, settings) if rule.through_lens else ()),
            *_other_prompts(estimate),
        ]
        evidence.append(counted.weighed(estimate.count, n_layers, variants))
    return evidence


def _counted(rule: Rule, settings: SummarySettings) -> Counted:
    """What a rule counts, with the lens and the threshold where they are not the paper's."""
    lens = "lens" if settings.lens == LOGIT else lens_title(settings.lens)
    return Counted(rule.kind, rule.name, rule.titled(settings), rule.says.format(lens=lens))


def _known_depths(curves: Curves, settings: SummarySettings) -> dict[str, DepthEstimate]:
    """What the rules say, of the curves that are finite."""
    curves = rules.bridged(curves, settings)
    finite = {
        rule.name
        for rule in rules.ALL
        if (curve := curves.get(rule.curve)) is not None and np.isfinite(curve).all()
    }
    found = depths(curves, settings)
    return {estimate.rule: estimate for estimate in found if estimate.rule in finite}


def _n_layers(curves: Curves) -> int:
    known = ((rule, curves.get(rule.curve)) for rule in rules.ALL)
    return next((rule.n_layers(curve) for rule, curve in known if curve is not None), 0)


def _other_token_zero(
    rule: Rule, estimate: DepthEstimate, other: DepthEstimate | None, settings: SummarySettings
) -> Iterator[Variant]:
    if other is None:
        return
    if other.count is None:
        counted = "without" if settings.include_first_token else "with"
        # What the lens does not read before the output takes all layers.
        never = _all_layers(estimate) if rule.through_lens else None
        yield Variant(never, f"{counted} token 0 there is none: {other.reason}")
        return
    reason = f"token 0 alone moves it from {estimate.count} to {other.count} layers"
    yield Variant(other.count, reason)


def _all_layers(estimate: DepthEstimate) -> int:
    assert estimate.count is not None
    assert estimate.ratio is not None
    return round(estimate.count / estimate.ratio)


def _other_lenses(
    rule: Rule, estimate: DepthEstimate, lenses: Mapping[str, Curves], settings: SummarySettings
) -> Iterator[Variant]:
    for title, curves in lenses.items():
        other = _known_depths(curves, settings).get(rule.name)
        if other is not None:
            count = _all_layers(estimate) if other.count is None else other.count
            yield Variant(count, f"the {title} says {count} layers")


def _other_prompts(estimate: DepthEstimate) -> Iterator[Variant]:
    if estimate.interval is not None:
        low, high = (int(end) + 1 for end in estimate.interval)
        reason = f"the {LEVEL:.0%} interval over prompts is {low} to {high} layers"
        yield from (Variant(end, reason) for end in (low, high))
