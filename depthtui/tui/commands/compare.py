"""The commands of two runs side by side."""

from __future__ import annotations

from typing import Any

from depthtui.tui.commands import looking, moving
from depthtui.tui.commands.command import Command

OWN: list[Command[Any]] = [
    looking.OPEN,
    Command(
        "export",
        "e",
        "export",
        "Save both runs and their differences",
        "session",
        lambda screen: screen.export(),
    ),
    looking.UNZOOM,
    Command("close", "escape", "back", "Back to the run", "session", lambda screen: screen.close()),
]

COMMANDS: list[Command[Any]] = [
    *OWN,
    *moving.COMMANDS,
    looking.READING,
    *looking.PANES,
    *looking.MEASURES,
]
