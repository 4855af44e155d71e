"""What libraries say, in our sentences."""

from __future__ import annotations

import pytest

from depthtui.errors import first_line, named_line


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("one. \ntwo"), "one"),
        (ValueError("  \n"), "ValueError"),
        (KeyError(), "KeyError"),
        (ValueError("x" * 300), "x" * 200),
    ],
)
def test_the_first_line_ends_a_sentence(error: Exception, words: str) -> None:
    assert first_line(error) == words


def test_an_error_that_says_nothing_is_named_once() -> None:
    assert [named_line(error) for error in (ValueError("one.\ntwo"), KeyError())] == [
        "ValueError: one",
        "KeyError",
    ]
