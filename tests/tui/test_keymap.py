"""What a remapping of keys does, without a screen."""

from __future__ import annotations

import pytest
from textual.binding import BindingsMap

from depthtui.tui import keymap


def bound(remapped: dict[str, str], key: str) -> list[str | None]:
    """What Textual binds to a key of the main screen where it is remapped like this."""
    bindings = BindingsMap(keymap.MAIN)
    bindings.apply_keymap(keymap.complete(remapped))
    found = bindings.key_to_bindings.get(key, [])
    return list(dict.fromkeys(binding.id for binding in found))


@pytest.mark.parametrize(
    ("remapped", "key", "stays"),
    [
        ({"sessions": "f8"}, "R", ["restart"]),
        ({"space_up": "f8", "stop": "X"}, "space", ["step_layer"]),
        ({"next_match": "f8"}, "n", ["next_prompt"]),
        ({"next_match": "f8"}, "f8", ["next_match"]),
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


def test_every_command_is_of_a_section() -> None:
    listed = {binding.id for bindings in keymap.SECTIONS.values() for binding in bindings}
    assert listed - {None} == set(keymap.OWN)


@pytest.mark.parametrize(
    ("remapped", "name", "others"),
    [
        ({}, "export", []),
        ({"export": "m"}, "export", ["model"]),
        ({"export": "m"}, "model", ["export"]),
        ({"export": "q"}, "export", ["quit"]),
        # Of the what-if's m and the main screen's, only one is ever there.
        ({"export": "K"}, "export", []),
        ({"export": "m", "model": "e"}, "export", []),
        ({"up": "j, x"}, "up", ["what_if", "down", "off"]),
    ],
)
def test_what_has_the_same_key_on_the_same_screen(
    remapped: dict[str, str], name: str, others: list[str]
) -> None:
    assert set(keymap.sharing(name, remapped)) == set(others)


@pytest.mark.parametrize("key", ["escape", "ctrl+c", "5"])
def test_some_keys_are_no_command_s(key: str) -> None:
    assert keymap.why_not(key)
    assert not keymap.why_not("f9")
