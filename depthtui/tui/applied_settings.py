"""The settings in effect: written into the user's file, listed, and applied to every screen."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from depthtui.errors import DepthError
from depthtui.settings import Settings, change_settings
from depthtui.tui.explorer_app import ExplorerApp
from depthtui.tui.state.toast import Toast
from depthtui.tui.themes import FOLLOWING, theme_setting

if TYPE_CHECKING:
    from depthtui.tui.state.settings_list import SettingsList


class AppliedSettings:
    """Applies changed settings to the app, and saves them.

    Args:
        app: shows the settings.
        settings: the settings at the start.
        file: the settings file; None for the user's own.

    Attributes:
        shown: the settings that were applied last.
    """

    def __init__(self, app: ExplorerApp, settings: Settings, file: Path | None) -> None:
        self._app = app
        self.file = file
        self.shown = settings

    def save(self, changes: dict[str, Any]) -> None:
        """Write these settings alone into the user's file: a command-line option is no habit."""
        try:
            change_settings(changes, self.file)
        except DepthError as error:
            self._app.show_toast(Toast(str(error), "warning", "Settings not saved"))

    @cached_property
    def settings_list(self) -> SettingsList:
        """The settings as people change them, with changes that are not written yet."""
        from depthtui.metrics.registry import ALL_MEASURES, OF_THE_PASS
        from depthtui.tui.state.settings_list import SettingsList

        themes = {name: theme_setting(name) for name in (*FOLLOWING, *self._app.available_themes)}
        names = [measure.name for measure in ALL_MEASURES if measure.metric in OF_THE_PASS]
        choices = {"theme": themes, "measure": {name: name for name in names}}
        return SettingsList(self._app.explorer, self.file, choices)

    def show(self, tab: str) -> None:
        """Show the settings, the keys or the looks, as tabs of one dialog."""
        from depthtui.tui.screens.dialogs.dialog import open_tab
        from depthtui.tui.screens.dialogs.keys_screen import KeysScreen
        from depthtui.tui.screens.dialogs.looks_picker import LooksPicker
        from depthtui.tui.screens.dialogs.settings_screen import SettingsScreen

        self.shown = self._app.explorer.settings
        tabs = {
            "settings": lambda: SettingsScreen(self.settings_list, self.apply),
            "keys": lambda: KeysScreen(self.settings_list, self.apply, self._app.keys),
            "looks": lambda: LooksPicker(self._app.explorer, self._set_colours),
        }
        open_tab(self._app, tabs, tab, self._name_unwritten)

    def _name_unwritten(self, _: None) -> None:
        unwritten = ", ".join(self.settings_list.unwritten)
        if unwritten:
            words = f"Not in the settings file yet: {unwritten}. ctrl+s in the settings writes it."
            self._app.show_toast(Toast(words))

    def apply(self) -> None:
        """Apply changed settings; a choice made on a screen stays unless its setting changed."""
        from depthtui.metrics.registry import MEASURE_BY_NAME
        from depthtui.tui.screens.main_screen import MainScreen
        from depthtui.tui.screens.pane_screen import PaneScreen

        former, now = self.shown, self._app.explorer.settings
        self.shown = now
        self._app.show_theme(now.theme)
        self._app.set_keymap(self._app.keys.complete())
        self._set_colours(now.ramp, now.palette)
        for screen in self._app.screen_stack:
            if isinstance(screen, PaneScreen) and now.layer_order != former.layer_order:
                screen.layer_order = now.layer_order
            if isinstance(screen, MainScreen) and now.measure != former.measure:
                screen.measure = MEASURE_BY_NAME[now.measure]
        self._app.show_changes()

    def remap_keys(self) -> None:
        """Remap keys as the settings name them, and warn of keys that cannot be remapped."""
        if self.shown.keys or self.shown.commands:
            keys = self._app.keys
            self._app.set_keymap(keys.complete())
            for sentence in keys.problems():
                self._app.warn(sentence)

    def _set_colours(self, ramp: str, palette: str) -> None:
        from depthtui.tui.screens.pane_screen import PaneScreen

        for screen in self._app.screen_stack:
            if isinstance(screen, PaneScreen):
                screen.set_colours(ramp, palette)
