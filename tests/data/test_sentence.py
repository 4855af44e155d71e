"""Counts and their nouns."""

from __future__ import annotations

import pytest

from depthtui.data.sentence import noun_for, plural


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (plural(0, "layer"), "0 layers"),
        (plural(1, "layer"), "1 layer"),
        (plural(3, "layer"), "3 layers"),
        (plural(1, "entry", "entries"), "1 entry"),
        (plural(2, "entry", "entries"), "2 entries"),
        (noun_for(1.0, "point"), "point"),
        (noun_for(0.5, "point"), "points"),
    ],
)
def test_a_noun_is_in_the_number_of_its_count(words: str, expected: str) -> None:
    assert words == expected
