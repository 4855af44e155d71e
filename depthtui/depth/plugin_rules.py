"""Rules of other packages: what they must be."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from inspect import isfunction
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np

from depthtui.data.depth import DepthEstimate
from depthtui.data.run_settings import SummarySettings
from depthtui.depth.rule import Rule
from depthtui.errors import DepthError
from depthtui.metrics.registry import ALL as METRICS
from depthtui.plugins import Plugin, check_value, guarded, load_plugins, no_check

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
    if not rule.through_lens and type(rule)._layers is Rule._layers:
        raise DepthError(f"its kind is {rule.kind}, for which a subclass of Rule finds the layer")
    if rule.of_token or rule.of_paper:
        raise DepthError("its of_token or of_paper is set, which is for depthtui's own rules")
    if rule.threshold.option and rule.threshold.option not in vars(SummarySettings()):
        raise DepthError(f"no setting is named {rule.threshold.option}, its threshold's option")
    curves = {name for metric in METRICS for name in metric.curves}
    for name in (rule.curve, *rule.mean_of):
        if name not in curves:
            raise DepthError(f"no metric has a curve {name}")
    _try(rule)
    return _guarded(rule, plugin)


def _guarded(rule: Rule, plugin: Plugin) -> Rule:
    """The rule, with the methods of `Rule` where its own ones raise or return another type."""
    kind, members = type(rule), {}
    for name, theirs in vars(Rule).items():
        own = getattr(kind, name)
        if name.startswith("__") or own is theirs:
            continue
        if isinstance(own, property) and own.fget and isinstance(theirs, property):
            members[name] = property(_guarded_method(plugin, name, own.fget, theirs.fget))
        elif isfunction(own) and isfunction(theirs):
            members[name] = _guarded_method(plugin, name, own, theirs)
    guarded_rule = copy.copy(rule)
    guarded_kind = type(kind.__name__, (kind,), {"__slots__": (), **members})
    object.__setattr__(guarded_rule, "__class__", guarded_kind)
    return guarded_rule


def _guarded_method(plugin: Plugin, name: str, own: Any, theirs: Any) -> Any:
    returns = get_type_hints(theirs)["return"]
    if get_origin(returns) is Iterator:
        # An iterator is a list by the time that it is checked.
        returns = list[get_args(returns)]  # type: ignore[misc]
    return guarded(plugin, name, own, theirs, returns, _CHECKS.get(name, no_check))


def _check_estimate(value: DepthEstimate, rule: Rule, curve: np.ndarray, *others: Any) -> None:
    layers = rule.n_layers(curve)
    if value.layer is not None and not 0 <= value.layer < layers:
        raise ValueError(f"the layer is {value.layer} of {layers}")


def _check_layers(value: np.ndarray, rule: Rule, curves: np.ndarray, *others: Any) -> None:
    if np.shape(value) != curves.shape[:-1]:
        raise ValueError(f"the shape is {np.shape(value)}, not {curves.shape[:-1]}")


_OF_CURVES = ("layers", "ranked_layers", "ranked_crossings", "_layers", "_crossings", "_censored")
"""The methods of a rule that find a number for each of some curves."""

_CHECKS: dict[str, Callable[..., None]] = {
    "estimate": _check_estimate,
    **dict.fromkeys(_OF_CURVES, _check_layers),
}
"""By method of a rule, the check of its values, beside that of their type."""


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
