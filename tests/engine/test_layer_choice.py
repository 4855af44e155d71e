"""How many layers go, on costs that are made up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from depthtui.engine.layer_choice import AnswersGate, BudgetGate, Gate, LayerChoice, within
from depthtui.errors import DepthError
from depthtui.metrics.accuracy.answer_statistics import PairedAnswers

ORDER = [7, 2, 9, 4, 0]


def budget(limit: float) -> BudgetGate:
    return BudgetGate(limit, "8 texts", "10 held-out prompts")


def choice(gate: Gate, choosing: list[float], held_out: list[float]) -> LayerChoice:
    return LayerChoice(gate, ORDER, choosing, dict(enumerate(held_out)))


@pytest.mark.parametrize(
    ("limit", "costs", "count"),
    [
        (0.5, [0, 0.1, 0.4, 0.6], 2),
        (0.4, [0, 0.1, 0.4, 0.6], 2),
        (0.05, [0, 0.1, 0.4, 0.6], 0),
        (3.0, [0, 0.1, 0.4, 0.6], 3),
        (0.5, [0, 0.1, 0.6, 0.4], 1),
    ],
)
def test_layers_go_until_the_cost_first_passes_the_limit(limit, costs, count) -> None:
    assert within(budget(limit), costs) == count


def test_nine_of_ten_answers_are_nine_tenths() -> None:
    gate = AnswersGate(1 - 0.9, "", "")
    assert gate.passes(PairedAnswers(9, 1, 0, 0))
    assert not gate.passes(PairedAnswers(8, 1, 0, 0))
    assert gate.option(gate.limit) == "--keep-answers 0.9"


def test_gained_answers_make_up_for_lost_ones() -> None:
    gate = AnswersGate(1 - 0.9, "", "")
    assert gate.passes(PairedAnswers(30, 4, 1, 15))
    assert not gate.passes(PairedAnswers(30, 4, 0, 16))
    words = "91% as many answers are right, lost 4, gained 1 of 50: 6 points fewer (-1"
    assert gate.describe(PairedAnswers(30, 4, 1, 15)).startswith(words)


@pytest.mark.parametrize(
    ("share", "pair", "words"),
    [
        (0.9, PairedAnswers(30, 4, 1, 15), "7 fewer: a larger loss is not excluded, some "),
        (0.9, PairedAnswers(300, 4, 1, 195), "6 fewer: a larger loss is excluded"),
        # Where the loss is all that is allowed, no number of questions would exclude a larger one.
        (0.9, PairedAnswers(9, 1, 0, 0), "10 fewer: a larger loss is not excluded"),
    ],
)
def test_the_gate_says_whether_a_larger_loss_is_excluded(share, pair, words) -> None:
    gate = AnswersGate(1 - share, "", "")
    certainty = gate.certainty(pair)
    bound = 100 * pair.least_change
    assert certainty.startswith(f"with 95% the true change is above {bound:.0f} points (one-sided")
    assert words in certainty
    if words.endswith("some "):
        enough = pair.questions_for(0.1 * 34 / 50)
        assert certainty.endswith(f"some {enough} such questions would")
    else:
        assert certainty.endswith(words)
    assert budget(0.5).certainty(0.4) == ""


def test_a_choice_that_passes_names_its_layers_in_order() -> None:
    layer_choice = choice(budget(0.5), [0, 0.1, 0.3, 0.45, 0.9], [0, 0.2, 0.3, 0.5, 1.2])
    layer_choice.check()
    assert layer_choice.count == 3
    assert layer_choice.left_out == [2, 7, 9]


def test_the_held_out_prompts_choose_no_number() -> None:
    """Where they would allow more than the texts that choose, no more go."""
    layer_choice = choice(budget(0.5), [0, 0.1, 0.6, 0.9], [0, 0.01, 0.02, 0.03])
    layer_choice.check()
    assert layer_choice.left_out == [7]


def refusal(layer_choice: LayerChoice) -> tuple[str, str]:
    with pytest.raises(DepthError) as caught:
        layer_choice.check()
    return caught.value.message, caught.value.hint


def test_a_gate_that_fails_names_both_costs_and_what_would_pass() -> None:
    layer_choice = choice(budget(0.5), [0, 0.1, 0.3, 0.45, 0.95, 2], [0, 0.2, 0.41, 0.713, 0.92, 2])
    message, hint = refusal(layer_choice)
    assert "without 3 layers (2, 7, 9) the output is 0.71 nats away on 10 held-out" in message
    assert "--budget 0.5 allows less" in message
    assert "On 8 texts, which chose, the output is 0.45 nats away." in message
    assert "--budget 0.72 would pass, with 3 layers left out." in hint
    assert "Without 2 layers the output is 0.41 nats away: --drop 2,7 leaves" in hint


@pytest.mark.parametrize(
    ("choosing", "held_out", "limit"),
    [
        # 0.72 allows the same three.
        ([0, 0.1, 0.3, 0.45, 0.95, 2], [0, 0.2, 0.4, 0.713, 0.92, 2], 0.72),
        # 0.72 would allow four, which cost 0.92; 0.92 allows no five.
        ([0, 0.1, 0.3, 0.45, 0.7, 2], [0, 0.2, 0.4, 0.713, 0.92, 2], 0.92),
        # Hundredths are too coarse between 0.7131 and 0.7155.
        ([0, 0.1, 0.3, 0.45, 0.7155, 2], [0, 0.2, 0.4, 0.7131, 2.5, 2.9], 0.714),
        # Nothing is known beyond the last.
        ([0, 0.1, 0.3, 0.45], [0, 0.2, 0.4, 0.713], None),
        # Every higher limit allows more than the held-out prompts do.
        ([0, 0.1, 0.3, 0.45, 0.5, 0.6], [0, 1, 2, 3, 4, 5], None),
    ],
)
def test_the_limit_that_is_named_passes(choosing, held_out, limit) -> None:
    layer_choice = choice(budget(0.49), choosing, held_out)
    assert not layer_choice.gate.passes(layer_choice.held_out[layer_choice.count])
    assert layer_choice.higher_limit == limit
    if limit is not None:
        choice(budget(limit), choosing, held_out).check()


def test_a_number_that_was_not_tried_is_not_named() -> None:
    layer_choice = LayerChoice(budget(0.5), ORDER, [0, 0.1, 0.3, 0.6], {2: 0.8})
    assert layer_choice.smaller_count == 0
    assert layer_choice.higher_limit is None


def test_where_one_layer_costs_too_much_none_goes() -> None:
    message, hint = refusal(choice(budget(0.05), [0, 0.1, 0.3], [0, 0.2, 0.4]))
    assert "without layer 7 alone the output is 0.10 nats away on 8 texts" in message
    assert "--budget 0.2 would pass, with 1 layer left out." in hint


def test_a_healed_model_passes_where_the_cut_one_fails() -> None:
    cut = choice(budget(0.5), [0, 0.1, 0.3, 0.6], [0, 0.2, 0.8])
    refusal(cut)
    healed = replace(cut, healed=0.45)
    healed.check()
    both = "the output is 0.80 nats away, and healed the output is 0.45 nats away on 10 held-out"
    assert f"checked: {both}" in healed.protocol
    message, _ = refusal(replace(cut, healed=0.55))
    assert "is 0.80 nats away, and healed the output is 0.55 nats away on 10 held-out" in message


def test_the_certainty_is_that_of_the_healed_model() -> None:
    gate = AnswersGate(1 - 0.9, "10 other prompts", "10 held-out prompts")
    stay, lost = PairedAnswers(10, 0, 0, 0), PairedAnswers(5, 5, 0, 0)
    healed = LayerChoice(gate, ORDER, [stay, stay, lost], {1: lost}, healed=stay)
    healed.check()
    assert healed.protocol.endswith(f"certain: {gate.certainty(stay)}")


def test_answers_are_told_in_shares() -> None:
    gate = AnswersGate(1 - 0.9, "10 other prompts", "10 held-out prompts")
    all_stay, three, half = (
        PairedAnswers(*pair) for pair in ((4, 0, 0, 6), (3, 1, 0, 6), (2, 2, 0, 6))
    )
    costs = [all_stay, all_stay, all_stay, half]
    layer_choice = LayerChoice(gate, ORDER, costs, {2: three, 1: all_stay})
    message, hint = refusal(layer_choice)
    assert "75% as many answers are right, lost 1, gained 0 of 10: 10 points fewer (" in message
    assert "on 10 held-out prompts" in message
    assert "--keep-answers 0.75 would pass, with 2 layers left out." in hint
    assert "--drop 7 leaves" in hint
