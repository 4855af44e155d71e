"""Metrics of other packages: what they must be, and what they cannot break."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from depthtui.data.arrays import MetricResult
from depthtui.data.lens_view import FITTED
from depthtui.data.plain import from_plain, to_plain
from depthtui.data.run import RunResult
from depthtui.data.run_settings import RunSettings
from depthtui.errors import DepthError
from depthtui.metrics.evidence import LayerCount
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.reduced import Reduced
from depthtui.metrics.spec import LayerMap, LayerValues, Measure, Metric
from depthtui.plugins import (
    Plugin,
    check_place,
    check_value,
    guarded,
    leave_out,
    load_plugins,
    plugin_names,
)
from depthtui.returned import hints_of, value_of

_OF_THE_HOUSE = "depthtui."

OTHER_KEYS = frozenset(
    {
        *("schema", "model", "settings", "prompts", "runs", "provenance", "groups", "pooled"),
        *("idle", "by_type", "unavailable", "verdict", "effective_depth", "left_out"),
        *("compared", "lm_eval", "missing_runs"),
    }
)
"""The keys of `summary.json` that are no metrics' (see `report.summary_json`)."""


def with_plugins(built_in: Sequence[Metric]) -> tuple[Metric, ...]:
    """The metrics, and behind them those of plug-ins."""
    metrics = list(built_in)

    def accept(value: Any, plugin: Plugin) -> Metric:
        metric = _accepted(value, plugin, metrics)
        metrics.append(metric)
        return metric

    load_plugins("metric", [metric.name for metric in built_in], accept)
    return tuple(metric for metric in metrics if _has_source(metric, metrics))


def _has_source(metric: Metric, metrics: Collection[Metric]) -> bool:
    """Whether the metric from which one is derived is there; reports where it was left out."""
    source = metric.derived_from
    if not source or any(other.name == source for other in metrics):
        return True
    leave_out("metric", metric.name, f"{source} is left out, from which it is derived")
    return False


def _accepted(value: Any, plugin: Plugin, others: Collection[Metric]) -> Metric:
    """The metric of a plug-in, whose functions cost itself alone.

    Raises:
        DepthError: it cannot be one; the error is a clause.
    """
    metric = check_value(value, Metric, plugin)
    if metric.stage == "derived":
        _check_derived(metric, others)
    elif metric.stage == "replay":
        _check_measured(metric)
    else:
        raise DepthError(f"its stage is {metric.stage}, not replay or derived")
    _check_names(metric, others)
    hints = hints_of(Metric)
    functions: dict[str, Any] = {}
    for field in fields(Metric):
        name, function = field.name, getattr(metric, field.name)
        instead = _instead(name, field.default)
        # `pool` by default calls the plug-in's own class.
        if instead and function and (function is not field.default or name == "pool"):
            check = partial(_CHECKS.get(name, _no_check), metric)
            returns = value_of(hints[name])
            functions[name] = guarded(plugin, name, function, instead, returns, check)
    return replace(
        metric,
        measures=tuple(_guarded_measure(measure, plugin) for measure in metric.measures),
        needs=tuple(
            need if _is_of_the_house(need) else guarded(plugin, "need", need, lambda run: "", str)
            for need in metric.needs
        ),
        **functions,
    )


def _check_names(metric: Metric, others: Collection[Metric]) -> None:
    """Check that a metric's names are its own, and that what it names is there."""
    if metric.name in OTHER_KEYS:
        raise DepthError(f"summary.json has another {metric.name}")
    for kind, names in (("measure", _measures), ("curve", _curves), ("title", _title)):
        taken = {name for other in others for name in names(other)}
        for name in names(metric):
            if name in taken:
                raise DepthError(f"there is a {kind} {name} already")
            taken.add(name)
    measured = {other.name for other in others if other.stage != "derived"}
    for measure in metric.measures:
        if measure.metric and measure.metric not in {metric.name, *measured}:
            raise DepthError(f"its measure {measure.name} is of a metric {measure.metric}")
    settings = vars(RunSettings())
    for name in (*metric.depends_on, *(name for parts in metric.recalled_with for name in parts)):
        if name not in settings:
            raise DepthError(f"no setting of a run is named {name}")


def _check_derived(metric: Metric, others: Collection[Metric]) -> None:
    measured = {other.name for other in others if other.stage != "derived"}
    # It may be loaded before the plug-in from which it is derived.
    if metric.derived_from not in measured | plugin_names("metric") - {metric.name}:
        raise DepthError(f"there is no metric {metric.derived_from!r}, from which it is derived")


def _check_measured(metric: Metric) -> None:
    if metric.lens_reducer:
        raise DepthError("its lens_reducer is set, which is for depthtui's own metrics")
    if metric.lens_kind not in ("", *FITTED):
        raise DepthError(f"its lens_kind is {metric.lens_kind!r}, not a kind of lens")
    # Its module imports safetensors, which panes do without.
    from depthtui.data import codec

    kind = metric.result
    if not (isinstance(kind, type) and issubclass(kind, MetricResult) and is_dataclass(kind)):
        raise DepthError("its result is not a dataclass that is a MetricResult")
    if not kind.shapes():
        raise DepthError(f"no array of {kind.__name__} has a Shape")
    same_name = [other for other in MetricResult.kinds() if other.__name__ == kind.__name__]
    if kind.__name__ in codec.types_by_name() or len(same_name) > 1:
        raise DepthError(f"there is a {kind.__name__} already: results need a name of their own")
    check_place(metric.compute, "compute")


def _measures(metric: Metric) -> list[str]:
    return [measure.name for measure in metric.measures]


def _curves(metric: Metric) -> Sequence[str]:
    return metric.curves


def _title(metric: Metric) -> list[str]:
    return [metric.title]


def _instead(name: str, default: Any) -> Callable[..., Any] | None:
    """The function that stands in where one of a metric raises; None for a field without any."""
    if name == "pool":
        return lambda reduced, pooled: None
    if name == "cache_key":
        return lambda result: {"settings": repr(result.settings)}
    return default if callable(default) and not isinstance(default, type) else None


def _is_of_the_house(function: Callable[..., Any]) -> bool:
    return str(getattr(function, "__module__", "")).startswith(_OF_THE_HOUSE)


def _no_check(metric: Metric, value: Any, *arguments: Any) -> None:
    """A check that every value passes."""


def _check_number(metric: Metric, value: float, result: RunResult) -> None:
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"the value is {value}")


def _check_reduced(
    metric: Metric, value: Reduced | None, result: MetricResult, run: RunResult, tokens: slice
) -> None:
    """Check that a sweep's record can keep the values, and that curves are by layer or depth."""
    if value is None or metric.reduced is None:
        return
    if type(value) is not metric.reduced:
        raise ValueError(f"it is of type {type(value).__name__}, not {metric.reduced.__name__}")
    if value.tokens < 1:
        raise ValueError(f"it has {value.tokens} tokens")
    layers = run.model.n_layers
    from_plain(metric.reduced, json.loads(json.dumps(to_plain(value))), sizes={"L": layers})
    for name in metric.curves:
        curve = getattr(value, name)
        if curve is not None and np.shape(curve) not in ((layers,), (layers + 1,)):
            raise ValueError(f"the shape of {name} is {np.shape(curve)}, not of a curve")


def _check_json(metric: Metric, value: Any, *arguments: Any) -> None:
    json.dumps(to_plain(value), allow_nan=False)


def _check_counts(metric: Metric, value: Sequence[LayerCount], mean: Any, pooled: Pooled) -> None:
    layers = range(pooled.n_layers)
    for count in value:
        if count.count is not None and not 0 <= count.count <= len(layers):
            raise ValueError(f"the count is {count.count} of {len(layers)} layers")
        if not set(count.layers or ()) <= set(layers):
            raise ValueError(f"the layers are {count.layers}")


def _check_columns(metric: Metric, value: Sequence[LayerValues], mean: Any) -> None:
    for column in value:
        _check_numbers(column.values, 1)


def _check_maps(metric: Metric, value: Sequence[LayerMap], mean: Any) -> None:
    for picture in value:
        _check_numbers(picture.values, 2)
        if picture.hatched is not None and picture.hatched.shape != picture.values.shape:
            raise ValueError("the shape of hatched is another than that of values")


def _check_numbers(array: np.ndarray, sides: int) -> None:
    if array.ndim != sides or not len(array) or array.dtype.kind not in "biuf":
        raise ValueError(f"the values are {array.dtype} of shape {array.shape}")


_CHECKS: Mapping[str, Callable[..., None]] = {
    **dict.fromkeys(("work", "overhead", "preparation"), _check_number),
    "reduce": _check_reduced,
    "summary": _check_json,
    "evidence": _check_counts,
    "per_layer": _check_columns,
    "maps": _check_maps,
}
"""By function of a metric, the check of its values, beside that of their type."""


def _guarded_measure(measure: Measure, plugin: Plugin) -> Measure:
    functions: dict[str, Any] = {}
    hints = hints_of(Measure)
    for field in fields(Measure):
        function, default = getattr(measure, field.name), field.default
        if not callable(function) or isinstance(function, type) or function is default:
            continue
        is_like_heatmap = field.name in ("values", "hatched")
        functions[field.name] = guarded(
            plugin,
            f"measure {measure.name}",
            function,
            default if callable(default) else lambda *arguments: None,
            value_of(hints[field.name]),
            partial(_check_shape, measure) if is_like_heatmap else _no_check,
        )
    return replace(measure, **functions)


def _check_shape(measure: Measure, array: np.ndarray | None, result: RunResult) -> None:
    if array is None:
        return
    layers, tokens = result.model.n_layers, len(result.tokens)
    rows = layers + measure.reads_residual
    sides = {"tokens": (tokens,), "layers": (layers,)}.get(measure.columns, array.shape[1:])
    if array.shape != (rows, *sides):
        raise ValueError(f"the shape is {array.shape}, not {(rows, *sides)}")
    if array.dtype.kind not in "biuf":
        raise ValueError(f"the values are {array.dtype}")
