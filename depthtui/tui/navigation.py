"""The doors of the explorer: its screens by name, the keys of all, and what the app itself opens.

Screens and dialogs are imported when they are opened: the first frame does not wait for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from depthtui.tui.commands import everywhere
from depthtui.tui.commands.command import Command
from depthtui.tui.commands.own import commands_of
from depthtui.tui.explorer_app import ExplorerApp
from depthtui.tui.keymap import EVERYWHERE, OWN, Keymap
from depthtui.tui.state.toast import Toast

if TYPE_CHECKING:
    from depthtui.report.reading_guide import GuidePart
    from depthtui.tui.screens.dialogs.dialog import Dialog
    from depthtui.tui.screens.dialogs.help_screen import KeyCommand
    from depthtui.tui.screens.pane_screen import PaneScreen
    from depthtui.tui.state.phase import CodeQuestion


MOST_SCREENS = 12
"""More screens than ever lie over each other; each draws all beneath it."""


def screens() -> dict[str, type[Any]]:
    """The class of each screen by its name; it takes the explorer first."""
    from depthtui.tui.screens.compare_screen import CompareScreen
    from depthtui.tui.screens.layer_screen import LayerScreen
    from depthtui.tui.screens.main_screen import MainScreen
    from depthtui.tui.screens.sweep_screen import SweepScreen
    from depthtui.tui.screens.what_if_screen import WhatIfScreen

    return {
        "Main screen": MainScreen,
        "Comparison": CompareScreen,
        "What-if": WhatIfScreen,
        "Layer": LayerScreen,
        "Sweep": SweepScreen,
    }


def keymap(
    remapped: Mapping[str, str] = MappingProxyType({}), own: Sequence[Command] = ()
) -> Keymap:
    """The keys of every screen's commands, of those that work everywhere, and of the user's own."""
    commands = {name: screen.KEYS for name, screen in screens().items()}
    return Keymap({**commands, EVERYWHERE: everywhere.COMMANDS, OWN: own}, remapped)


class Navigation(ExplorerApp):
    """Opens the explorer's screens, and the dialogs that belong to no screen."""

    @property
    def keys(self) -> Keymap:
        settings = self.explorer.settings
        return keymap(settings.keys, commands_of(settings.commands))

    def leave(self, kind: type[Any]) -> None:
        """Leave the screen of this class and all above it, where one is open."""
        while any(type(screen) is kind for screen in self.screen_stack):
            self.pop_screen()

    def push_screen(self, screen: Any, *arguments: Any, **options: Any) -> Any:
        """Push a screen in the place of one of its class: the stack never grows without end."""
        self.leave(type(screen))
        assert len(self.screen_stack) < MOST_SCREENS, self.screen_stack
        return super().push_screen(screen, *arguments, **options)

    def open_screen(
        self, name: str, *details: Any, then: Callable[[Any], None] | None = None
    ) -> None:
        self.push_screen(screens()[name](self.explorer, *details), then)

    def show_help(self, tab: str = "keys") -> None:
        from depthtui.report.reading_guide import GUIDE
        from depthtui.tui.screens.dialogs.dialog import open_tab
        from depthtui.tui.screens.dialogs.explanation_screen import ExplanationScreen
        from depthtui.tui.screens.dialogs.help_screen import HelpScreen, commands_on, run_command
        from depthtui.tui.screens.dialogs.manual_screens import ManualPicker
        from depthtui.tui.screens.pane_screen import PaneScreen

        # The keys of a page above an open list go with it.
        self.leave(HelpScreen)
        screen, keys = self.screen, self.keys
        commands = commands_on(screen, keys)
        tabs: dict[str, Callable[[], Dialog[Any]]] = {
            "keys": lambda: HelpScreen(commands, keys),
            "this screen": lambda: ExplanationScreen(GUIDE),
        }
        if isinstance(screen, PaneScreen):
            tabs["this pane"] = lambda: ExplanationScreen([*screen.explained(), *words_on(screen)])
        tabs["manual"] = lambda: ManualPicker(keys)

        def chosen(command: KeyCommand | None) -> None:
            if command is not None:
                self.call_later(run_command, self, command)

        open_tab(self, tabs, tab, chosen)

    def show_messages(self) -> None:
        """List the messages that toasts have shown."""
        from depthtui.tui.screens.dialogs.messages_dialog import MessagesDialog

        self.push_screen(MessagesDialog(list(self.messages)))

    def show_welcome(self, read: Callable[[], None]) -> None:
        """Show the panes and the main keys; `read` is called once they are read."""
        from depthtui.tui.screens.dialogs.welcome import Welcome

        def closed(key: str | None) -> None:
            read()
            if key is not None:
                self.simulate_key(key)

        self.push_screen(Welcome(self.keys), closed)

    def ask_for_trust(self, question: CodeQuestion) -> None:
        """Ask whether a model's own Python code may run."""
        from depthtui.tui.screens.dialogs.code_dialog import CodeDialog

        def answered(agreed: bool | None) -> None:
            if agreed:
                self.explorer.trust(question)
                self.show_changes()

        self.push_screen(CodeDialog(question), answered)

    def action_open_export(self) -> None:
        """Open the last export in the system's program for it."""
        from depthtui.tui.system_open import open_in_system

        path = self.explorer.sessions.last_export
        if path is None:
            self.show_toast(Toast("Nothing has been exported yet: e does."))
        else:
            problem = open_in_system(path)
            title = "Not opened" if problem else "Opened"
            self.show_toast(Toast(problem or str(path), title=title))


def words_on(screen: PaneScreen) -> list[GuidePart]:
    """The meaning of each word on the focused pane and in its explanations; none without one."""
    from depthtui.report.glossary import terms_in
    from depthtui.report.reading_guide import GuidePart

    pane = screen.active_pane
    explained = [text for explanation in screen.explained() for _, text in explanation.lines]
    terms = terms_in("\n".join([pane.text, *explained]))
    lines = tuple((term.name, term.meaning) for term in terms)
    return [GuidePart("Words on this pane", lines)] if lines else []
