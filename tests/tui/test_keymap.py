"""What a remapping of keys does, without a screen."""

from __future__ import annotations

import pytest
from textual.binding import BindingsMap

from depthtui.tui.commands.command import bindings_of
from depthtui.tui.keymap import why_not
from depthtui.tui.navigation import keymap


def bound(remapped: dict[str, str], key: str) -> list[str | None]:
    """What Textual binds to a key of the main screen where it is remapped like this."""
    keys = keymap(remapped)
    bindings = BindingsMap(bindings_of(keys.screens["Main screen"]))
    bindings.apply_keymap(keys.complete())
    found = bindings.key_to_bindings.get(key, [])
    return list(dict.fromkeys(binding.id for binding in found))


@pytest.mark.parametrize(
    ("remapped", "key", "stays"),
    [
        ({"stop": "f8"}, "escape", ["back"]),
        ({"up": "f8", "stop": "X"}, "space", ["step_layer"]),
        ({"stop": "f8"}, "f8", ["stop"]),
        ({"up": "w"}, "up", []),
        ({"export": "m"}, "m", ["export"]),
        ({"export": "m", "model": "e"}, "e", ["model"]),
        ({"nothing like it": "m"}, "m", ["model"]),
    ],
)
def test_what_is_not_remapped_keeps_its_key(
    remapped: dict[str, str], key: str, stays: list[str]
) -> None:
    assert bound(remapped, key) == stays


@pytest.mark.parametrize(
    ("remapped", "name", "others"),
    [
        ({}, "export", []),
        ({"notes": "m"}, "notes", ["model"]),
        ({"notes": "m"}, "model", ["notes"]),
        # The what-if exports, too, and turns MLPs off with m.
        ({"export": "m"}, "export", ["model", "mlp_off"]),
        ({"export": "q"}, "export", ["quit"]),
        # Of the what-if's m and the main screen's, only one is ever there.
        ({"notes": "K"}, "notes", []),
        ({"notes": "m", "model": "M"}, "notes", []),
        ({"up": "j, x"}, "up", ["what_if", "down", "off"]),
    ],
)
def test_what_has_the_same_key_on_the_same_screen(
    remapped: dict[str, str], name: str, others: list[str]
) -> None:
    assert set(keymap(remapped).sharing_key(name)) == set(others)


@pytest.mark.parametrize("key", ["escape", "ctrl+c", "5"])
def test_some_keys_are_no_command_s(key: str) -> None:
    assert why_not(key)
    assert not why_not("f9")


def test_a_key_that_two_share_is_told() -> None:
    assert [*keymap({"run": "j", "off": "question_mark,f9"}).problems()] == [
        "The settings give j to both run and down, question_mark to both off and help."
    ]
