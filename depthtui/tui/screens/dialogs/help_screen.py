"""A searchable list of the keys that work here, which also runs them and searches the manual."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from textual.app import App
from textual.binding import ActiveBinding, Binding, BindingType
from textual.content import Content
from textual.screen import Screen

from depthtui.manual.search import Match, search
from depthtui.tui.commands.command import GROUPS
from depthtui.tui.keymap import Keymap
from depthtui.tui.screens.dialogs.dialog import MUTED
from depthtui.tui.screens.dialogs.manual_screens import ManualPage, pages_of_explorer, plain
from depthtui.tui.screens.dialogs.picker import Picker, PickerHeading, PickerRow

NOW, OTHERS, MANUAL = "Now", "Others", "In the manual"
"""The headings over the first keys of the footer, over those without a group, and over passages."""

MOST_NOW = 5
"""The most keys under the first heading."""

MOST_PASSAGES = 12
"""The most passages of the manual."""


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


def commands_on(screen: Screen[Any], keys: Keymap) -> list[KeyCommand]:
    """The commands of a screen's keys, those of its footer first."""
    app = screen.app
    grouped: dict[str, list[ActiveBinding]] = {}
    for active in screen.active_bindings.values():
        binding = active.binding
        # Bindings without an id are Textual's own, such as copying selected text.
        if active.enabled and binding.id and not binding.system:
            grouped.setdefault(binding.id, []).append(active)
    names = dict.fromkeys([*getattr(screen, "footer_commands", ()), *keys.commands])
    order = {name: place for place, name in enumerate(names)}
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


async def run_command(app: App[Any], command: KeyCommand) -> None:
    """Run a command as its key would."""
    await app.run_action(command.active.binding.action, command.active.node)


class HelpScreen(Picker[KeyCommand]):
    """Lists the keys, and passages of the manual with the typed words.

    The caller runs the chosen key; a passage is opened above the list.

    Args:
        commands: the commands that work on the screen beneath.
        keys: every command.
    """

    heading = "Help"
    hint = "type to search keys and manual · ↑↓ choose · enter opens · esc closes"
    noun = "key or passage"
    searches = True

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "in_list('cursor_down')", "next", show=False, priority=True),
        Binding("up", "in_list('cursor_up')", "previous", show=False, priority=True),
        Binding("pagedown", "in_list('page_down')", "page down", show=False, priority=True),
        Binding("pageup", "in_list('page_up')", "page up", show=False, priority=True),
    ]

    def __init__(self, commands: list[KeyCommand], keys: Keymap) -> None:
        super().__init__()
        self._keys = keys
        self._commands = commands
        self._width = max((len(command.keys) for command in commands), default=0)

    @property
    def words(self) -> str:
        """The filter's text, without the `/` that begins a search in other dialogs."""
        text = super().words
        return text if text == "/" else text.removeprefix("/")

    def rows(self) -> Iterator[PickerRow | PickerHeading]:
        for heading, commands in self._by_group().items():
            yield PickerHeading(heading)
            for command in commands:
                line = Content.assemble(
                    (command.keys.rjust(self._width), "$text-accent"),
                    f"  {command.words}",
                )
                yield PickerRow(command, line, f"{command.keys} {command.words} {command.name}")

    def _by_group(self) -> dict[str, list[KeyCommand]]:
        """The commands under their groups' headings; the footer's first ones on top."""
        now = [command for command in self._commands if command.active.binding.show][:MOST_NOW]
        groups: dict[str, list[KeyCommand]] = {NOW: now, **{name: [] for name in GROUPS.values()}}
        for command in self._commands:
            if command not in now:
                original = self._keys.commands.get(command.name)
                heading = GROUPS[original.group] if original else OTHERS
                groups.setdefault(heading, []).append(command)
        return {heading: members for heading, members in groups.items() if members}

    def _matching(self) -> Iterator[PickerRow | PickerHeading]:
        """The keys that match, then passages of the manual."""
        yield from super()._matching()
        matches = search(self.words, self._manual) if len(self.words.strip()) > 1 else []
        if matches:
            yield PickerHeading(MANUAL)
        for match in matches[:MOST_PASSAGES]:
            name, sentence = plain(match.name or match.section), plain(match.sentence)
            line = Content.assemble(
                (match.page, "$text-accent"), f"  {name}", (f"  {sentence}", MUTED)
            )
            yield PickerRow(match, line)

    @cached_property
    def _manual(self) -> dict[str, str]:
        """The manual's pages but the keys, which the list has."""
        return {
            name: text for name, text in pages_of_explorer(self._keys).items() if name != "keys"
        }

    def choose(self, value: KeyCommand | Match) -> None:
        if isinstance(value, Match):
            # A row of a table is one sentence, whose cells are blocks of their own.
            passages = [value.sentence, value.sentence.partition(": ")[2], value.name]
            self.app.push_screen(ManualPage(value.section, f"\n{value.body}", passages))
        else:
            self.dismiss(value)
