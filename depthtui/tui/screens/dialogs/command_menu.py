"""The mouse's menu: the commands for the thing under the pointer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from textual.content import Content
from textual.geometry import Offset
from textual.keys import format_key

from depthtui.tui.commands.command import Command
from depthtui.tui.keymap import Keymap
from depthtui.tui.screens.dialogs.picker import Picker, PickerRow


class CommandMenu(Picker[str]):
    """Opens at the pointer; dismissed with the name of the chosen command.

    Args:
        commands: the commands that work there.
        keys: the keys of each.
        place: the pointer, in cells of the screen.
    """

    hint = "enter or click · esc"

    def __init__(self, commands: Sequence[Command], keys: Keymap, place: Offset) -> None:
        super().__init__(classes="small")
        self._commands = commands
        self._keys = keys
        self._place = place

    def rows(self) -> Iterator[PickerRow]:
        for command in self._commands:
            key = format_key(self._keys.of(command.name)[0])
            line = Content.assemble((f"{key:>5} ", "$text-accent"), f" {command.words}")
            yield PickerRow(command.name, line)

    def on_mount(self) -> None:
        self.call_after_refresh(self._move)

    def _move(self) -> None:
        """Move the menu to the pointer, within the screen."""
        frame, room = self.query_one(".dialog"), self.app.size
        left = min(self._place.x, room.width - frame.outer_size.width)
        top = min(self._place.y, room.height - frame.outer_size.height)
        frame.styles.offset = (max(0, left), max(0, top))

    def choose(self, value: str) -> None:
        self.dismiss(value)
