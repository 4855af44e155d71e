"""What is said about two runs side by side."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest

from depthtui.data.run import Prompt, RunResult
from depthtui.data.run_settings import ModelSpec, RunSettings, Skip, SummarySettings
from depthtui.depth.verdict_words import comparison_sentence
from depthtui.metrics.contributions import Contributions
from depthtui.tui.state.alignment import align
from depthtui.tui.state.comparison import (
    caveat,
    choices_of,
    compared_sentence,
    distinct_names,
    lacks,
    names_of,
)
from depthtui.tui.state.session import RunState, SessionRun
from tests.builders.models import model_info
from tests.builders.readings import verdict
from tests.builders.results import full_result, make_result, unanswered

WORDS = ["The", " capital", " of", " France"]


def said(a: RunResult, b: RunResult, first_included: bool = True) -> str:
    settings = SummarySettings(include_first_token=first_included)
    return caveat(a, b, align(a.tokens, b.tokens), settings)


def result(*texts: str, layers: int = 6) -> RunResult:
    return unanswered(make_result(layers=layers, texts=list(texts)))


def test_the_same_tokens_are_told() -> None:
    a, b = result(*WORDS), result(*WORDS)
    assert said(a, b) == "The same tokens: the difference is token by token."
    b.tokens.ids[:] += 1
    assert said(a, b).startswith("The same texts, other ids:")


@pytest.mark.parametrize("first_included", [True, False])
@pytest.mark.parametrize("longer", ["A", "B"])
def test_a_bos_token_is_told_and_how_to_leave_it_out(longer: str, first_included: bool) -> None:
    bos, plain = result("<s>", *WORDS), result(*WORDS)
    a, b = (bos, plain) if longer == "A" else (plain, bos)
    shorter = "B" if longer == "A" else "A"
    words = said(a, b, first_included)
    assert f"{longer} begins with <s>, {shorter} does not" in words
    assert f"token t of {shorter} is beside t + 1 of {longer}" in words
    assert ("u leaves token 0 out" in words) == first_included
    assert ("Means are without token 0" in words) != first_included


def test_a_word_in_front_is_no_bos_token() -> None:
    words = said(result("Now", *WORDS), result(*WORDS))
    assert "A begins with Now" in words
    assert "token 0" not in words


def test_common_parts_are_counted() -> None:
    words = said(result("<s>", *WORDS, " is"), result(*WORDS, "s"))
    assert "4 of 6 and 5 tokens have the same text" in words
    assert "u leaves token 0 out" in words


def test_answers_in_the_same_column_are_told() -> None:
    a = make_result(texts=[*WORDS, " is", " Paris"])
    b = make_result(texts=["Two", " and", " two", " is", " four"])
    assert said(a, b) == ("Aligned where the answers begin: 5 of 6 and 5 tokens are side by side.")


def test_where_two_runs_part_is_told_behind_their_depths() -> None:
    a, b = make_result(), make_result()
    b.get(Contributions).mlp_cosine[3] = 0.9
    told = compared_sentence(a, b, (None, None), SummarySettings())
    assert told.startswith("They part at layer 3, by MLP:")
    both = verdict([a], SummarySettings())
    told = compared_sentence(a, b, (both, both), SummarySettings())
    assert told.endswith(compared_sentence(a, b, (None, None), SummarySettings()))
    assert told.startswith(comparison_sentence(both, both))


def test_a_run_lacks_what_the_other_one_alone_has() -> None:
    whole, half = random_run("a", ["skip_effects", "early_exit"]), random_run("b", [])
    assert lacks(half, whole) == ["skip_effects"]
    assert lacks(half, whole, ["early_exit"]) == []
    assert lacks(whole, half) == []
    half.state = RunState.RUNNING
    assert lacks(half, whole) == []
    half.state, half.result = RunState.FINISHED, None
    assert lacks(half, whole) == lacks(whole, half) == []


def test_choices_that_name_tokens_stay_with_their_prompt() -> None:
    settings = RunSettings(skip_positions=(3,), layers="/4", answer_start=5)
    chosen = choices_of(run(1, "org/base", "a b", settings), ["skip_effects", "ablation"])
    assert chosen["layers"] == "/4"
    assert not {"skip_positions", "answer_start"} & chosen.keys()


def test_other_tokens_and_other_layers_are_told() -> None:
    a, b = result(*WORDS), result("Two", " words", layers=4)
    assert "Rows are matched by relative depth (6 and 4 layers)" in said(a, b)
    assert "the difference has those of A." in said(a, b)
    assert "the difference has those of B." in said(b, a)
    assert "The tokens differ (4 and 2): only curves and means over tokens" in said(a, b)


def test_a_hostile_token_is_shown_as_text() -> None:
    assert "\x1b" not in said(result("<\x1b[2J>", *WORDS), result(*WORDS))


def random_run(text: str, metrics: list[str]) -> SessionRun:
    """A finished run that has these metrics beside those of the pass."""
    settings = RunSettings(metrics=(*RunSettings().metrics, *metrics))
    found = full_result(Prompt(text), settings=settings)
    done = SessionRun(1, 1, found.model, found.prompt, settings, datetime.now(), found)
    done.state = RunState.FINISHED
    return done


def run(number: int, name: str, prompt: str, settings: RunSettings | None = None) -> SessionRun:
    info = model_info(ModelSpec(name))
    return SessionRun(
        number, number, info, Prompt(prompt), settings or RunSettings(), datetime.now()
    )


@pytest.mark.parametrize(
    ("model", "text", "names"),
    [
        ("org/base", "a b", ("A distilled", "B base")),
        ("org/distilled", "c d", ("A a b", "B c d")),
        ("org/distilled", "a b", ("A run 1", "B run 2")),
        ("org/base", "c d", ("A distilled · a b", "B base · c d")),
    ],
)
def test_names_tell_two_runs_apart(model: str, text: str, names: tuple[str, str]) -> None:
    assert names_of(run(1, "org/distilled", "a b"), run(2, model, text)) == names


def test_a_what_if_is_named_by_what_it_leaves_out() -> None:
    changed = RunSettings(skipped=(Skip(3), Skip(4)))
    names = names_of(run(1, "demo", "a b"), run(2, "demo", "a b", changed))
    assert names == ("A every layer", "B without layers 3-4")


def test_models_of_one_name_are_told_apart_by_dtype_and_device() -> None:
    one = model_info(ModelSpec("one"))
    half = replace(one, dtype="bfloat16")
    assert distinct_names(one, half) == (
        f"{one.name} (float32 on cpu)",
        f"{one.name} (bfloat16 on cpu)",
    )
    assert distinct_names(one, one) == (one.name, one.name)
    other = replace(half, name="other")
    assert distinct_names(one, other) == (one.name, "other")
