"""Written answers, compared after the normalisation of their task."""

from __future__ import annotations

import pytest

from depthtui.data.run import Prompt
from depthtui.prompts.answer_forms import last_box, last_number
from depthtui.prompts.asking import Asking
from depthtui.prompts.dataset_formats import DATASETS
from depthtui.prompts.tasks import TASKS, make_prompts
from depthtui.prompts.written_answers import form_of

WORKED = "She has 6 bags.\nSo 6 * 7 = <<6*7=42>>42 nuts.\nThe final answer is 1,042"


@pytest.mark.parametrize(
    ("task", "written", "answer"),
    [
        ("gsm8k", " so that is $1,042.", WORKED),
        ("gsm8k", "1042.00\n\nProblem: another with 7", WORKED),
        ("word_problem", "12 + 3 = 15.\nThe final answer is 15", "The final answer is 15"),
        ("grade_school", "It is 31 bunches.", "The final answer is 31"),
        ("addition", " 123\nGive the answer directly: 1 + 1 = 2", "123"),
        ("multiplication", "007", "7"),
        ("addition", "9" * 5_000, "9" * 5_000),
        ("math", r"So $\boxed{ \frac{1}{2} }$.", r"It is \boxed{\frac{1}{2}}"),
        ("facts", " VIOLIN.\nQuestion: and the other?", " violin"),
        ("commonsense", "\n water", " water."),
        ("typed", "The river \n", "the river."),
    ],
)
def test_the_same_answer(task: str, written: str, answer: str) -> None:
    assert form_of(Prompt("", task=task)).is_same(written, answer)


@pytest.mark.parametrize(
    ("task", "written", "answer"),
    [
        ("gsm8k", "1,042 and then 3", WORKED),
        ("gsm8k", "no number", WORKED),
        ("gsm8k", "", WORKED),
        ("addition", "-123", "123"),
        ("addition", "1234", "123"),
        ("math", "1/2", r"\boxed{1/2}"),
        ("math", r"\boxed{1", r"\boxed{1"),
        ("facts", "the violin", " violin"),
        ("facts", "", " violin"),
        ("typed", "", ""),
    ],
)
def test_another_answer(task: str, written: str, answer: str) -> None:
    assert not form_of(Prompt("", task=task)).is_same(written, answer)


def test_the_last_number() -> None:
    texts = ["3-4", "x = -4", "$-4", "$1,000.50!", "1.", "a 2.50 b", "no", "-$4"]
    numbers = ["4", "-4", "-4", "2001/2", "1", "5/2", "", "-4"]
    assert [last_number(text) for text in texts] == numbers
    assert last_box(r"\boxed{1} and \boxed{a{b}c} or {d}") == "a{b}c"


@pytest.mark.parametrize("name", [*TASKS, *DATASETS])
def test_the_right_answer_is_the_same_as_itself_and_has_room(name: str) -> None:
    form = (TASKS.get(name) or DATASETS[name]).form
    assert form.most_tokens > 0
    assert all(form.stops)
    for prompt in make_prompts(name, None, 12) if name in TASKS else ():
        assert form_of(Prompt("", task=name)).is_same(prompt.answer, prompt.answer)
        assert form.cut(prompt.answer) == prompt.answer.lstrip()


def test_a_word_problem_with_choices_is_answered_by_its_number() -> None:
    worked, direct = (
        make_prompts("word_problem", asking=Asking(choices))[0] for choices in (False, True)
    )
    assert form_of(worked).most_tokens > 10 * form_of(direct).most_tokens
    assert form_of(direct).stops == ("\n",)
    assert form_of(Prompt("x")).stops == ("\n\n",)


def test_no_more_is_written_than_an_answer_needs():
    """Whole texts that go on are wrong, but for texts that go on behind the answer."""
    most = {
        task: form_of(Prompt("x 1", " 1", task)).tokens_for(3)
        for task in ("commonsense", "typed", "facts", "addition", "gsm8k")
    }
    assert most == {"commonsense": 3, "typed": 3, "facts": 11, "addition": 24, "gsm8k": 400}
