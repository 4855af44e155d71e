"""Every key of every screen: give a command another key, or its own back."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.keys import format_key

from depthtui.token_text import fit_shown, printable_chars
from depthtui.tui import keymap
from depthtui.tui.commands.command import Command
from depthtui.tui.draw.styles import fit_right
from depthtui.tui.screens.dialogs.ask import AskForKey
from depthtui.tui.screens.dialogs.dialog import MUTED, WRONG
from depthtui.tui.screens.dialogs.edited_list import EditedList
from depthtui.tui.screens.dialogs.picker import PickerHeading, PickerRow

_KEYS_CELLS, _NAME_CELLS = 13, 21


class KeysScreen(EditedList):
    """Lists the commands by section with their keys; a key is chosen by pressing it."""

    heading = "Keys"
    hint = "enter new key · a one more · d default · D all · / filters · ctrl+s writes"
    noun = "command"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "add", "one more", tooltip="Give it one more key", id="keys.add"),
        Binding("D", "reset_all", "all", tooltip="Reset every key", id="keys.reset_all"),
    ]

    @property
    def _remapped(self) -> dict[str, str]:
        keys: dict[str, str] = self._settings.value("keys")
        return keys

    # The list ---------------------------------------------------------------

    def rows(self) -> Iterator[PickerRow | PickerHeading]:
        clashing = {name for _, *pair in keymap.clashes(self._remapped) for name in pair}
        listed = set[str]()
        for heading, commands in keymap.SCREENS.items():
            yield PickerHeading(heading)
            for command in commands:
                if command.name not in listed:
                    listed.add(command.name)
                    keys = self._keys_of(command.name, self._remapped)
                    words = f"{heading} {keys} {command.words} {command.name}"
                    yield PickerRow(command.name, self._line(command, clashing), words)

    def head(self) -> str:
        return f"  {'keys':>{_KEYS_CELLS}}  does"

    def details(self, name: str) -> tuple[str, str]:
        own = self._keys_of(name, {})
        words = f"{keymap.ALL[name].words}."
        others = keymap.commands_sharing_key(name, self._remapped)
        if others:
            words += f" Its key is also that of {self._words_of(others)}: remap one of them."
        return words, f"default key: {own} · {name} in the settings file"

    def _line(self, command: Command[Any], clashing: Collection[str]) -> Content:
        name = command.name
        is_remapped = name in self._remapped
        mark = "!" if name in clashing else "*" if is_remapped else " "
        cells = self.cells - 4 - _KEYS_CELLS - _NAME_CELLS - 1
        keys = fit_right(self._keys_of(name, self._remapped), _KEYS_CELLS)
        return Content.assemble(
            (f"{mark} ", "$text-error" if name in clashing else "$text-warning"),
            (keys, "$text-warning" if is_remapped else "$text-accent"),
            f"  {fit_shown(command.words, cells)} ",
            (fit_shown(name, _NAME_CELLS), MUTED),
        )

    @staticmethod
    def _keys_of(name: str, remapped: Mapping[str, str]) -> str:
        """A command's keys as people read them."""
        keys = keymap.keys_of(name, remapped)
        return " ".join(printable_chars(format_key(key)) for key in keys)

    @staticmethod
    def _words_of(names: Iterable[str]) -> str:
        return ", ".join(f"“{keymap.ALL[name].words}”" for name in names)

    # Changing ---------------------------------------------------------------

    def choose(self, name: str) -> None:
        self._ask_for_key(name, f"Press the new key of {self._words_of([name])}; esc cancels.")

    def action_add(self) -> None:
        if self.highlighted_value:
            words = (
                f"Press one more key of {self._words_of([self.highlighted_value])}; esc cancels."
            )
            self._ask_for_key(self.highlighted_value, words, adds=True)

    def _ask_for_key(self, name: str, words: str, adds: bool = False, agreed: str = "") -> None:
        """Ask for a key; the `agreed` one may be shared."""

        def pressed(key: str | None) -> None:
            if key not in (None, "escape"):
                self._pressed(name, key, adds, agreed)

        self.app.push_screen(PressKey(words), pressed)

    def _pressed(self, name: str, key: str, adds: bool, agreed: str) -> None:
        why_not = keymap.why_not(key)
        if why_not:
            self.note(f"{format_key(key)} cannot be remapped: {why_not}.", WRONG)
            return
        own_keys = keymap.keys_of(name, self._remapped) if adds else []
        keys = dict(self._remapped)
        keys[name] = ",".join(dict.fromkeys([*own_keys, key]))
        if set(keymap.keys_of(name, keys)) == set(keymap.keys_of(name, {})):
            del keys[name]
        shares = [
            other
            for other in keymap.commands_sharing_key(name, keys)
            if other not in keymap.commands_sharing_key(name, self._remapped)
        ]
        if shares and key != agreed:
            key_words = printable_chars(format_key(key))
            other_words = self._words_of(shares)
            words = f"{key_words} is {other_words}: {key_words} again shares it, esc cancels."
            self._ask_for_key(name, words, adds, key)
            return
        self._settings.choose("keys", keys)
        self.note("")
        self.show_change()

    def reset(self, name: str) -> None:
        keys = {other: key for other, key in self._remapped.items() if other != name}
        self._settings.choose("keys", keys)

    def action_reset_all(self) -> None:
        self._settings.choose("keys", {})
        self.note("Every command has its default keys again.")
        self.show_change()


class PressKey(AskForKey):
    """Asks for a command's new key; escape keeps the current one."""
