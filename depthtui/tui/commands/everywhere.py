"""The commands of the whole app, and the keys that also work in dialogs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.binding import Binding

from depthtui.tui.commands.command import Command

if TYPE_CHECKING:
    from depthtui.tui.state.explorer import Explorer


def _unfinished(explorer: Explorer) -> str:
    # The app imports this file before its first frame, which does not wait for NumPy.
    from depthtui.tui.state.unfinished_work import unfinished_work

    own = f"“{explorer.own_command}” is running" if explorer.own_command else ""
    return ". ".join(filter(None, (unfinished_work(explorer), own)))


COMMANDS = [
    Command(
        "help",
        "question_mark",
        "help",
        "List the keys, explain the screen, open the manual",
        "settings",
        "show_help",
    ),
    Command(
        "quit",
        "q",
        "quit",
        "Quit the explorer",
        "settings",
        "quit",
        does="quits",
        ends=_unfinished,
    ),
    Command(
        "settings",
        "comma",
        "",
        "Change settings, keys, theme and colours",
        "settings",
        "show_settings",
    ),
    Command(
        "messages",
        "exclamation_mark",
        "",
        "List the messages since the start",
        "session",
        "show_messages",
    ),
    Command("redraw", "ctrl+l", "", "Draw the screen afresh", "settings", "action_redraw"),
    Command(
        "suspend",
        "ctrl+z",
        "",
        "Back to the shell; fg returns",
        "settings",
        "action_suspend_process",
    ),
]

IN_DIALOGS = [
    Binding("ctrl+c", "app.quit", show=False, system=True),
    Binding("ctrl+l", "app.redraw", show=False, system=True),
    Binding("ctrl+z", "app.suspend_process", show=False, system=True),
]
"""Keys that also work in dialogs, which block the keys beneath."""
