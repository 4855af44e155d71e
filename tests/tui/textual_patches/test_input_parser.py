"""Sequences that mean nothing, among keys."""

from __future__ import annotations

import pytest
from textual.events import Key, Resize
from textual.message import Message

from depthtui.tui.textual_patches.input_parser import TolerantParser


def parsed(data: str) -> list[Message]:
    return list(TolerantParser().feed(data))


@pytest.mark.parametrize(
    "sequence",
    [
        "\x1b[1114112u",
        "\x1b[99999999999;1u",
        "\x1b[97;1;1114112u",
        "\x1b[97:65;1u",
        "\x1b[:u",
    ],
)
def test_a_key_that_means_nothing_is_no_key(sequence: str) -> None:
    keys = parsed(f"a{sequence}b")
    assert [key.key for key in keys if isinstance(key, Key)] == ["a", "b"]
    assert len(keys) == 2


@pytest.mark.parametrize("window", ["\x1b[48;40;80;0;0t", "\x1b[48;0;0;400;800t"])
def test_a_mouse_in_a_window_of_no_size_is_nowhere(window: str) -> None:
    size, key = parsed(f"{window}\x1b[<0;3;3Mb")
    assert isinstance(size, Resize)
    assert isinstance(key, Key)
    assert key.key == "b"


def test_keys_that_mean_something_are_kept() -> None:
    keys = parsed("\x1b[97;5u\x1b[57441u\x1b[A")
    assert [key.key for key in keys if isinstance(key, Key)] == ["ctrl+a", "left_shift", "up"]
