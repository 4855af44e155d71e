"""The counts of the rules, and how they change where something else is varied.

A rule's count e + 1 depends on its threshold, on token 0, on the lens, on the prompts, and on
whether its curve crosses the threshold once. Each is varied by itself:

- the threshold of the rule, a fifth lower and higher. The cosine rule has none; its zero is moved
  by a fifth of the mean size of the curve, down and up
- token 0 counted, and left out
- every lens that all runs have
- the layer from which on the curve stays on the far side of its threshold
- the bootstrap interval over prompts, below five over blocks of their tokens, where there is one

Where a curve that a lens reads never crosses the threshold, only the output does: the count is L
layers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from depthtui.data.depth import Curves, DepthEstimate
from depthtui.data.lens_view import LOGIT, lens_title
from depthtui.data.run_settings import SummarySettings
from depthtui.depth import rules
from depthtui.depth.rule import Rule
from depthtui.metrics.evidence import CountInterval, CountMeasure, LayerCount, Variant


def rule_evidence(
    estimates: Iterable[DepthEstimate],
    curves: Curves,
    settings: SummarySettings,
    without: Curves = MappingProxyType({}),
    lenses: Mapping[str, Curves] = MappingProxyType({}),
    intervals: Mapping[str, CountInterval | None] = MappingProxyType({}),
) -> Iterator[LayerCount]:
    """The count of each rule, with everything that it was varied by.

    Args:
        estimates: the rules' layers.
        curves: the pooled curves of the estimates.
        settings: the thresholds, and whether token 0 is counted.
        without: the curves with token 0 left out, or counted where it was not.
        lenses: the curves of each lens, by its name.
        intervals: the intervals of the counts, by rule.
    """
    estimate_by_rule = {estimate.rule: estimate for estimate in estimates}
    lens = "lens" if settings.lens == LOGIT else lens_title(settings.lens)
    has_read = any(rule.through_lens and rule.name in estimate_by_rule for rule in rules.ALL)
    for rule in rules.by_kind():
        estimate, curve = estimate_by_rule.get(rule.name), rule.read(curves, settings)
        claim = rule.claim(lens, settings, curves, estimate.layer if estimate else None)
        measure = CountMeasure(rule.kind, rule.name, rule.titled(settings), claim)
        if estimate is None or curve is None:
            # Only a chosen lens that has read nothing is reported as missing. One that has read
            # other curves has read this one too, but the record did not keep it.
            if settings.lens != LOGIT and rule.through_lens and not has_read:
                yield measure.unknown(f"the {lens} has not read this yet")
        elif estimate.layer is None:
            yield measure.unknown(estimate.reason)
        else:
            count, n_layers = estimate.layer + 1, rule.n_layers(curve)
            variants = [
                *rule.variants(curve, estimate.layer, settings),
                *_other_token_zero(rule, count, n_layers, without, settings),
                *(_other_lenses(rule, lenses, settings) if rule.through_lens else ()),
            ]
            interval = intervals.get(rule.name)
            yield measure.counted(count, variants, interval=interval)


def _other_token_zero(
    rule: Rule, count: int, n_layers: int, without: Curves, settings: SummarySettings
) -> Iterator[Variant]:
    curve = rule.read(without, settings)
    if curve is None or not np.isfinite(curve).all():
        return
    other = rule.estimate(curve, settings)
    if other.count is None:
        with_or_without = "with" if settings.tokens.start else "without"
        # A curve that crosses only at the output takes all layers.
        never = n_layers if rule.through_lens else None
        yield Variant(never, f"{with_or_without} token 0 there is none: {other.reason}")
    else:
        reason = f"token 0 alone moves it from {count} to {other.count} layers"
        yield Variant(other.count, reason)


def _other_lenses(
    rule: Rule, lenses: Mapping[str, Curves], settings: SummarySettings
) -> Iterator[Variant]:
    for lens, curves in lenses.items():
        if rule.curve in curves:
            count = rule.ranked_layers(curves[rule.curve], replace(settings, lens=lens)) + 1
            if np.isfinite(count):
                yield Variant(int(count), f"the {lens_title(lens)} gives {count:.0f} layers")
