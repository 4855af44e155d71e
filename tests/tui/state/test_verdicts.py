"""The verdict on the screen is worked out when it may be another one, and only then."""

from __future__ import annotations

import numpy as np

from depthtui.data.run import Prompt
from depthtui.data.run_settings import ModelSpec, RunSettings, SummarySettings
from depthtui.depth.reading import reading_of
from depthtui.tui.state.verdicts import LastVerdict
from tests.builders.metrics import ablation
from tests.builders.models import model_info
from tests.builders.readings import verdict
from tests.builders.results import full_result, half_run, make_result


def test_it_is_worked_out_only_where_something_changed() -> None:
    last, result, settings = LastVerdict(), make_result(layers=10, tokens=6), SummarySettings()

    def is_worked_out(chosen: SummarySettings = settings) -> bool:
        reading = reading_of([result], chosen)
        assert last.of(reading) == verdict([result], chosen)
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
    assert last.of(None) is None


def test_a_run_that_grows_gets_a_new_one() -> None:
    last, settings = LastVerdict(), SummarySettings()
    asked = (
        Prompt("one two three four five six seven eight nine ten eleven twelve"),
        model_info(ModelSpec()),
        RunSettings(),
    )
    half, whole = half_run(full_result(*asked), 3), full_result(*asked)
    first = last.of(reading_of([half], settings))
    assert first is not None
    assert all(measure.count is None for measure in first.evidence)
    found = last.of(reading_of([whole], settings))
    assert found is not None
    assert any(measure.count is not None for measure in found.evidence)
