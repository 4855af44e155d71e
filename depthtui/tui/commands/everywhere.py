"""The commands of the whole app, and the keys that also work in dialogs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.binding import Binding

from depthtui.tui.commands.command import Command

if TYPE_CHECKING:
    from depthtui.tui.app import DepthApp


def _unfinished(app: DepthApp) -> str:
    from depthtui.tui.state.unfinished_work import unfinished_work

    return unfinished_work(app.explorer)


COMMANDS: list[Command[DepthApp]] = [
    Command(
        "help",
        "question_mark",
        "help",
        "List the keys, explain the screen, open the manual",
        "settings",
        lambda app: app.action_show_help(),
    ),
    Command(
        "quit",
        "q",
        "quit",
        "Quit the explorer",
        "settings",
        lambda app: app.quit(),
        does="quits",
        ends=_unfinished,
    ),
    Command(
        "settings",
        "comma",
        "",
        "Change settings, keys, theme and colours",
        "settings",
        lambda app: app.action_show_settings(),
    ),
    Command(
        "messages",
        "exclamation_mark",
        "",
        "List the messages since the start",
        "session",
        lambda app: app.show_messages(),
    ),
    Command(
        "redraw",
        "ctrl+l",
        "",
        "Draw the screen afresh",
        "settings",
        lambda app: app.action_redraw(),
    ),
    Command(
        "suspend",
        "ctrl+z",
        "",
        "Back to the shell; fg returns",
        "settings",
        lambda app: app.action_suspend_process(),
    ),
]

IN_DIALOGS = [
    Binding("ctrl+c", "app.quit", show=False, system=True),
    Binding("ctrl+l", "app.redraw", show=False, system=True),
    Binding("ctrl+z", "app.suspend_process", show=False, system=True),
]
"""Keys that also work in dialogs, which block the keys beneath."""
