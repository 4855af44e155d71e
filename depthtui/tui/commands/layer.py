"""The commands of a layer at a token."""

from __future__ import annotations

from depthtui.tui.commands import looking, moving, stepping
from depthtui.tui.commands.command import Command

LAYER = [
    looking.UNZOOM,
    Command(
        "close",
        "escape",
        "back",
        "Back to the run, at this layer and token",
        "session",
        "close",
    ),
    Command(
        "copy",
        "y",
        "copy",
        "Copy the layer's page as Markdown",
        "look",
        "copy_page",
        why_not="why_no_page",
    ),
]

COMMANDS = [*stepping.COMMANDS, *LAYER, *moving.COMMANDS, *looking.PANES]
