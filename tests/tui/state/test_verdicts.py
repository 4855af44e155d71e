"""The reading and the verdict on the screen are made when they may be others, and only then."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from depthtui.data.run import Prompt
from depthtui.data.run_settings import ModelSpec, RunSettings, SummarySettings
from depthtui.tui.state.verdicts import LastReading
from tests.builders.metrics import ablation
from tests.builders.models import model_info
from tests.builders.readings import verdict
from tests.builders.results import full_result, half_run, make_result


def test_it_is_worked_out_only_where_something_changed() -> None:
    last, result, settings = LastReading(), make_result(layers=10, tokens=6), SummarySettings()

    def is_worked_out(chosen: SummarySettings = settings) -> bool:
        reading = last.of(result, chosen, True)
        assert last.verdict == verdict([result], chosen)
        return "verdict" in vars(reading)

    assert is_worked_out()
    assert not is_worked_out()
    assert is_worked_out(SummarySettings(kl_threshold=0.6))
    assert is_worked_out()
    effect = np.full((10, 6), 0.2, np.float32)
    result.put("ablation", ablation(effect))
    assert is_worked_out()
    result.put("ablation", ablation(0 * effect))
    assert is_worked_out()
    assert last.of(None, settings, False) is last.verdict is None


def test_a_run_that_grows_gets_a_new_one() -> None:
    last, settings = LastReading(), SummarySettings()
    asked = (
        Prompt("one two three four five six seven eight nine ten eleven twelve"),
        model_info(ModelSpec()),
        RunSettings(),
    )
    half, whole = half_run(full_result(*asked), 3), full_result(*asked)
    last.of(half, settings, True)
    first = last.verdict
    assert first is not None
    assert all(measure.count is None for measure in first.evidence)
    last.of(whole, settings, True)
    found = last.verdict
    assert found is not None
    assert any(measure.count is not None for measure in found.evidence)


def test_a_reading_is_the_same_one_until_the_run_grows() -> None:
    kept, settings = LastReading(), SummarySettings()
    result = make_result(layers=6)
    first = kept.of(result, settings, False)
    assert first is not None
    assert kept.of(result, settings, False) is first
    assert kept.of(result, replace(settings, kl_threshold=0.7), False) is not first
    again = kept.of(result, settings, False)
    result.drop(["logit_lens"])
    assert kept.of(result, settings, False) is not again
    assert kept.of(None, settings, False) is None


def test_one_that_is_worked_on_is_read_again_each_time() -> None:
    kept, settings = LastReading(), SummarySettings()
    result = half_run(make_result(layers=6), 3)
    live = kept.of(result, settings, True)
    assert kept.of(result, settings, True) is not live
    over = kept.of(result, settings, False)
    assert over is not live
    assert kept.of(result, settings, False) is over
