"""Every key of every screen: give a command another key, or its own back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.keys import format_key

from depthtui.token_text import fit_shown, printable_chars
from depthtui.tui.commands.command import Command
from depthtui.tui.draw.styles import fit_right
from depthtui.tui.keymap import Keymap, why_not
from depthtui.tui.screens.dialogs.ask import AskForKey
from depthtui.tui.screens.dialogs.dialog import MUTED, WRONG
from depthtui.tui.screens.dialogs.edited_list import EditedList
from depthtui.tui.screens.dialogs.picker import PickerHeading, PickerRow
from depthtui.tui.state.settings_list import SettingsList

_KEYS_CELLS, _NAME_CELLS = 13, 21


class KeysScreen(EditedList):
    """Lists the commands by section with their keys; a key is chosen by pressing it.

    Args:
        settings, apply: as for every edited list.
        keymap: the keys of every command.
    """

    heading = "Keys"
    hint = "enter new key · a one more · d default · D all · / filters · ctrl+s writes"
    noun = "command"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "add", "one more", tooltip="Give it one more key", id="keys.add"),
        Binding("D", "reset_all", "all", tooltip="Reset every key", id="keys.reset_all"),
    ]

    def __init__(self, settings: SettingsList, apply: Callable[[], None], keymap: Keymap) -> None:
        super().__init__(settings, apply)
        self._first_keymap = keymap

    @property
    def _keymap(self) -> Keymap:
        """The keys as they are remapped now."""
        return self._first_keymap.with_keys(self._settings.value("keys"))

    # The list ---------------------------------------------------------------

    def rows(self) -> Iterator[PickerRow | PickerHeading]:
        keymap = self._keymap
        clashing = {name for _, *pair in keymap.clashes() for name in pair}
        listed = set[str]()
        for heading, commands in keymap.screens.items():
            yield PickerHeading(heading)
            for command in commands:
                if command.name not in listed:
                    listed.add(command.name)
                    keys = _words(keymap.of(command.name))
                    words = f"{heading} {keys} {command.words} {command.name}"
                    yield PickerRow(command.name, self._line(command, keymap, clashing), words)

    def head(self) -> str:
        return f"  {'keys':>{_KEYS_CELLS}}  does"

    def details(self, name: str) -> tuple[str, str]:
        keymap = self._keymap
        own = _words(keymap.own(name))
        words = f"{keymap.commands[name].words}."
        others = keymap.sharing_key(name)
        if others:
            words += f" Its key is also that of {self._words_of(others)}: remap one of them."
        return words, f"default key: {own} · {name} in the settings file"

    def _line(self, command: Command, keymap: Keymap, clashing: Collection[str]) -> Content:
        name = command.name
        is_remapped = name in keymap.remapped
        mark = "!" if name in clashing else "*" if is_remapped else " "
        cells = self.cells - 4 - _KEYS_CELLS - _NAME_CELLS - 1
        keys = fit_right(_words(keymap.of(name)), _KEYS_CELLS)
        return Content.assemble(
            (f"{mark} ", "$text-error" if name in clashing else "$text-warning"),
            (keys, "$text-warning" if is_remapped else "$text-accent"),
            f"  {fit_shown(command.words, cells)} ",
            (fit_shown(name, _NAME_CELLS), MUTED),
        )

    def _words_of(self, names: Iterable[str]) -> str:
        return ", ".join(f"“{self._keymap.commands[name].words}”" for name in names)

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
        reason, keymap = why_not(key), self._keymap
        if reason:
            self.note(f"{format_key(key)} cannot be remapped: {reason}.", WRONG)
            return
        keys = list(dict.fromkeys([*(keymap.of(name) if adds else []), key]))
        remapped = {other: key for other, key in keymap.remapped.items() if other != name}
        if set(keys) != set(keymap.own(name)):
            remapped[name] = ",".join(keys)
        sharing = keymap.sharing_key(name)
        shares = [
            other for other in keymap.with_keys(remapped).sharing_key(name) if other not in sharing
        ]
        if shares and key != agreed:
            key_words = printable_chars(format_key(key))
            other_words = self._words_of(shares)
            words = f"{key_words} is {other_words}: {key_words} again shares it, esc cancels."
            self._ask_for_key(name, words, adds, key)
            return
        self._settings.choose("keys", remapped)
        self.note("")
        self.show_change()

    def reset(self, name: str) -> None:
        remapped = self._keymap.remapped
        keys = {other: key for other, key in remapped.items() if other != name}
        self._settings.choose("keys", keys)

    def action_reset_all(self) -> None:
        self._settings.choose("keys", {})
        self.note("Every command has its default keys again.")
        self.show_change()


def _words(keys: Iterable[str]) -> str:
    """Keys as people read them."""
    return " ".join(printable_chars(format_key(key)) for key in keys)


class PressKey(AskForKey):
    """Asks for a command's new key; escape keeps the current one."""
