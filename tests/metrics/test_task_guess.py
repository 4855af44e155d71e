"""The guess of the task: whole forwards, closed forms, and the settings that name the answers."""

import numpy as np
import pytest
import torch

from depthtui.data.run import Prompt
from depthtui.data.run_settings import RunSettings, SummarySettings
from depthtui.depth.reading import reading_of
from depthtui.metrics import kept, with_task_answers
from depthtui.metrics.task_guess import METRIC, ReducedTaskGuess, _leave_one_out, task_guesses
from tests.engine.test_controls import engine_with
from tests.tiny_models import CORPUS, with_tokenizer

WORDS = " ".join(CORPUS).split()
SETTINGS = RunSettings(metrics=("kept",))


def prompts(count=6, task="sums"):
    """Prompts of one task whose answers have one to three words."""
    return [
        Prompt(
            " ".join(WORDS[number : number + 5 + number % 3]),
            " ".join(["", *WORDS[number + 5 - 1 : number + 5 + number % 3]]),
            task,
            "1",
        )
        for number in range(count)
    ]


@pytest.fixture(scope="module")
def runs_and_engine(tmp_path_factory):
    model, tokenizer = with_tokenizer("llama")
    engine, of_task = engine_with(model, tokenizer, tmp_path_factory.mktemp("task")), prompts()
    runs = [
        engine.run(prompt, with_task_answers(SETTINGS, of_task, number))
        for number, prompt in enumerate(of_task)
    ]
    return runs, engine, model


def test_against_whole_forwards(runs_and_engine):
    """The oracle's way: the mean of whole output distributions, then the true token's."""
    runs, engine, model = runs_and_engine
    by_texts = engine.orders.guess()[0]
    with torch.no_grad():
        outputs = [
            model(torch.from_numpy(run.tokens.ids)[None]).logits[0, run.answer_start - 1 : -1]
            for run in runs
        ]
    chances = [output.double().softmax(-1).numpy() for output in outputs]
    guesses = task_guesses(reading_of(runs, SummarySettings()))
    assert len({len(guess) for guess in guesses}) > 1
    for number, (run, guess) in enumerate(zip(runs, guesses, strict=True)):
        for place, token in enumerate(run.tokens.ids[run.answer_start :]):
            others = [
                chance[place]
                for other, chance in enumerate(chances)
                if other != number and len(chance) > place
            ]
            mixed = np.exp(-by_texts[token])
            if others:
                mixed = 0.99 * np.mean(others, axis=0)[token] + 0.01 * mixed
            assert guess[place] == pytest.approx(-np.log(mixed), abs=1e-4)


def test_what_is_kept_is_counted_beyond_the_task(runs_and_engine):
    runs, _, _ = runs_and_engine
    reading = reading_of(runs, SummarySettings())
    found, guesses = reading.get(kept.METRIC), task_guesses(reading)
    assert [(curve.scored, curve.guess_of) for curve in found.curves] == [
        ("answer", "task"),
        ("answer", "text"),
        ("text", "text"),
    ]
    curve, by_texts, _ = found.curves
    assert curve.guess == pytest.approx(np.concatenate(guesses).mean())
    assert curve.guess < by_texts.guess
    np.testing.assert_array_equal(curve.loss, by_texts.loss)
    assert reading.verdict.headline.guess == "task"


def test_too_few_prompts_of_a_task_have_no_guess(runs_and_engine):
    runs, _, _ = runs_and_engine
    reading = reading_of(runs[:4], SummarySettings())
    assert task_guesses(reading) == [None] * 4
    assert [curve.guess_of for curve in reading.get(kept.METRIC).curves] == ["text", "text"]


def test_the_others_of_the_task_that_have_the_token_count():
    """Of two tokens, three others have the first, one the second; behind all is the text's."""

    def reduced(losses, guess=8.0):
        chances = np.array(losses, float)[:, None]
        guesses = np.full(len(losses), guess)
        return ReducedTaskGuess(tokens=len(losses), loss=chances, guess=guesses, own=0)

    own = reduced([0.0, 0.0, 0.0], guess=2.0)
    others = [reduced([1.0]), reduced([2.0]), reduced([3.0, 4.0]), reduced([5.0])]
    first, second = np.exp([-1.0, -2.0, -3.0, -5.0]).mean(), np.exp(-4.0)
    expected = [-np.log(0.99 * chance + 0.01 * np.exp(-2.0)) for chance in (first, second)]
    np.testing.assert_allclose(_leave_one_out(own, [own, *others]), [*expected, 2.0])


def test_answers_are_those_of_one_task():
    of_task, others = prompts(), prompts(task="products")
    mixed = [prompt for pair in zip(of_task, others, strict=True) for prompt in pair]
    settings = with_task_answers(SETTINGS, mixed, 2)
    assert settings.task_answers == tuple(prompt.answer for prompt in of_task)
    assert settings.metrics == ("kept", "task_guess")
    # Too few, of no task, without an answer, or without what counts by it.
    assert with_task_answers(SETTINGS, of_task[:4], 0) == SETTINGS
    assert with_task_answers(SETTINGS, prompts(task="typed"), 0) == SETTINGS
    assert with_task_answers(SETTINGS, [Prompt("a b", task="sums"), *of_task], 0) == SETTINGS
    assert with_task_answers(RunSettings(), of_task, 0) == RunSettings()


def test_many_prompts_are_parted():
    of_task = [Prompt(f"a {number}", f" {number}", "sums") for number in range(230)]
    parts = [with_task_answers(SETTINGS, of_task, number).task_answers for number in range(230)]
    assert {len(answers) for answers in parts} == {76, 77}
    assert all(prompt.answer in answers for prompt, answers in zip(of_task, parts, strict=True))


def test_alone_a_prompt_has_no_guess_of_a_task(runs_and_engine):
    runs, engine, _ = runs_and_engine
    result = engine.run(runs[0].prompt, RunSettings(metrics=("task_guess",)))
    assert result.unavailable[METRIC.name] == "no other prompts of its task are run with it"
    settings = RunSettings(metrics=("task_guess",), task_answers=(" other",))
    reason = engine.run(runs[0].prompt, settings).unavailable[METRIC.name]
    assert reason == "its answer is not one of its task's"
