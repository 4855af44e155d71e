"""How many layers go, on costs that are made up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from depthtui.engine.layer_choice import Choosing, Gate, LayerChoice
from depthtui.engine.left_out_costs import LeftOutCosts
from depthtui.errors import DepthError
from depthtui.metrics.accuracy.answer_statistics import PairedAnswers

ORDER = [7, 2, 9, 4, 0]
KL = Gate("kl", 0.5)


def costs(kl: list[float], prompts: int = 2, right: np.ndarray | None = None) -> LeftOutCosts:
    """Costs of prompts that are alike: the loss is twice the KL higher, of 2 nats of knowledge."""
    rows = np.tile(np.array(kl, float), (prompts, 1))
    if right is None:
        right = np.full(rows.shape, np.nan)
    guess, tokens = np.full(prompts, 3.0), np.full(prompts, 5)
    return LeftOutCosts(rows, 1 - rows / 10, 1 + 2 * rows, right, guess, tokens, tokens)


def answered(*pairs: PairedAnswers) -> LeftOutCosts:
    """The costs of prompts of which so many are answered rightly before and after."""
    rows = []
    for pair in pairs:
        counts = [int(n) for n in (pair.both, pair.lost, pair.gained, pair.neither)]
        rows.append(np.repeat([1.0, 0.0, 1.0, 0.0], counts))
    before = np.repeat([1.0, 1.0, 0.0, 0.0], counts)
    right = np.stack([before, *rows], axis=1)
    return costs([0.0] * right.shape[1], len(right), right)


def choice(
    gate: Gate, choosing: LeftOutCosts, held_out: LeftOutCosts, healed: LeftOutCosts | None = None
) -> LayerChoice:
    by = Choosing(gate, choosing, "8 texts", "10 held-out prompts")
    count = gate.within(choosing)
    return LayerChoice(ORDER, count, 10, "layer", held_out, gate.option, "greedy", by, healed)


def by_kl(choosing: list[float], held_out: list[float], limit: float = 0.5) -> LayerChoice:
    return choice(Gate("kl", limit), costs(choosing), costs(held_out))


def refusal(layer_choice: LayerChoice) -> tuple[str, str]:
    with pytest.raises(DepthError) as caught:
        layer_choice.check()
    return caught.value.message, caught.value.hint


@pytest.mark.parametrize(
    ("limit", "kl", "count"),
    [
        (0.5, [0, 0.1, 0.4, 0.6], 2),
        (0.4, [0, 0.1, 0.4, 0.6], 2),
        (0.05, [0, 0.1, 0.4, 0.6], 0),
        (3.0, [0, 0.1, 0.4, 0.6], 3),
        (0.5, [0, 0.1, 0.6, 0.4], 1),
    ],
)
def test_layers_go_until_the_cost_first_passes_the_limit(limit, kl, count) -> None:
    assert Gate("kl", limit).within(costs(kl)) == count


@pytest.mark.parametrize(
    ("column", "limit", "words"),
    [
        ("kl", 0.2, "the output is 0.20 nats away"),
        ("loss", 0.4, "the loss is 0.40 nats higher"),
        ("knowledge", 0.8, "80% of what the model knows is kept"),
        ("choices", 0.98, "98% of first choices stay"),
    ],
)
def test_a_gate_is_a_column_and_a_limit(column: str, limit: float, words: str) -> None:
    gate, known = Gate(column, limit), costs([0, 0.1, 0.2, 0.3])
    assert gate.within(known) == 2
    assert gate.describe(known, 2) == words
    stricter = limit + (-0.001 if column in ("kl", "loss") else 0.001)
    assert Gate(column, stricter).within(known) == 1
    assert gate.option == f"--keep {column}={limit:g}"


def test_right_answers_are_a_share_of_the_whole_models_and_gained_ones_count() -> None:
    gate = Gate("answers", 0.9)
    assert gate.passes(answered(PairedAnswers(9, 1, 0, 0)), 1)
    assert not gate.passes(answered(PairedAnswers(8, 2, 0, 0)), 1)
    assert gate.passes(answered(PairedAnswers(30, 4, 1, 15)), 1)
    assert not gate.passes(answered(PairedAnswers(30, 4, 0, 16)), 1)
    words = "91% as many answers are right, lost 4, gained 1 of 50: 6 points fewer (-1"
    assert gate.describe(answered(PairedAnswers(30, 4, 1, 15)), 1).startswith(words)


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        (PairedAnswers(30, 4, 1, 15), "7 fewer: a larger loss is not excluded, some "),
        (PairedAnswers(300, 4, 1, 195), "6 fewer: a larger loss is excluded"),
        # Where the loss is all that is allowed, no number of questions would exclude a larger one.
        (PairedAnswers(9, 1, 0, 0), "10 fewer: a larger loss is not excluded"),
    ],
)
def test_the_gate_says_whether_a_larger_loss_is_excluded(pair, words) -> None:
    certainty = Gate("answers", 0.9).certainty(answered(pair), 1)
    bound = 100 * pair.least_change
    assert certainty.startswith(f"with 95% the true change is above {bound:.0f} points (one-sided")
    enough = f"{pair.questions_for(0.1 * 34 / 50)} such questions would"
    assert certainty.endswith(words + enough if words.endswith("some ") else words)


def test_a_mean_over_prompts_says_what_its_interval_excludes() -> None:
    kl = np.linspace(0.2, 0.4, 10)[:, None] * [[0, 1]]
    known = replace(costs([0, 0], 10), kl=kl, choices=1 - kl)
    low, high = known.columns["kl"].interval[:, 1]
    assert 0.2 < low < 0.3 < high < 0.4
    words = f"with 95% the true KL is {low:.2f} to {high:.2f} nats (bootstrap over 10 prompts): "
    assert Gate("kl", 0.31).certainty(known, 1) == words + "a larger loss is not excluded"
    assert Gate("kl", 0.4).certainty(known, 1) == words + "a larger loss is excluded"
    assert Gate("choices", 0.6).certainty(known, 1).endswith("a larger loss is excluded")
    assert Gate("choices", 0.69).certainty(known, 1).endswith("a larger loss is not excluded")
    assert KL.certainty(costs([0, 0.1], prompts=4), 1) == ""


def test_of_what_is_hardly_known_no_share_is_kept() -> None:
    known = replace(costs([0, 0.01]), guess=np.full(2, 1.05))
    assert known.knows_too_little
    assert not Gate("knowledge", 0.1).passes(known, 1)
    assert replace(known, guess=np.full(2, np.nan)).knows_too_little


def test_losses_and_choices_are_means_over_tokens_and_kl_over_prompts() -> None:
    rows = np.array([[0, 0.1], [0, 0.4]])
    guess, tokens = np.array([3.0, 2.0]), np.array([1, 3])
    known = LeftOutCosts(rows, 1 - rows, 1 + rows, rows, guess, tokens, tokens).columns
    assert known["kl"].values[1] == pytest.approx(0.25)
    assert known["loss"].values[1] == pytest.approx((0.1 + 3 * 0.4) / 4)
    assert known["choices"].values[1] == pytest.approx(1 - (0.1 + 3 * 0.4) / 4)
    assert known["knowledge"].values[1] == pytest.approx(1 - 1.3 / (2 + 3 * 1))


def test_a_choice_that_passes_names_its_layers_in_order() -> None:
    layer_choice = by_kl([0, 0.1, 0.3, 0.45, 0.9], [0, 0.2, 0.3, 0.5, 1.2])
    layer_choice.check()
    assert layer_choice.left_out == [2, 7, 9]
    first = layer_choice.protocol.splitlines()[0]
    assert first.startswith("left out: 3 layers (2, 7, 9), by the model's order, greedy: 7, 2, 9")
    assert first.endswith("; 7 of 10 layers kept")


def test_the_held_out_prompts_choose_no_number() -> None:
    """Where they would allow more than the texts that choose, no more go."""
    layer_choice = by_kl([0, 0.1, 0.6, 0.9], [0, 0.01, 0.02, 0.03])
    layer_choice.check()
    assert layer_choice.left_out == [7]


def test_a_gate_that_fails_names_both_costs_and_what_would_pass() -> None:
    message, hint = refusal(by_kl([0, 0.1, 0.3, 0.45, 0.95, 2], [0, 0.2, 0.41, 0.713, 0.92, 2]))
    assert "without 3 layers (2, 7, 9) the output is 0.71 nats away on 10 held-out" in message
    assert "--keep kl=0.5 fails. On 8 texts, which chose, the output is 0.45 nats" in message
    assert "With 8 of 10 layers kept the output is 0.41 nats away: --least 2." in hint


def test_where_one_layer_costs_too_much_none_goes() -> None:
    message, hint = refusal(by_kl([0, 0.1, 0.3], [0, 0.2, 0.4], 0.05))
    assert "without layer 7 alone the output is 0.10 nats away on 8 texts" in message
    assert hint == "On 10 held-out prompts the output is 0.20 nats away."


def test_a_healed_model_passes_where_the_cut_one_fails() -> None:
    cut = by_kl([0, 0.1, 0.3, 0.6], [0, 0.2, 0.8])
    refusal(cut)
    healed = replace(cut, healed=costs([0, 0.45], prompts=6))
    healed.check()
    both = "the output is 0.80 nats away, and healed the output is 0.45 nats away on 10 held-out"
    assert f"checked: {both}" in healed.protocol
    assert "certain: with 95% the true KL is 0.45 to 0.45 nats" in healed.protocol
    message, _ = refusal(replace(cut, healed=costs([0, 0.55])))
    assert "is 0.80 nats away, and healed the output is 0.55 nats away on 10 held-out" in message


def test_answers_are_told_in_shares() -> None:
    all_stay, three, half = (
        PairedAnswers(*pair) for pair in ((4, 0, 0, 6), (3, 1, 0, 6), (2, 2, 0, 6))
    )
    choosing, held_out = answered(all_stay, all_stay, half), answered(all_stay, three)
    message, hint = refusal(choice(Gate("answers", 0.9), choosing, held_out))
    assert "75% as many answers are right, lost 1, gained 0 of 10: 10 points fewer (" in message
    assert "--least 1" in hint
    # A number without which nothing was asked is not named.
    unknown = replace(held_out, right=np.where([True, False, True], held_out.right, np.nan))
    assert "--least" not in refusal(choice(Gate("answers", 0.9), choosing, unknown))[1]
