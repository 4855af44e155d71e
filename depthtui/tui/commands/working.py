"""The commands on escape of the screens of long work: stop, leave a zoomed pane, leave."""

from __future__ import annotations

from depthtui.tui.commands import looking
from depthtui.tui.commands.command import Command


def leave_commands(words: str) -> list[Command]:
    """The commands on escape of a screen of long work; `words` describe the one that stops it."""
    return [
        Command("stop", "escape", "stop", words, "compute", "stop", when="is_live"),
        looking.UNZOOM,
        Command("close", "escape", "back", "Back to the run", "session", "close", when="is_over"),
    ]
