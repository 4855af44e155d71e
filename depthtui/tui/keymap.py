"""The keys of the commands: their own, or those from the settings file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations
from typing import Any

from textual.keys import format_key

from depthtui.tui.commands import compare, everywhere, generation, layer, main, sweep, what_if
from depthtui.tui.commands.command import GROUPS, Command
from depthtui.tui.textual_patches.names import key_of

SCREENS: dict[str, list[Command[Any]]] = {
    "Main screen": main.COMMANDS,
    "Comparison": compare.COMMANDS,
    "What-if": what_if.COMMANDS,
    "Writing": generation.COMMANDS,
    "Layer": layer.COMMANDS,
    "Sweep": sweep.COMMANDS,
    "Everywhere": list(everywhere.COMMANDS),
}
"""The commands of each screen."""

ALL: dict[str, Command[Any]] = {}
"""Every command by its name; for a name on several screens, the first screen's command."""
for _commands in SCREENS.values():
    for _command in _commands:
        ALL.setdefault(_command.name, _command)

OWN = {name: command.keys for name, command in ALL.items()}
"""The keys of each command that is not remapped."""

_RESERVED = {
    "escape": "it closes the open screen or dialog",
    "ctrl+c": "it quits, whatever happens",
    "ctrl+q": "it quits, whatever happens",
    "ctrl+p": "it lists the keys",
    **{str(digit): "digits are counts" for digit in range(1, 10)},
}
"""Keys that no command may have, and why."""


def keys_of(name: str, remapped: Mapping[str, str]) -> list[str]:
    """The keys of a command, as Textual names them, remapped or its own."""
    return [_name(key) for key in remapped.get(name, OWN[name]).split(",")]


def why_not(key: str) -> str:
    """Why a key cannot be a command's; empty if it can."""
    return _RESERVED.get(key, "")


def complete(remapped: Mapping[str, str]) -> dict[str, str]:
    """A remapping for Textual.

    Where commands share a key and one of them is remapped, Textual removes the key from all of
    them: listed here, the others keep it.
    """
    freed = {key for name in remapped.keys() & OWN.keys() for key in keys_of(name, {})}
    staying = {name: own for name, own in OWN.items() if freed.intersection(keys_of(name, {}))}
    return {**staying, **remapped}


def clashes(remapped: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """The keys that a remapping gives to two commands of one screen, and their names."""
    own = {name: set(keys_of(name, {})) for name in OWN}
    now = {name: keys_of(name, remapped) for name in OWN}
    clashing: dict[tuple[str, str, str], None] = {}
    for commands in SCREENS.values():
        names_by_key: dict[str, list[str]] = {}
        for command in [*commands, *everywhere.COMMANDS]:
            for key in now[command.name]:
                names_by_key.setdefault(key, []).append(command.name)
        for key, names in names_by_key.items():
            for first, second in combinations(dict.fromkeys(names), 2):
                # Commands that share a key of their own work at different times.
                if key not in own[first] & own[second]:
                    clashing[key, first, second] = None
    yield from clashing


def commands_sharing_key(name: str, remapped: Mapping[str, str]) -> list[str]:
    """The commands that get a key of this one by a remapping, on one screen."""
    pairs = [pair for _, *pair in clashes(remapped) if name in pair]
    return list(dict.fromkeys(other for pair in pairs for other in pair if other != name))


def problems(remapped: Mapping[str, str]) -> list[str]:
    """Sentences about unknown names, and clashing keys, of a remapping."""
    sentences = []
    if unknown := sorted(remapped.keys() - OWN.keys()):
        sentences.append(f"The settings remap unknown keys: {', '.join(unknown)}.")
    shared = [f"{key} to both {first} and {second}" for key, first, second in clashes(remapped)]
    if shared:
        sentences.append(f"The settings give {', '.join(shared)}.")
    return sentences


def all_keys() -> str:
    """The keys of each screen as tables in Markdown, group by group.

    A command of two screens is in the first one's table alone.
    """
    tables, listed = [], set()
    for screen in ("Main screen", "Everywhere", *SCREENS):
        commands = [
            command for command in SCREENS[screen] if (command.name, command.words) not in listed
        ]
        listed |= {(command.name, command.words) for command in commands}
        if commands:
            tables.append(f"## {screen}\n\n{_table(commands)}")
    return "\n\n".join(tables)


def _table(commands: Iterable[Command[Any]]) -> str:
    rows = ["| keys | what they do | name |", "| --- | --- | --- |"]
    ordered = sorted(commands, key=lambda command: list(GROUPS).index(command.group))
    for command in ordered:
        keys = " ".join(f"`{format_key(_name(key))}`" for key in command.keys.split(","))
        rows.append(f"| {keys} | {command.words} | `{command.name}` |")
    return "\n".join(rows)


def _name(key: str) -> str:
    key = key.strip()
    return key_of(key) if len(key) == 1 else key
