"""Runs of a saved session are put together from the cache, as the engine left them there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from depthtui.data.arrays import arrays_of
from depthtui.data.protocol import RunFinished
from depthtui.data.run import Prompt, RunResult
from depthtui.data.run_settings import ModelSpec, RunSettings
from depthtui.data.saved_session import PASS, SavedRun
from depthtui.data.store import Store, open_store
from depthtui.engine.engine import Engine
from depthtui.metrics.registry import METRIC_BY_NAME, ON_DEMAND
from depthtui.prompts.tasks import baseline_texts
from depthtui.report.saved_runs import read_run
from tests.tiny_models import tiny_folder

PROMPT = Prompt(
    "The ferry did not run, and seven plus five is twelve.",
    answer=" twelve.",
    contrast="The river did not run, and seven plus five is seven.",
)
METRICS = tuple(
    name
    for name in METRIC_BY_NAME
    if name not in ("jacobian_lens", "adapter", "engine_distance", "task_guess")
)


def saved(finished: RunFinished) -> SavedRun:
    result = finished.result
    return SavedRun(
        result.model,
        result.prompt,
        result.settings,
        "2026-01-02T03:04:05",
        keys=finished.keys,
        answer_start=result.tokens.answer_start,
        unavailable=result.unavailable,
        failed=result.failed,
    )


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def store(cache: Path) -> Store:
    return open_store(cache, 1 << 30, pytest.fail)


@pytest.fixture(scope="module")
def finished(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFinished:
    """A run with every metric that a dense model has unasked, through the engine."""
    events: list[object] = []
    store = open_store(cache, 1 << 30, pytest.fail)
    engine = Engine(store, cache / "models", events.append, baseline_texts=baseline_texts)
    engine.load(ModelSpec(str(tiny_folder(tmp_path_factory.mktemp("models"))), device="cpu"))
    engine.run(PROMPT, RunSettings(metrics=METRICS))
    return next(event for event in events if isinstance(event, RunFinished))


def same(a: RunResult, b: RunResult) -> bool:
    arrays = {name: dict(arrays_of(part)) for name, part in a.measured.items()}
    others = {name: dict(arrays_of(part)) for name, part in b.measured.items()}
    return arrays.keys() == others.keys() and all(
        np.array_equal(values, others[name][field], equal_nan=values.dtype.kind == "f")
        for name, fields in arrays.items()
        for field, values in fields.items()
    )


def test_the_cache_has_every_part_of_a_run(store: Store, finished: RunFinished) -> None:
    result, read_back = finished.result, read_run(store, saved(finished))
    assert read_back is not None
    assert {metric.name for metric in ON_DEMAND} - {
        "jacobian_lens",
        "experts",
        "adapter",
        "engine_distance",
        "task_guess",
    } <= set(finished.keys)
    assert same(read_back, result)
    assert (read_back.model, read_back.prompt, read_back.settings) == (
        result.model,
        result.prompt,
        result.settings,
    )
    assert read_back.tokens.texts == result.tokens.texts
    assert read_back.answer_start == result.answer_start
    assert read_back.is_whole
    assert read_back.provenance.cached


def test_the_answer_begins_where_the_session_says(store: Store, finished: RunFinished) -> None:
    """The cache knows tokens, not where an answer begins."""
    count = len(finished.result.tokens)
    for start, expected in ((3, 3), (count, count), (99, count), (-1, count)):
        result = read_run(store, replace(saved(finished), answer_start=start))
        assert result is not None
        assert result.answer_start == expected


@pytest.mark.parametrize("changes", [{"prompt": Prompt("Other.")}, {"fingerprint": "0" * 16}])
def test_values_of_another_run_are_not_taken(
    store: Store, finished: RunFinished, changes: dict[str, object]
) -> None:
    run = saved(finished)
    model = replace(run.model, fingerprint=changes.pop("fingerprint", run.model.fingerprint))
    assert read_run(store, replace(run, model=model, **changes)) is None


def test_a_slow_metric_that_is_gone_is_left_out(store: Store, finished: RunFinished) -> None:
    run = saved(finished)
    read_back = read_run(store, replace(run, keys={**run.keys, "ablation": "0" * 64}))
    assert read_back is not None
    assert "ablation" not in read_back.measured
    assert "ablation" not in read_back.settings.metrics
    assert "order" in read_back.measured


def test_a_run_without_its_forward_pass_is_none(store: Store, finished: RunFinished) -> None:
    run = saved(finished)
    assert read_run(store, replace(run, keys={})) is None
    assert read_run(store, replace(run, keys={**run.keys, PASS: "0" * 64})) is None
    # The part of a metric is no run.
    assert read_run(store, replace(run, keys={PASS: run.keys["ablation"]})) is None


def test_parts_of_another_shape_are_left_out(store: Store, finished: RunFinished) -> None:
    """A session's file may be a stranger's, and its keys name parts of other runs."""
    run = saved(finished)
    crossed = {**run.keys, "ablation": run.keys["order"]}
    read_back = read_run(store, replace(run, keys=crossed))
    assert read_back is not None
    assert "ablation" not in read_back.measured
    deeper = replace(run, model=replace(run.model, n_layers=run.model.n_layers + 1))
    assert read_run(store, deeper) is None
