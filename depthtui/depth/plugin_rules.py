"""Rules of other packages: what they must be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from depthtui.data.run_settings import SummarySettings
from depthtui.data.verdict import KINDS
from depthtui.depth.rule import Rule
from depthtui.errors import DepthError
from depthtui.metrics.registry import ALL as METRICS
from depthtui.plugins import Plugin, check_value, load_plugins

_TRIED_LAYERS = 6


def with_plugins(built_in: Sequence[Rule]) -> tuple[Rule, ...]:
    """The rules, and behind them those of plug-ins."""
    return (*built_in, *load_plugins("rule", [rule.name for rule in built_in], _accepted))


def _accepted(value: Any, plugin: Plugin) -> Rule:
    """The rule of a plug-in, which has been tried on curves.

    Raises:
        DepthError: it cannot be one; the error is a clause.
    """
    rule = check_value(value, Rule, plugin)
    if rule.kind not in KINDS:
        raise DepthError(f"its kind is {rule.kind!r}, not one of {', '.join(KINDS)}")
    if rule.of_token or rule.of_paper:
        raise DepthError("its of_token or of_paper is set, which is for depthtui's own rules")
    if rule.threshold.option and rule.threshold.option not in vars(SummarySettings()):
        raise DepthError(f"no setting is named {rule.threshold.option}, its threshold's option")
    curves = {name for metric in METRICS for name in metric.curves}
    for name in (rule.curve, *rule.mean_of):
        if name not in curves:
            raise DepthError(f"no metric has a curve {name}")
    _try(rule)
    return rule


def _try(rule: Rule) -> None:
    """Read the rule on a rising, a falling and an unknown curve, and in words."""
    settings = SummarySettings()
    count = _TRIED_LAYERS + rule.through_lens
    rising = np.linspace(0.0, 1.0, count)
    for values in (rising, rising[::-1], np.full(count, np.nan)):
        curves = {rule.curve: values}
        rule.layers(values[None], settings)
        rule.ranked_crossings(values[None], settings)
        rule.by_layer(curves)
        if np.isfinite(values).all():
            layer = rule.estimate(values, settings).layer
            rule.claim("lens", settings, curves, layer)
            if layer is not None:
                list(rule.variants(values, layer, settings))
    rule.figure_title("lens", mean=True)
    rule.criterion(rule.threshold.of(settings))
    rule.threshold_words(settings)
