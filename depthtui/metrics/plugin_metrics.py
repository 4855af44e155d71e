"""Metrics of other packages: what they must be, and what they cannot break."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np

from depthtui.data.arrays import MetricResult
from depthtui.data.run import RunResult
from depthtui.errors import DepthError
from depthtui.metrics.spec import Measure, Metric
from depthtui.plugins import Plugin, check_place, check_value, guarded, load_plugins

_OF_THE_HOUSE = "depthtui."


def with_plugins(built_in: Sequence[Metric]) -> tuple[Metric, ...]:
    """The metrics, and behind them those of plug-ins."""
    metrics = list(built_in)

    def accept(value: Any, plugin: Plugin) -> Metric:
        metric = _accepted(value, plugin, metrics)
        metrics.append(metric)
        return metric

    load_plugins("metric", [metric.name for metric in built_in], accept)
    return tuple(metrics)


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
    for kind, names in (("measure", _measures), ("curve", _curves), ("title", _title)):
        taken = {name for other in others for name in names(other)}
        for name in names(metric):
            if name in taken:
                raise DepthError(f"there is a {kind} {name} already")
    functions: Mapping[str, Any] = {
        field.name: _guarded(plugin, field.name, getattr(metric, field.name), instead)
        for field in fields(Metric)
        if (instead := _instead(field.name, field.default)) is not None
        if getattr(metric, field.name) is not None
    }
    return replace(
        metric,
        measures=tuple(_guarded_measure(measure, plugin) for measure in metric.measures),
        needs=tuple(_guarded(plugin, "need", need, lambda result: "") for need in metric.needs),
        **functions,
    )


def _check_derived(metric: Metric, others: Collection[Metric]) -> None:
    if all(other.name != metric.derived_from for other in others):
        raise DepthError(f"there is no metric {metric.derived_from!r}, from which it is derived")


def _check_measured(metric: Metric) -> None:
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
        return lambda result: {}
    return default if callable(default) and not isinstance(default, type) else None


def _guarded(
    plugin: Plugin, part: str, function: Callable[..., Any], instead: Callable[..., Any]
) -> Callable[..., Any]:
    """A function, guarded where it is the plug-in's own."""
    if getattr(function, "__module__", "").startswith(_OF_THE_HOUSE):
        return function
    return guarded(plugin, part, function, instead)


def _guarded_measure(measure: Measure, plugin: Plugin) -> Measure:
    def values(result: RunResult) -> np.ndarray | None:
        array = measure.values(result)
        if array is not None:
            _check_shape(array, measure, result)
        return array

    def no_values(result: RunResult) -> None:
        return None

    functions: Mapping[str, Any] = {
        field.name: _guarded(plugin, field.name, getattr(measure, field.name), field.default)
        for field in fields(Measure)
        if callable(field.default)
    }
    guarded_values = guarded(plugin, f"measure {measure.name}", values, no_values)
    return replace(measure, values=guarded_values, **functions)


def _check_shape(array: np.ndarray, measure: Measure, result: RunResult) -> None:
    layers, tokens = result.model.n_layers, len(result.tokens)
    rows = layers + measure.reads_residual
    sides = {"tokens": (tokens,), "layers": (layers,)}.get(measure.columns, array.shape[1:])
    if array.shape != (rows, *sides):
        raise ValueError(f"the shape is {array.shape}, not {(rows, *sides)}")
