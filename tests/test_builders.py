"""What tests build has every metric of the catalogue."""

from __future__ import annotations

import numpy as np
import pytest

from depthtui.data.arrays import arrays_of
from depthtui.data.protocol import LoadModel, MetricRows, StartRun
from depthtui.data.run import Prompt, RunResult
from depthtui.data.run_settings import ModelSpec, RunSettings
from depthtui.metrics.registry import METRICS
from depthtui.metrics.spec import Metric
from depthtui.tui.messages import EngineEvent
from tests.builders.engines import FakeEngine
from tests.builders.metrics import AFTER_THE_LENS
from tests.builders.models import tiny_model
from tests.builders.results import full_result, full_run

NAMES = tuple(metric.name for metric in METRICS)
ANSWERED = Prompt("one two three four", " four")
by_name = pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)


def is_known(result: RunResult, metric: str) -> bool:
    part = result.measured.get(metric)
    return part is not None and all(
        np.isfinite(values).any() for _, values in arrays_of(part) if values.size
    )


@by_name
def test_a_random_and_a_smooth_run_have_it(metric: Metric) -> None:
    smooth = full_result(ANSWERED, tiny_model(5), RunSettings(metrics=(metric.name,)))
    assert is_known(smooth, metric.name)
    assert is_known(full_run(), metric.name)


@by_name
def test_it_needs_an_answer_where_the_catalogue_says_so(metric: Metric) -> None:
    result = full_result(
        Prompt("one two three"), tiny_model(5), RunSettings(metrics=(metric.name,))
    )
    assert (metric.name in result.unavailable) == metric.needs_answer
    assert is_known(result, metric.name) != metric.needs_answer


def test_the_fake_engine_tells_of_every_one() -> None:
    engine, told = FakeEngine(), []
    engine.start(told.append)
    engine.send(LoadModel(ModelSpec()))
    engine.send(StartRun(1, ANSWERED, RunSettings(metrics=NAMES)))
    events = [message.event for message in told if isinstance(message, EngineEvent)]
    rows = [event.metric for event in events if isinstance(event, MetricRows)]
    assert tuple(dict.fromkeys(rows)) == AFTER_THE_LENS
