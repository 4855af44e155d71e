"""The guess of the task: whole forwards, closed forms, and the settings that name the answers."""

import numpy as np
import pytest
import torch

from depthtui.data.run import Prompt
from depthtui.data.run_settings import RunSettings, SummarySettings
from depthtui.depth.reading import reading_of
from depthtui.metrics import kept
from depthtui.metrics.needed_settings import with_other_prompts
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
        engine.run(prompt, with_other_prompts(SETTINGS, of_task, number))
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
    assert len({len(guess.loss) for guess in guesses}) > 1
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
            assert guess.loss[place] == pytest.approx(-np.log(mixed), abs=1e-4)


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
    assert curve.mean.guess == pytest.approx(
        np.concatenate([guess.loss for guess in guesses]).mean()
    )
    assert curve.mean.guess != by_texts.mean.guess
    np.testing.assert_array_equal(curve.mean.loss, by_texts.mean.loss)
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
    guess, *_ = _leave_one_out([own, *others])
    np.testing.assert_allclose(guess.loss, [*expected, 2.0])


def test_an_influence_is_the_derivative_of_the_others_losses_by_a_prompts_weight():
    losses = np.random.default_rng(0).uniform(0.5, 6, (6, 6))
    of_task = [
        ReducedTaskGuess(tokens=1, loss=losses[place, None], guess=np.array([7.0]), own=place)
        for place in range(6)
    ]

    def total(weights):
        """The losses of all answers by outputs that count as much as their weights."""
        others = weights[:, None] * (1 - np.eye(6))
        means = (others * np.exp(-losses)).sum(axis=0) / others.sum(axis=0)
        return -np.log(0.99 * means + 0.01 * np.exp(-7.0)).sum()

    guesses = _leave_one_out(of_task)
    assert sum(guess.loss[0] for guess in guesses) == pytest.approx(total(np.ones(6)))
    for place, guess in enumerate(guesses):
        step = 1e-5 * np.eye(6)[place]
        derivative = (total(1 + step) - total(1 - step)) / 2e-5
        assert guess.influence == pytest.approx(derivative, rel=1e-5)
    assert sum(guess.influence for guess in guesses) == pytest.approx(0, abs=1e-12)


def test_the_spread_of_a_mean_is_that_of_the_jackknife():
    """The pseudo-values of prompts that are left out in turn, the guesses made anew each time."""
    rng = np.random.default_rng(1)
    losses = rng.gamma(2, 1.5, (40, 1)) + rng.gamma(2, 0.5, (40, 40))

    def guesses(places):
        return _leave_one_out(
            [
                ReducedTaskGuess(
                    tokens=1, loss=losses[place, None], guess=np.array([7.0]), own=place
                )
                for place in places
            ]
        )

    def mean(places):
        return np.mean([guess.loss[0] for guess in guesses(places)])

    every = range(40)
    without = [mean([other for other in every if other != place]) for place in every]
    jackknife = np.std(40 * mean(every) - 39 * np.array(without))
    values = [guess.loss[0] + guess.influence for guess in guesses(every)]
    given = [guess.loss[0] for guess in guesses(every)]
    assert np.mean(values) == pytest.approx(mean(every))
    assert np.std(values) == pytest.approx(jackknife, rel=0.1)
    assert np.std(given) != pytest.approx(jackknife, rel=0.3)


def test_answers_are_those_of_one_task():
    of_task, others = prompts(), prompts(task="products")
    mixed = [prompt for pair in zip(of_task, others, strict=True) for prompt in pair]
    settings = with_other_prompts(SETTINGS, mixed, 2)
    assert settings.task_answers == tuple(prompt.answer for prompt in of_task)
    assert settings.metrics == ("kept", "task_guess")
    # Too few, of no task, or without an answer.
    for others in (of_task[:4], prompts(task="typed"), [Prompt("a b", task="sums"), *of_task]):
        settings = with_other_prompts(SETTINGS, others, 0)
        assert (settings.task_answers, settings.metrics) == ((), SETTINGS.metrics)
    assert with_other_prompts(RunSettings(), of_task, 0) == RunSettings()


def test_many_prompts_are_parted():
    of_task = [Prompt(f"a {number}", f" {number}", "sums") for number in range(230)]
    parts = [with_other_prompts(SETTINGS, of_task, number).task_answers for number in range(230)]
    assert {len(answers) for answers in parts} == {76, 77}
    assert all(prompt.answer in answers for prompt, answers in zip(of_task, parts, strict=True))


def test_alone_a_prompt_has_no_guess_of_a_task(runs_and_engine):
    runs, engine, _ = runs_and_engine
    result = engine.run(runs[0].prompt, RunSettings(metrics=("task_guess",)))
    assert result.unavailable[METRIC.name] == "no other prompts of its task are run with it"
    settings = RunSettings(metrics=("task_guess",), task_answers=(" other",))
    reason = engine.run(runs[0].prompt, settings).unavailable[METRIC.name]
    assert reason == "its answer is not one of its task's"
