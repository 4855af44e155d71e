"""Prompts with choices."""

from __future__ import annotations

from depthtui.data.run import Prompt

SUM = Prompt("1 + 1 = 2", "2", "addition", "1", choices=("3", "2"))
BLANK = Prompt(
    "The box is in the bag as the bag is big.",
    "bag is big.",
    choices=("box is big.", "bag is big."),
    common_ending=" is big.",
)


def test_the_answer_is_one_of_the_choices():
    assert SUM.right_choice == 1
    assert Prompt("1 + 1 = 2", "2").right_choice == -1
    assert Prompt("1 + 1 = 2", "2", choices=("3", "4")).right_choice == -1


def test_choices_are_compared_behind_the_question_or_at_their_common_end():
    assert SUM.continuations == (("1 + 1 = ", "3"), ("1 + 1 = ", "2"))
    question = "The box is in the bag as the "
    assert BLANK.question == question
    assert BLANK.continuations == (
        (f"{question}box", " is big."),
        (f"{question}bag", " is big."),
    )
    assert Prompt("1 + 1 = 2", "2").continuations == ()


def test_the_question_alone_has_no_choices():
    assert SUM.unanswered == Prompt("1 + 1 = ", task="addition", level="1")
    assert BLANK.unanswered == Prompt(BLANK.question)
