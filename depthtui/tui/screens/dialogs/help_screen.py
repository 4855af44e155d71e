"""A searchable list of the keys that work here, which also runs them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from textual.app import App
from textual.binding import ActiveBinding, Binding, BindingType
from textual.content import Content
from textual.screen import Screen

from depthtui.tui import keymap
from depthtui.tui.commands.command import GROUPS
from depthtui.tui.screens.dialogs.dialog import MUTED
from depthtui.tui.screens.dialogs.picker import Picker, PickerHeading, PickerRow

NOW, OTHERS = "Now", "Others"
"""The headings over the first keys of the footer, and over those without a group."""

MOST_NOW = 5
"""The most keys under the first heading."""


@dataclass(frozen=True)
class KeyCommand:
    """The command of a key.

    Attributes:
        keys: the keys as people read them, such as `k ↑`.
        words: the effect of the keys.
        name: the id by which the settings remap them.
        active: the binding and the node it belongs to.
    """

    keys: str
    words: str
    name: str
    active: ActiveBinding


def commands_on(screen: Screen[object]) -> list[KeyCommand]:
    """The commands of a screen's keys, the most urgent first."""
    app = screen.app
    grouped: dict[str, list[ActiveBinding]] = {}
    for active in screen.active_bindings.values():
        binding = active.binding
        # Bindings without an id are Textual's own, such as copying selected text.
        if active.enabled and binding.id and not binding.system:
            grouped.setdefault(binding.id, []).append(active)
    order = {name: place for place, name in enumerate(keymap.ALL)}
    ids = sorted(grouped, key=lambda name: order.get(name, len(order)))
    return [
        KeyCommand(
            " ".join(app.get_key_display(active.binding) for active in group),
            group[0].binding.tooltip or group[0].binding.description,
            name,
            group[0],
        )
        for name, group in ((name, grouped[name]) for name in ids)
    ]


async def run_command(app: App[object], command: KeyCommand) -> None:
    """Run a command as its key would."""
    await app.run_action(command.active.binding.action, command.active.node)


class HelpScreen(Picker[KeyCommand]):
    """Lists the keys; the caller runs the one that was chosen."""

    heading = "Help"
    hint = "type to search · ↑↓ choose · enter runs it · esc closes"
    noun = "key"
    searches = True

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "in_list('cursor_down')", "next", show=False, priority=True),
        Binding("up", "in_list('cursor_up')", "previous", show=False, priority=True),
        Binding("pagedown", "in_list('page_down')", "page down", show=False, priority=True),
        Binding("pageup", "in_list('page_up')", "page up", show=False, priority=True),
    ]

    def __init__(self, commands: list[KeyCommand]) -> None:
        super().__init__()
        self._commands = commands
        self._width = max((len(command.keys) for command in commands), default=0)

    def rows(self) -> Iterator[PickerRow | PickerHeading]:
        for heading, commands in _grouped(self._commands).items():
            yield PickerHeading(heading)
            for command in commands:
                line = Content.assemble(
                    (command.keys.rjust(self._width), "$text-accent"),
                    f"  {command.words}",
                    (f"  {command.name}", MUTED),
                )
                yield PickerRow(command, line, f"{command.keys} {command.words} {command.name}")

    def choose(self, value: KeyCommand) -> None:
        self.dismiss(value)


def _grouped(commands: Iterable[KeyCommand]) -> dict[str, list[KeyCommand]]:
    """The commands under their groups' headings; the footer's first ones on top."""
    now = [command for command in commands if command.active.binding.show][:MOST_NOW]
    groups: dict[str, list[KeyCommand]] = {NOW: now, **{name: [] for name in GROUPS.values()}}
    for command in commands:
        if command not in now:
            original = keymap.ALL.get(command.name)
            groups.setdefault(GROUPS[original.group] if original else OTHERS, []).append(command)
    return {heading: members for heading, members in groups.items() if members}
