"""What stands before a verdict, or takes its place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from depthtui.data.lens import LogitLens
from depthtui.data.run import RunResult
from depthtui.data.run_settings import SummarySettings
from depthtui.data.verdict import Verdict
from depthtui.depth.reading import Reading, reading_of
from depthtui.depth.warnings import is_finite
from depthtui.report.findings import findings
from depthtui.report.summary_json import verdict_dict
from depthtui.sweep.plan import Cell, TaskChoice
from depthtui.sweep.records import read_record, record_bytes, record_of
from tests.builders.metrics import smooth_metric
from tests.builders.results import full_run, make_result, random_result

SETTINGS = SummarySettings()


def verdict(results: Sequence[RunResult], settings: SummarySettings = SETTINGS) -> Verdict:
    result = reading_of(results, settings).verdict
    assert result is not None
    return result


def losing(loss: float, tokens: int = 12) -> RunResult:
    """A run with this loss in nats, of tokens that all differ, among 50."""
    result = make_result(tokens=tokens)
    lens = result.get(LogitLens)
    assert lens is not None
    lens.next_log_probability[-1] = -loss
    return result


# Too short ----------------------------------------------------------------------


@pytest.mark.parametrize("tokens", [1, 9])
def test_a_short_prompt_has_no_verdict(tokens: int) -> None:
    result = verdict([make_result(tokens=tokens)])
    scored = "1 scored token" if tokens == 1 else "9 scored tokens"
    assert result.sentence == f"Too short: no verdict on {scored}, 10 are needed."
    assert (result.warnings, result.evidence, result.missing_metrics) == (
        (result.sentence,),
        (),
        (),
    )
    assert result.text == result.sentence
    assert verdict_dict(result)["warnings"] == [result.sentence]


def test_short_prompts_together_have_one() -> None:
    results = [make_result(tokens=5)] * 2
    assert verdict(results).evidence
    assert not verdict(results, SummarySettings(include_first_token=False)).evidence


# Not finite ---------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["contributions", "logit_lens"])
def test_values_that_are_not_finite_have_no_verdict(metric: str) -> None:
    results = [full_run(), full_run("else", 1)]
    for name, values in vars(results[1].measured[metric]).items():
        if name in ("layer_cosine", "kl"):
            values[2:] = np.nan
    result = verdict(results)
    assert result.sentence == "No verdict: the model's values are not finite (NaN or infinite)."
    assert (result.warnings, result.evidence) == ((result.sentence,), ())
    remarks = {row.title: row.value for row in findings(reading_of(results, SETTINGS))}
    assert set(remarks.values()) <= {"–"}


# Knows nothing ------------------------------------------------------------------


def test_a_loss_of_a_guess_is_warned_of_first() -> None:
    guess = math.log(50)
    assert not verdict([losing(guess - 0.01)]).warnings
    # A uniform output, its loss rounded to float32.
    for loss in (float(np.float32(guess)) - 1e-6, guess + 1e-6, 14.7):
        result = verdict([losing(loss)])
        assert result.warnings == (
            "The model knows nothing of this text, so no count means anything: its loss of "
            f"{loss:.2f} nats a token is no better than a guess among its 50 tokens, 3.91 nats "
            "(ln V).",
        )
        assert result.text.startswith(result.warnings[0])
        assert result.evidence
        assert all(not (one.firm or one.holds_here) for one in result.evidence)
        assert all(one.reason == "the model knows nothing of the text" for one in result.evidence)
    # Of several prompts by the loss of all tokens.
    assert "of these texts" in verdict([losing(5), losing(4)]).warnings[0]
    assert not verdict([losing(5), losing(1, 30)]).warnings


def repeated(loss: float, kinds: int = 12) -> RunResult:
    """A run of so many different tokens, each twenty times."""
    result = losing(loss, 20 * kinds)
    result.tokens = replace(result.tokens, ids=np.tile(np.arange(kinds), 20))
    return result


def test_a_loss_above_that_of_a_unigram_is_warned_of() -> None:
    (words,) = verdict([repeated(2.6)]).warnings
    assert words.endswith(
        "2.60 nats a token is worse than a unigram of the other tokens, 2.58 nats."
    )
    assert not verdict([repeated(2.5)]).warnings
    # Few that repeat are no text.
    assert not verdict([repeated(2.6, kinds=9)]).warnings
    assert not verdict([losing(2.6)]).warnings


def test_where_what_is_known_was_measured_a_unigram_is_no_bar() -> None:
    """A list that comes twice is known by its context, and better by its own words."""
    result = repeated(2.6)
    assert "unigram" in verdict([result]).text
    result.put("kept", smooth_metric("kept", result))
    measured = verdict([result])
    assert measured.warnings == ()
    assert "keeps nine tenths" in measured.sentence


def test_a_unigram_that_was_not_kept_is_no_bar() -> None:
    one = repeated(2.6)
    cell = Cell(one.model.spec, TaskChoice("typed", ""))
    record = read_record(record_bytes(record_of(one, "key", cell, 0)))
    for unigram, warned in ((record.unigram_loss, True), (math.nan, False)):
        reading = Reading([replace(record, unigram_loss=unigram)], SETTINGS)
        assert reading.verdict is not None
        assert bool(reading.verdict.warnings) == warned


# No right answer ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("right", "words"),
    [
        ([False], "It answers wrongly."),
        ([False] * 3, "It answers none of 3 rightly."),
        ([False, False, True], "It answers 1 of 3 rightly."),
        ([False, True], ""),
    ],
)
def test_where_most_answers_are_wrong_it_is_said(right: list[bool], words: str) -> None:
    results = [random_result(tokens=12, text=f"text {n}") for n in range(len(right))]
    for result, is_right in zip(results, right, strict=True):
        result.tokens = replace(result.tokens, answer_start=10)
        lens = result.get(LogitLens)
        assert lens is not None
        lens.top_ids[-1, 9:-1, 0] = result.tokens.ids[10:] + (not is_right)
    assert verdict(results).warnings == ()
    clauses = verdict(results).words.clauses
    assert (words in clauses) == bool(words)
    assert words or not any("rightly" in clause or "wrongly" in clause for clause in clauses)


def test_of_a_worked_solution_it_is_not_said() -> None:
    result = random_result(tokens=30)
    result.tokens = replace(result.tokens, answer_start=10)
    assert "wrong" not in verdict([result]).sentence


def test_a_lens_that_was_stopped_is_unread_and_not_infinite() -> None:
    """The output is read first: with it alone, no depth is known, and no value is wrong."""
    result = full_run(tokens=24)
    lens = result.get(LogitLens)
    assert lens is not None
    depths, tokens, top_k = lens.top_ids.shape
    unread = LogitLens.unknown(depths - 1, tokens, top_k)
    for name in LogitLens.shapes():
        getattr(lens, name)[:-1] = getattr(unread, name)[:-1]
    reading = reading_of([result], SummarySettings())
    kl = reading.depth("kl")
    assert not lens.is_read
    assert kl is not None
    assert "not read every layer" in kl.reason
    assert is_finite(reading)
