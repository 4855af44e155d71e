"""Keys, remapped by pressing them."""

from __future__ import annotations

from textual.widgets import Static

from depthtui.settings import load_settings
from depthtui.tui.screens.dialogs.export_screen import ExportScreen
from depthtui.tui.screens.dialogs.keys_screen import KeysScreen, PressKey
from depthtui.tui.screens.dialogs.settings_screen import SettingsScreen
from tests.tui.app_helpers import Explored
from tests.tui.test_dialogs import opened


def at(it: Explored, name: str) -> None:
    """Put the cursor on a command."""
    screen = it.app.screen
    assert isinstance(screen, KeysScreen)
    screen.fill(name)


async def test_a_key_that_is_pressed_holds_at_once_and_is_written(it: Explored) -> None:
    path = it.folder / "settings.toml"
    path.write_text('[keys] # mine\nquit = "Q" # or so\n')
    await it.resize(80, 24)
    await opened(it, "comma", SettingsScreen)
    await it.press("tab", until=KeysScreen)
    at(it, "export")
    await it.press("enter", "f9", until=lambda: it.app.explorer.settings.keys == {"export": "f9"})
    await it.press("a", "Z", "escape", until=lambda: isinstance(it.app.screen, it.main.__class__))
    assert it.app.explorer.settings.keys == {"export": "f9,Z"}
    await opened(it, "f9", ExportScreen)
    await it.press("escape", "comma", "tab", "ctrl+s", until="written to")
    assert load_settings(path).keys == {"export": "f9,Z"}
    assert "[keys] # mine" in path.read_text()


async def test_a_key_of_something_else_is_asked_for_twice(it: Explored) -> None:
    await opened(it, "comma", SettingsScreen)
    await it.press("tab", until=KeysScreen)
    keys = it.app.explorer
    at(it, "notes")
    await it.press("enter", "m", until="“Choose a model”: m again shares it")
    await it.press("escape")
    assert not keys.settings.keys
    await it.press("enter", "m", "m", until=lambda: keys.settings.keys == {"notes": "m"})
    help_text = str(it.app.screen.query_one("#help", Static).content)
    assert "also that of “Choose a model”" in help_text
    await it.press("enter", "5", until="5 cannot be remapped: digits are counts.")
    await it.press("d")
    assert not keys.settings.keys
    await it.press("enter", "f9", "D")
    assert not keys.settings.keys
    # Its own key is no remapping.
    await it.press("enter", "M")
    assert not keys.settings.keys


async def test_the_settings_lead_to_the_keys(it: Explored) -> None:
    await opened(it, "comma", SettingsScreen)
    screen = it.app.screen
    screen.fill("keys")
    await it.press("enter", until=KeysScreen)
    at(it, "model")
    await it.press("enter")
    assert isinstance(it.app.screen, PressKey)
    await it.press("f9")
    await it.until(lambda: it.app.screen.query("#filter"))
    await it.press("shift+tab", until="1 remapped")
