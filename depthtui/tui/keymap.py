"""The keys of every command: its own, or those from the settings file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations

from textual.keys import format_key

from depthtui.tui.commands.command import GROUPS, Command
from depthtui.tui.textual_patches.names import key_of

EVERYWHERE = "Everywhere"
"""The heading over the commands of the whole app."""

OWN = GROUPS["own"]
"""The heading over the user's own commands, which are the whole app's, too."""

_RESERVED = {
    "escape": "it closes the open screen or dialog",
    "ctrl+c": "it quits, whatever happens",
    "ctrl+q": "it quits, whatever happens",
    "ctrl+p": "it lists the keys",
    **{str(digit): "digits are counts" for digit in range(1, 10)},
}
"""Keys that no command may have, and why."""


@dataclass(frozen=True)
class Keymap:
    """The commands of every screen, and the keys of each.

    Attributes:
        screens: the commands of each screen, and of the whole app under `EVERYWHERE` and `OWN`.
        remapped: the keys that the settings file gives to commands, by their names.
    """

    screens: Mapping[str, Sequence[Command]]
    remapped: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def commands(self) -> dict[str, Command]:
        """Every command by its name; for a name on several screens, the first screen's command."""
        commands: dict[str, Command] = {}
        for command in (command for members in self.screens.values() for command in members):
            commands.setdefault(command.name, command)
        return commands

    def own(self, name: str) -> list[str]:
        """The keys of a command that is not remapped, as Textual names them."""
        return _keys(self.commands[name].keys)

    def of(self, name: str) -> list[str]:
        """The keys of a command, as Textual names them, remapped or its own."""
        return _keys(self.remapped[name]) if name in self.remapped else self.own(name)

    def with_keys(self, remapped: Mapping[str, str]) -> Keymap:
        """The same commands with other keys."""
        return replace(self, remapped=remapped)

    def complete(self) -> dict[str, str]:
        """The remapping for Textual.

        Where commands share a key and one of them is remapped, Textual removes the key from all of
        them: listed here, the others keep it.
        """
        remapped = self.remapped.keys() & self.commands.keys()
        freed = {key for name in remapped for key in self.own(name)}
        staying = {
            name: command.keys
            for name, command in self.commands.items()
            if freed.intersection(self.own(name))
        }
        return {**staying, **self.remapped}

    def clashes(self) -> Iterator[tuple[str, str, str]]:
        """The keys that the remapping gives to two commands of one screen, and their names."""
        clashing: dict[tuple[str, str, str], None] = {}
        for commands in self.screens.values():
            names_by_key: dict[str, list[str]] = {}
            for command in [*commands, *self.screens[EVERYWHERE], *self.screens[OWN]]:
                for key in self.of(command.name):
                    names_by_key.setdefault(key, []).append(command.name)
            for key, names in names_by_key.items():
                for first, second in combinations(dict.fromkeys(names), 2):
                    if not self._share_by_default(key, first, second):
                        clashing[key, first, second] = None
        yield from clashing

    def _share_by_default(self, key: str, *names: str) -> bool:
        """Whether commands of the explorer share a key of their own: they work at other times."""
        commands = [self.commands[name] for name in names]
        are_users = any(command in self.screens[OWN] for command in commands)
        return not are_users and all(key in self.own(name) for name in names)

    def sharing_key(self, name: str) -> list[str]:
        """The commands that get a key of this one by the remapping, on one screen."""
        pairs = [pair for _, *pair in self.clashes() if name in pair]
        return list(dict.fromkeys(other for pair in pairs for other in pair if other != name))

    def problems(self) -> list[str]:
        """Sentences about unknown names, and clashing keys, of the remapping."""
        sentences = []
        if unknown := sorted(self.remapped.keys() - self.commands.keys()):
            sentences.append(f"The settings remap unknown keys: {', '.join(unknown)}.")
        shared = [f"{key} to both {first} and {second}" for key, first, second in self.clashes()]
        if shared:
            sentences.append(f"The settings give {', '.join(shared)}.")
        sentences += [
            f"The settings give {key} to {command.name}, and {why_not(key)}."
            for command in self.screens[OWN]
            for key in self.of(command.name)
            if why_not(key)
        ]
        return sentences

    def tables(self) -> str:
        """The own keys of each screen as tables in Markdown, group by group.

        A command of two screens is in the first one's table alone.
        """
        tables, listed = [], set()
        for screen in dict.fromkeys((next(iter(self.screens)), EVERYWHERE, *self.screens)):
            commands = [
                command
                for command in self.screens[screen]
                if (command.name, command.words) not in listed
            ]
            listed |= {(command.name, command.words) for command in commands}
            if commands:
                tables.append(f"## {screen}\n\n{_table(commands)}")
        return "\n\n".join(tables)


def why_not(key: str) -> str:
    """Why a key cannot be a command's; empty if it can."""
    return _RESERVED.get(key, "")


def _table(commands: Iterable[Command]) -> str:
    rows = ["| keys | what they do | name |", "| --- | --- | --- |"]
    ordered = sorted(commands, key=lambda command: list(GROUPS).index(command.group))
    for command in ordered:
        keys = " ".join(f"`{format_key(key)}`" for key in _keys(command.keys))
        rows.append(f"| {keys} | {command.words} | `{command.name}` |")
    return "\n".join(rows)


def _keys(keys: str) -> list[str]:
    """Keys that are separated by commas, as Textual names them."""
    stripped = (key.strip() for key in keys.split(","))
    return [key_of(key) if len(key) == 1 else key for key in stripped]
