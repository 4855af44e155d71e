"""Metrics of a device against those of the CPU: a device here is the CPU in another dtype."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from depthtui.data.run import RunResult
from depthtui.data.run_settings import ModelSpec
from depthtui.data.store import open_store
from depthtui.engine import acceptance
from depthtui.engine.acceptance import NAMES, DeviceComparison, compare_devices
from depthtui.engine.engine import Engine
from depthtui.errors import DepthError
from depthtui.metrics.ablation import Ablation
from depthtui.metrics.direct_logits import DirectLogits
from depthtui.metrics.registry import ALL, METRICS
from depthtui.metrics.similarity import Similarity

HERE = ModelSpec(device="cpu", dtype="float32")


def engine(models_dir: Path = Path()) -> Engine:
    return Engine(open_store(None, 0, pytest.fail), models_dir, lambda event: None)


def compare(
    spec: ModelSpec, metrics: Iterable[str] = NAMES, engine: Engine | None = None
) -> dict[str, DeviceComparison]:
    comparisons = compare_devices(
        spec, engine or globals()["engine"](), lambda words: None, [*metrics]
    )
    return {comparison.metric: comparison for comparison in comparisons}


@dataclass
class Broken:
    """An engine whose first model is on a device that does something wrong."""

    wrong: Callable[[RunResult], None]
    made: Engine

    @property
    def model(self) -> Any:
        return self.made.model

    def load(self, spec: ModelSpec) -> Any:
        self.is_first = not hasattr(self, "is_first")
        return self.made.load(spec)

    def run(self, *args: Any) -> RunResult:
        result = self.made.run(*args)
        if self.is_first:
            self.wrong(result)
        return result


@pytest.fixture
def broken(folder: Path) -> Callable[..., dict[str, DeviceComparison]]:
    """Compares while something goes wrong with a result of the device."""

    def run(wrong: Callable[[RunResult], None], *metrics: str) -> dict[str, DeviceComparison]:
        spec = replace(HERE, name=str(folder))
        return compare(spec, metrics, Broken(wrong, engine()))  # type: ignore[arg-type]

    return run


def test_the_cpu_is_like_itself(folder: Path) -> None:
    words: list[str] = []
    comparisons = [*compare_devices(replace(HERE, name=str(folder)), engine(), words.append)]
    assert [comparison.metric for comparison in comparisons] == [*compared()]
    for comparison in comparisons:
        assert comparison.ok, comparison
        assert comparison.difference <= 1e-6 or comparison.metric == "speed"
        assert (comparison.seconds_there is None) == (comparison.metric not in timed())
        assert comparison.peak_bytes is None
    assert sum("loading" in line for line in words) == 2
    assert len(words) == 2 + 2 * sum(not metric.lens_kind for metric in METRICS)


def compared() -> list[str]:
    """A fitted lens would be another one on each device; of the others, what this model has."""
    missing = ("experts", "adapter", "engine_distance", "task_guess")
    return [metric.name for metric in ALL if not metric.lens_kind and metric.name not in missing]


def timed() -> set[str]:
    return {metric.name for metric in METRICS}


def test_rounding_is_seen_and_allowed(folder: Path) -> None:
    comparisons = compare(ModelSpec(str(folder), device="cpu", dtype="bfloat16"), ["contributions"])
    comparison = comparisons["contributions"]
    assert 1e-4 < comparison.difference <= comparison.largest < comparison.tolerance == 0.3
    assert comparison.ok


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_rounding_moves_is_judged_in_float32(folder: Path, dtype: str) -> None:
    comparisons = compare(
        ModelSpec(str(folder), device="cpu", dtype=dtype), ["integrated_gradients"]
    )
    comparison = comparisons["integrated_gradients"]
    assert math.isfinite(comparison.tolerance) == (dtype == "float32")
    assert comparison.ok
    assert not replace(comparison, difference=math.inf).ok


def test_a_wrong_number_is_off(broken: Any) -> None:
    def wrong(result: RunResult) -> None:
        similarity = result.get(Similarity)
        if similarity is not None:
            similarity.block_influence[2] *= 1.1

    comparisons = broken(wrong, "similarity", "contributions")
    assert not comparisons["similarity"].ok
    assert comparisons["similarity"].difference > 1e-3
    assert comparisons["contributions"].ok


def test_a_number_that_is_none_is_off(broken: Any) -> None:
    def wrong(result: RunResult) -> None:
        similarity = result.get(Similarity)
        if similarity is not None:
            similarity.block_influence[2, 3] = np.nan

    comparison = broken(wrong, "similarity")["similarity"]
    assert comparison.difference == math.inf
    assert not comparison.ok


def test_token_0_and_tokens_that_differ_are_left_out(broken: Any) -> None:
    def wrong(result: RunResult) -> None:
        direct = result.get(DirectLogits)
        if direct is not None:
            direct.token_ids[4] += 1
            direct.attribution[:, [0, 4]] += 9

    assert broken(wrong, "direct_logits")["direct_logits"].difference == 0


@pytest.mark.parametrize(
    "error", [RuntimeError("no kernel image\nlines"), DepthError("It does not fit.", "Shorten it.")]
)
def test_a_metric_that_breaks_costs_no_other(broken: Any, error: Exception) -> None:
    def wrong(result: RunResult) -> None:
        if "similarity" in result.settings.metrics:
            raise error

    comparisons = broken(wrong, "similarity", "settling")
    assert not comparisons["similarity"].ok
    assert str(error).splitlines()[0] in comparisons["similarity"].missing
    assert "lines" not in comparisons["similarity"].missing
    assert comparisons["settling"].ok


def test_the_noise_floor_is_told(broken: Any) -> None:
    def wrong(result: RunResult) -> None:
        similarity = result.get(Similarity)
        if similarity is not None:
            similarity.floor = np.array([0.25, 0.5])

    assert broken(wrong, "similarity")["similarity"].floor == 0.5
    assert broken(lambda result: None, "settling")["settling"].floor is None


def test_noise_is_not_compared_with_none(broken: Any) -> None:
    def wrong(result: RunResult) -> None:
        ablation = result.get(Ablation)
        if ablation is not None:
            ablation.unchanged[:] = 1e-7

    comparison = broken(wrong, "ablation")["ablation"]
    assert comparison.ok
    assert comparison.floor == pytest.approx(1e-7)


def test_peak_memory_is_that_of_each_metric(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = iter(range(100))
    resets: list[object] = []
    monkeypatch.setattr(acceptance, "reset_peak_memory", resets.append)
    monkeypatch.setattr(acceptance, "peak_memory", lambda device: next(taken))
    comparisons = compare(replace(HERE, name=str(folder)), ["contributions", "similarity"])
    # The first was the run that warms up.
    assert [comparisons[name].peak_bytes for name in ("contributions", "similarity")] == [1, 2]
    assert len(resets) == 6


@pytest.mark.by_hand
def test_the_demo_model_in_bfloat16(demo_folder: Path) -> None:
    quick = ("contributions", "logit_lens", "prediction_depth", "similarity", "direct_logits")
    spec = ModelSpec("demo", device="cpu", dtype="bfloat16")
    comparisons = compare(spec, quick, engine(demo_folder.parent))
    assert tuple(comparisons) == tuple(name for name in NAMES if name in quick)
    assert all(comparison.ok for comparison in comparisons.values()), comparisons
    # Depths are whole numbers, which rounding need not move.
    assert all(comparisons[name].difference > 1e-4 for name in ("contributions", "logit_lens"))
