"""Compares every metric on a device with the CPU in float32."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from depthtui.data.arrays import MetricResult, arrays_of
from depthtui.data.lazy import LazyTuple
from depthtui.data.run import Prompt, RunResult
from depthtui.data.run_settings import ModelSpec, RunSettings, SummarySettings
from depthtui.depth.reading import reading_of
from depthtui.engine.engine import Engine
from depthtui.errors import DepthError, named_line
from depthtui.metrics.registry import ALL, METRICS, OF_THE_PASS
from depthtui.metrics.spec import Metric
from depthtui.models.devices import peak_memory, reset_peak_memory

PROMPT = Prompt(
    "Seven plus five is twelve, and twelve minus five is seven.",
    answer=" seven.",
    contrast="Seven plus five is twelve, and twelve minus seven is five.",
)

TOLERANCES = {"float32": 1e-3, "float16": 0.05, "bfloat16": 0.3}
"""Largest error of a metric, as a share of its size, by dtype. On a CPU, the demo model's errors
reach 0.02 in float16 and 0.22 in bfloat16, for the overlap of five tokens; all others 0.08."""

NAMES = LazyTuple(lambda: (metric.name for metric in ALL if not metric.lens_kind))
"""Every metric that is measured or derived."""

_SETTINGS = RunSettings(
    # Few points, which no rounding moves: all 30 layers are integrated.
    riemann_steps=4,
    baseline=("The river was high after a week of rain.", "She wound the clock and went to bed."),
)


@dataclass(frozen=True)
class DeviceComparison:
    """One metric on the device (there) and on the CPU (here).

    Attributes:
        metric: its name.
        title: its title.
        difference: root mean square of there minus here, over the root mean square of here; NaN
            where it is unavailable. Of the array with the largest difference.
        largest: the largest difference, as a share of the largest value.
        tolerance: the difference that is allowed; infinite where any number passes.
        floor: the noise floor there, in the metric's own unit; None where it has none.
        seconds_there, seconds_here: seconds of the run; None for a metric derived from another.
        peak_bytes: most memory used there; None where the device does not report it.
        missing: why it is unavailable there, here or on both.
    """

    metric: str
    title: str
    difference: float
    largest: float
    tolerance: float
    floor: float | None = None
    seconds_there: float | None = None
    seconds_here: float | None = None
    peak_bytes: int | None = None
    missing: str = ""

    @property
    def ok(self) -> bool:
        """Whether the metric is available and within the tolerance."""
        is_available = not self.missing and math.isfinite(self.difference)
        return is_available and self.difference <= self.tolerance


@dataclass(frozen=True)
class _Measurement:
    """One metric on one device: a result, or the reason why it failed."""

    result: RunResult | None
    seconds: float
    peak_bytes: int | None
    reason: str

    def lacks(self, metric: str) -> bool:
        """Whether the model lacks the metric on any device."""
        result = self.result
        return result is not None and metric in result.unavailable and metric not in result.failed


def compare_devices(
    spec: ModelSpec,
    engine: Engine,
    progress: Callable[[str], None],
    metrics: Collection[str] = NAMES,
) -> Iterator[DeviceComparison]:
    """Run metrics on the device of `spec` and on the CPU, one model after the other.

    A metric that is available on neither is left out.

    Args:
        spec: the model, its device and its dtype.
        engine: an engine that keeps nothing.
        progress: called with the current measurement, in words.
        metrics: the names of the metrics to compare.

    Raises:
        DepthError: the model cannot be loaded on one of the devices.
    """
    compared_metrics = [metric for metric in ALL if metric.name in metrics]
    computed = {metric.derived_from or metric.name for metric in compared_metrics}
    on_device = _measure(spec, engine, progress, computed)
    assert engine.model is not None
    dtype = engine.model.dtype
    reference = replace(spec, device="cpu", dtype="float32", quantize="")
    on_cpu = _measure(reference, engine, progress, computed)
    for metric in compared_metrics:
        name = metric.derived_from or metric.name
        if on_device[name].lacks(name) and on_cpu[name].lacks(name):
            continue
        is_moved = metric.moved_by_rounding and dtype != "float32"
        any_number_passes = is_moved or metric.is_timed
        tolerance = math.inf if any_number_passes else TOLERANCES[dtype]
        yield _comparison(metric, on_device[name], on_cpu[name], tolerance)


def _measure(
    spec: ModelSpec, engine: Engine, progress: Callable[[str], None], metrics: Collection[str]
) -> dict[str, _Measurement]:
    """Measure each metric in a run of its own, after a run that warms the device up."""
    progress(f"loading {spec.name} on {spec.device}")
    info = engine.load(spec)
    device = torch.device(info.device.partition(",")[0])
    _run(OF_THE_PASS[0], engine, device)
    measurements = {}
    for metric in METRICS:
        if metric.name in metrics:
            progress(f"{metric.title.lower()} on {info.device} in {info.dtype}")
            measurements[metric.name] = _run(metric.name, engine, device)
    return measurements


def _run(metric: str, engine: Engine, device: torch.device) -> _Measurement:
    reset_peak_memory(device)
    started = time.perf_counter()
    result, reason = None, ""
    try:
        result = engine.run(PROMPT, replace(_SETTINGS, metrics=(metric,)))
        reason = result.unavailable.get(metric, "")
    except DepthError as error:
        reason = str(error)
    except Exception as error:
        # A metric that fails on the device is a result of this comparison.
        reason = named_line(error)
    return _Measurement(result, time.perf_counter() - started, peak_memory(device), reason)


def _comparison(
    metric: Metric, on_device: _Measurement, on_cpu: _Measurement, tolerance: float
) -> DeviceComparison:
    comparison = DeviceComparison(
        metric.name,
        metric.title,
        math.nan,
        math.nan,
        tolerance,
        seconds_there=None if metric.derived_from else on_device.seconds,
        seconds_here=None if metric.derived_from else on_cpu.seconds,
        peak_bytes=None if metric.derived_from else on_device.peak_bytes,
        missing=on_device.reason or on_cpu.reason,
    )
    if comparison.missing:
        return comparison
    assert on_device.result is not None
    assert on_cpu.result is not None
    pairs = [*_pairs(metric, on_device.result, on_cpu.result)]
    differences = [_difference(*pair) for pair in pairs]
    return replace(
        comparison,
        difference=max(difference for difference, _ in differences),
        largest=max(largest for _, largest in differences),
        floor=_floor(on_device.result.measured.get(metric.name)),
    )


def _floor(value: MetricResult | None) -> float | None:
    """The largest noise floor of a result; None where it has none."""
    floor = getattr(value, "floor", None)
    return None if floor is None else float(np.max(floor))


def _pairs(
    metric: Metric, on_device: RunResult, on_cpu: RunResult
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The numbers of both runs, array by array."""
    if metric.derived_from:
        numbers = [np.array(_numbers(_summary(metric, result))) for result in (on_device, on_cpu)]
        yield numbers[0], numbers[1]
        return
    result, expected = on_device.measured[metric.name], on_cpu.measured[metric.name]
    compared_tokens = _columns(result, expected, len(on_cpu.tokens))
    shapes = type(result).shapes()
    for name, values in arrays_of(result):
        if np.issubdtype(values.dtype, np.floating) and name not in result.noise:
            of_tokens = name in shapes and shapes[name].sides[-1] == "T"
            columns = compared_tokens if of_tokens else slice(None)
            yield values[..., columns], getattr(expected, name)[..., columns]


def _columns(result: MetricResult, expected: MetricResult, n_tokens: int) -> np.ndarray:
    """Which tokens are compared: where results name tokens, those at which both name the same.

    Token 0 is left out: its residual is so large that rounding swallows any addition to it.
    """
    compared_tokens = np.arange(n_tokens) > 0
    for name, shape in type(result).shapes().items():
        if shape.sides == ("T",) and np.issubdtype(shape.dtype, np.integer):
            compared_tokens &= getattr(result, name) == getattr(expected, name)
    return compared_tokens


def _summary(metric: Metric, result: RunResult) -> Any:
    """The value of a metric that is derived from another, as in a report."""
    reading = reading_of([result], SummarySettings())
    value = reading.get(metric)
    return None if value is None else metric.summary(value, reading)


def _numbers(value: Any) -> list[float]:
    """Every number in a tree, in order."""
    if isinstance(value, dict):
        return [number for branch in value.values() for number in _numbers(branch)]
    if isinstance(value, list | tuple):
        return [number for branch in value for number in _numbers(branch)]
    if isinstance(value, np.ndarray):
        return [float(number) for number in value.ravel()]
    return [float(value)] if isinstance(value, int | float | np.number) else []


def _difference(on_device: np.ndarray, on_cpu: np.ndarray) -> tuple[float, float]:
    """The root-mean-square and the largest difference of two arrays, as shares of the second."""
    is_number = np.isfinite(on_cpu)
    if on_device.shape != on_cpu.shape or not np.array_equal(np.isfinite(on_device), is_number):
        return math.inf, math.inf
    if not is_number.any():
        return 0.0, 0.0
    expected = on_cpu[is_number].astype(np.float64)
    off = on_device[is_number].astype(np.float64) - expected
    return (
        _share(np.sqrt((off**2).mean()), np.sqrt((expected**2).mean())),
        _share(np.abs(off).max(), np.abs(expected).max()),
    )


def _share(part: float, total: float) -> float:
    if part == 0:
        return 0.0
    return float(part / total) if total else math.inf
