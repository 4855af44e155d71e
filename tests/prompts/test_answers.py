"""A text and its answer as one prompt."""

from __future__ import annotations

import pytest

from depthtui.prompts.answers import with_answer


@pytest.mark.parametrize(
    ("text", "answer", "expected"),
    [
        ("two is", "", ("two is", "")),
        ("two is", "two", ("two is two", " two")),
        ("two is", " two", ("two is two", " two")),
        ("two is two", " two ", ("two is two", " two")),
        ("two is two\n", "two", ("two is two\n", " two\n")),
        ("two", "two", ("two", "")),
        ("", "two", (" two", "")),
    ],
)
def test_an_answer_is_the_end_of_its_prompt(
    text: str, answer: str, expected: tuple[str, str]
) -> None:
    prompt = with_answer(text, answer)
    assert (prompt.text, prompt.answer) == expected
    assert prompt.text.endswith(prompt.answer)
