"""The reading of the run on the screen: the same one while the run is."""

from __future__ import annotations

from dataclasses import replace

from depthtui.data.run_settings import SummarySettings
from depthtui.tui.state.verdicts import LastReading
from tests.builders.results import half_run, make_result


def test_it_is_the_same_one_until_the_run_grows() -> None:
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
