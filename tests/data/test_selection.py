"""Some of a model's layers, as people write them."""

from __future__ import annotations

from typing import Any

import pytest

from depthtui.data.selection import layers_in, numbers_text, read_layers, read_positions
from depthtui.options import WrongValue


@pytest.mark.parametrize(
    ("text", "layers"),
    [
        ("3", [3]),
        ("0-2,7", [0, 1, 2, 7]),
        (" 7, 0 - 2 ", [0, 1, 2, 7]),
        ("/4", [0, 4, 8]),
        ("2/4", [2, 6, 10]),
        ("1-6/2,11", [1, 3, 5, 11]),
        ("5,5", [5]),
        ("40", [40]),
        ("40/2", [40]),
        ([0, 4], [0, 4]),
    ],
)
def test_layers(text: Any, layers: list[int]) -> None:
    assert layers_in(read_layers(text), 12) == layers


def test_no_text_is_every_layer() -> None:
    assert layers_in("", 4) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "value",
    [
        *("a", "5-2", "-3", "1-", "/0", "1;2", "1-2-3", ",", "0-999999999", "٣", "", " "),
        *(3, None, [-1], []),
    ],
)
def test_what_is_no_layer(value: Any) -> None:
    with pytest.raises(WrongValue, match="layers such as 0-5,20"):
        read_layers(value)


def test_positions() -> None:
    assert read_positions("20, 8") == read_positions([8, 20]) == (8, 20)
    assert read_positions(8) == (8,)
    for value in ("0", "", "a", 0, True, [0], [1.5], None):
        with pytest.raises(WrongValue, match="positions of at least 1"):
            read_positions(value)
    assert read_positions([]) == ()


def test_numbers_in_words() -> None:
    assert numbers_text([0, 1, 2, 5, 7, 8]) == "0-2, 5, 7-8"
    assert numbers_text([]) == ""
