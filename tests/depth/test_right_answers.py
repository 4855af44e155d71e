"""Right answers of several prompts: one rule for all of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from depthtui.data.run_settings import Writing
from depthtui.depth.right_answers import are_right, right_answers_of
from depthtui.metrics.accuracy.reduced_accuracy import ReducedAccuracy
from depthtui.metrics.pooling import PromptReading
from depthtui.metrics.reduction import reduce_run
from tests.builders.answers import answered_runs
from tests.builders.written import written_prompt


@pytest.fixture
def reading() -> PromptReading:
    """A right answer, chosen and written; its tokens are no first choices."""
    return replace(reduce_run(*answered_runs(1, 0, 0, 0)), says_answer=False)


def having(reading: PromptReading, chosen: float = 1.0, written: float = 1.0) -> PromptReading:
    """The reading with these answers of `accuracy`."""
    measured = reading.every["accuracy"]
    assert isinstance(measured, ReducedAccuracy)
    of_layers = measured.written.copy()
    of_layers[0, 0] = written
    answered = replace(measured, right=np.array([chosen]), written=of_layers)
    return replace(reading, every={**reading.every, "accuracy": answered})


def lacking(reading: PromptReading) -> PromptReading:
    return replace(reading, every={}, says_answer=True)


@pytest.mark.parametrize(
    ("chosen", "written", "is_right"),
    [(0, 1, False), (1, 0, True), (np.nan, 1, True), (np.nan, 0, False)],
)
def test_a_choice_counts_first_then_a_written_answer(
    reading: PromptReading, chosen: float, written: float, is_right: bool
) -> None:
    assert are_right([having(reading, chosen, written)]) == [is_right]


def test_where_none_was_measured_the_answer_s_tokens_count(reading: PromptReading) -> None:
    without = lacking(reading)
    assert are_right([without, replace(without, says_answer=False)]) == [True, False]


def test_the_two_are_not_mixed(reading: PromptReading) -> None:
    """Beside "0 of 1 right" of the metric no report says "1 of 2"."""
    prompts = [having(reading, 0), lacking(reading)]
    assert are_right(prompts) == [False, None]
    assert str(right_answers_of(prompts)) == "0/1"


def test_a_text_that_the_model_wrote_is_no_answer(reading: PromptReading) -> None:
    written = written_prompt(reading.prompt, Writing(2))
    assert are_right([replace(reading, prompt=written)]) == [None]
    assert right_answers_of([replace(lacking(reading), prompt=written)]) is None
