"""The reading and the verdict on the screen are made when they may be others, and only then."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from depthtui.data.run import Prompt, RunResult
from depthtui.data.run_settings import ModelSpec, RunSettings, SummarySettings
from depthtui.metrics import resampling
from depthtui.metrics.registry import OF_THE_PASS
from depthtui.report.findings import findings
from depthtui.tui.state.verdicts import LastReading
from tests.builders.metrics import ablation
from tests.builders.models import model_info
from tests.builders.readings import verdict
from tests.builders.results import full_result, half_run, make_result


def test_it_is_worked_out_only_where_something_changed() -> None:
    last, result, settings = LastReading(), make_result(layers=10, tokens=6), SummarySettings()

    def is_worked_out(chosen: SummarySettings = settings) -> bool:
        former = last.reading
        reading = last.of(result, chosen, True)
        assert last.verdict == verdict([result], chosen)
        return reading is not former

    assert is_worked_out()
    assert not is_worked_out()
    assert is_worked_out(SummarySettings(kl_threshold=0.6))
    assert is_worked_out()
    effect = np.full((10, 6), 0.2, np.float32)
    result.put("ablation", ablation(effect))
    assert is_worked_out()
    result.put("ablation", ablation(0 * effect))
    assert is_worked_out()
    assert last.of(None, settings, False) is None
    assert last.verdict is None


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


def long_result(text: str = "one two three four five six seven eight nine ten eleven") -> RunResult:
    """A run that has intervals over its tokens, of its rules and metrics."""
    metrics = (*OF_THE_PASS, "ablation", "similarity", "kept")
    return full_result(Prompt(f"{text} " * 20), settings=RunSettings(metrics=metrics))


def completed(last: LastReading) -> None:
    """Complete the draft, as a thread does."""
    draft = last.begin()
    assert draft is not None
    last.finish(draft, draft.completed())


def test_a_draft_draws_nothing_and_claims_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    last, result = LastReading(), long_result()
    with monkeypatch.context() as patched:
        patched.setattr(resampling, "_drawn", None)
        last.of(result, SummarySettings(), False)
        draft = last.verdict
    assert draft is not None
    assert draft.is_pending
    with_count = [row for row in draft.evidence if row.count is not None]
    assert {row.reliability for row in with_count} == {"…"}
    assert not any(row.interval or row.firm or row.is_fragile for row in with_count)
    assert "still being computed" in draft.text
    assert "firm:" not in draft.text
    assert "reliable" not in draft.text
    completed(last)
    assert last.of(result, SummarySettings(), False) is last.reading
    whole = last.verdict
    assert whole == verdict([result], SummarySettings())
    assert whole is not None
    assert any(row.interval for row in whole.evidence)
    # The counts were there before.
    counts, at_once = ({row.measure: row.count for row in v.evidence} for v in (whole, draft))
    assert counts == at_once
    assert last.begin() is None
    # Nor does a pane draw any, once it is whole.
    monkeypatch.setattr(resampling, "_drawn", None)
    assert findings(last.reading)


def test_what_is_known_stays_in_the_sentence_while_more_is_computed() -> None:
    last, result, settings = LastReading(), long_result(), SummarySettings()
    last.of(result, settings, False)
    completed(last)
    assert last.verdict is not None
    before = last.verdict.sentence
    assert "holds here" in before
    result.put("ablation", ablation(np.full((30, len(result.tokens)), 0.2, np.float32)))
    for _ in range(2):
        last.of(result, settings, False)
        assert last.verdict.is_pending
        assert last.verdict.sentence.startswith(before)
        result.drop(["similarity"])
    # Another threshold is another reading.
    last.of(result, replace(settings, kl_threshold=2.0), False)
    assert not last.verdict.sentence.startswith(before)


@pytest.mark.parametrize("other", ["run", "thresholds", "metric"])
def test_what_was_computed_for_something_else_is_never_shown(other: str) -> None:
    last, result, settings = LastReading(), long_result(), SummarySettings()
    last.of(result, settings, False)
    draft = last.begin()
    assert draft is not None
    late = draft.completed()
    if other == "run":
        result = long_result("another text of which not a word is the same as before")
    elif other == "thresholds":
        settings = replace(settings, kl_threshold=2.0)
    else:
        result.drop(["ablation"])
    shown = last.of(result, settings, False)
    # One at a time.
    assert last.begin() is None
    last.finish(draft, late)
    assert last.reading is shown
    assert last.verdict is not None
    assert last.verdict.is_pending
    completed(last)
    assert last.verdict == verdict([result], settings)


def test_one_that_failed_is_not_begun_again() -> None:
    last, result = LastReading(), long_result()
    last.of(result, SummarySettings(), False)
    draft = last.begin()
    assert draft is not None
    last.finish(draft, None)
    assert last.begin() is None
    last.of(result, SummarySettings(kl_threshold=2.0), False)
    assert last.begin() is not None


def test_a_pass_that_goes_on_is_not_begun() -> None:
    last, result = LastReading(), half_run(long_result(), 3)
    last.of(result, SummarySettings(), True)
    assert last.begin() is None
