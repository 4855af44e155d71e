"""Which answer of a model counts, where several were measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from depthtui.metrics.accuracy.reduced_accuracy import ReducedAccuracy
from depthtui.metrics.answers_kept import ReducedAnswers
from depthtui.metrics.pooling import PromptReading
from depthtui.metrics.reduction import reduce_run
from depthtui.metrics.right_answers import is_right
from tests.builders.answers import answered_runs
from tests.builders.results import full_run


@pytest.fixture
def reading() -> PromptReading:
    """A right answer, chosen and written; its tokens are no first choices."""
    return replace(reduce_run(*answered_runs(1, 0, 0, 0)), says_answer=False)


def having(reading: PromptReading, **answers: float) -> PromptReading:
    """The reading with these right answers of `accuracy`: chosen and written."""
    measured = reading.every["accuracy"]
    assert isinstance(measured, ReducedAccuracy)
    written = measured.written.copy()
    written[0, 0] = answers.pop("written", written[0, 0])
    chosen = np.array([answers.pop("chosen", measured.right[0])])
    answered = replace(measured, right=chosen, written=written)
    return replace(reading, every={**reading.every, "accuracy": answered})


def test_a_choice_counts_first_then_a_written_answer(reading: PromptReading) -> None:
    assert is_right(reading) is True
    assert is_right(having(reading, chosen=0.0)) is False
    assert is_right(having(reading, chosen=1.0, written=0.0)) is True
    assert is_right(having(reading, chosen=np.nan, written=1.0)) is True
    assert is_right(having(reading, chosen=np.nan, written=0.0)) is False


def test_right_answers_count_before_answers_kept(reading: PromptReading) -> None:
    kept = reduce_run(full_run()).every["answers_kept"]
    assert isinstance(kept, ReducedAnswers)
    for right in (True, False):
        answers = replace(kept, clean_right=np.array([right]))
        both = replace(reading, every={"answers_kept": answers, **reading.every})
        assert is_right(both) is True
        assert is_right(having(both, chosen=np.nan, written=np.nan)) is right


def test_without_either_the_answer_s_tokens_count(reading: PromptReading) -> None:
    unknown = having(reading, chosen=np.nan, written=np.nan)
    assert is_right(unknown) is False
    assert is_right(replace(unknown, says_answer=True)) is True
    without = {name: value for name, value in reading.every.items() if name != "accuracy"}
    assert is_right(replace(reading, every=without)) is False


def test_a_text_that_the_model_wrote_is_no_answer(reading: PromptReading) -> None:
    from depthtui.data.run_settings import Writing
    from tests.builders.written import written_prompt

    written = written_prompt(reading.prompt, Writing(2))
    assert is_right(replace(reading, prompt=written)) is None
