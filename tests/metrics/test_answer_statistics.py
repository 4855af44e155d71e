"""Statistics of right answers: scipy, published examples, closed forms, false claims."""

import numpy as np
import pytest
from scipy.stats import binomtest, multinomial

from depthtui.metrics.accuracy import answer_statistics
from depthtui.metrics.accuracy.answer_statistics import (
    PairedAnswers,
    fewest_layers,
    is_above_chance,
    raising_layers,
    wilson,
)


@pytest.mark.parametrize(("right", "questions"), [(0, 5), (3, 3), (40, 50), (81, 263)])
def test_wilson_against_scipy(right, questions):
    expected = binomtest(right, questions).proportion_ci(method="wilson")
    np.testing.assert_allclose(wilson(right, questions), expected, atol=1e-12)


@pytest.mark.parametrize(("lost", "gained"), [(0, 0), (4, 1), (0, 6), (9, 9)])
def test_mcnemar_against_scipy(lost, gained):
    expected = binomtest(min(lost, gained), lost + gained).pvalue if lost + gained else 1.0
    assert PairedAnswers(20, lost, gained, 5).p_value == pytest.approx(expected)


@pytest.mark.parametrize(
    ("numbers", "interval"),
    # Newcombe 1998, Statistics in Medicine 17, 2635-2650, table II, method 10.
    [((36, 2, 12, 0), (0.0569, 0.3404)), ((2, 0, 1, 97), (-0.0312, 0.0572))],
)
def test_newcombes_interval_against_published_examples(numbers, interval):
    np.testing.assert_allclose(PairedAnswers(*numbers).interval(), interval, atol=5e-5)


@pytest.mark.parametrize("questions", [40, 80, 100, 200, 300])
@pytest.mark.parametrize("gained", [0.0, 0.05])
def test_a_test_for_no_loss_passes_falsely_in_five_of_a_hundred(questions, gained):
    """By every outcome of its own chance, where the true loss is just the margin."""
    margin, passed = 0.05, 0.0
    lost_share = margin + gained
    for lost in range(questions // 3):
        for more in range(questions // 4 if gained else 1):
            if PairedAnswers(0, lost, more, questions - lost - more).least_change > -margin:
                others = questions - lost - more
                shares = (lost_share, gained, 1 - lost_share - gained)
                passed += multinomial.pmf((lost, more, others), questions, shares)
    assert passed <= 0.06


def test_bounds_are_where_the_score_is():
    pair = PairedAnswers(58, 2, 0, 40)
    assert pair.score(-0.05) == pytest.approx(1.3765, abs=1e-4)
    assert pair.score(pair.least_change) == pytest.approx(1.6449, abs=1e-3)
    assert pair.score(pair.most_change) == pytest.approx(-1.6449, abs=1e-3)


def test_the_interval_is_mirrored_where_models_change_places():
    low, high = PairedAnswers(30, 4, 1, 15).interval()
    np.testing.assert_allclose(PairedAnswers(30, 1, 4, 15).interval(), (-high, -low))


def test_pairs_in_words():
    assert (
        PairedAnswers(35, 4, 1, 10).words() == "lost 4, gained 1 of 50: 6 points fewer (-16 to +4)"
    )
    assert PairedAnswers(0, 0, 1, 0).words().startswith("lost 0, gained 1 of 1: 100 points more (")
    assert ": less than a point fewer (" in PairedAnswers(99, 1, 0, 199).words()
    assert ": as many (" in PairedAnswers(3, 1, 1, 0).words()


def test_chance():
    assert not is_above_chance(15, [0.25] * 40)
    assert is_above_chance(16, [0.25] * 40)
    assert not is_above_chance(0, [0.0] * 40)
    assert is_above_chance(1, [0.0] * 40)


def along(questions, *lost):
    """Answers along an order that loses so many more right ones with each layer."""
    answers = np.ones((questions, len(lost) + 1))
    for count, wrong in enumerate(lost, 1):
        answers[:wrong, count] = 0
    return answers


def test_layers_go_until_a_test_fails():
    found = fewest_layers(along(200, 0, 1, 2, 40, 0), 0.05)
    assert found.left_out == 3
    assert found.failed.lost == 40
    assert found.questions is None
    assert fewest_layers(along(200, 0, 1, 2), 0.05).failed is None


def test_too_few_questions_name_the_number_that_would_tell():
    found = fewest_layers(along(20, 0, 0), 0.05)
    assert found.left_out is None
    assert found.questions == 52
    # So many tell indeed, and one fewer does not.
    assert fewest_layers(along(52, 0), 0.05).left_out == 1
    assert fewest_layers(along(51, 0), 0.05).left_out is None


def test_a_layer_that_is_shown_to_be_needed_stays():
    found = fewest_layers(along(20, 15), 0.05)
    assert found.left_out == 0
    assert found.questions is None


def test_layers_that_raise_the_answers():
    rng = np.random.default_rng(0)
    before = (rng.random(80) < 0.4).astype(float)
    without = np.repeat(before[:, None], 6, axis=1)
    without[:, 4] = np.maximum(before, rng.random(80) < 0.5)
    without[:, 5] = np.nan
    found = raising_layers(before, without, 1)
    assert found.layers == (4,)
    assert found.p_value < 0.01
    assert 0.2 < found.gain < 0.4


@pytest.mark.parametrize("moved", [0.3, 1.0])
def test_false_claims_on_shuffled_labels(moved, monkeypatch):
    """Whatever the model chooses, labels that are drawn make no layer better: 5 % of 200 at most.

    Up to 17 of 200 are within chance of a true rate of 5 %, in 99 cases of 100.
    """
    monkeypatch.setattr(answer_statistics, "FLIPS", 400)
    rng = np.random.default_rng(5)
    claims = 0
    for seed in range(200):
        choice = rng.integers(0, 4, (60, 1))
        others = rng.integers(0, 4, (60, 30))
        without = np.where(rng.random((60, 30)) < moved, others, choice)
        labels = rng.integers(0, 4, 60)
        before = (choice[:, 0] == labels).astype(float)
        found = raising_layers(before, (without == labels[:, None]).astype(float), seed)
        claims += bool(found.layers)
    assert claims <= 17
