"""The commands of a layer at a token."""

from __future__ import annotations

from dataclasses import replace

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

_LABELS = {"down": "layer below", "right": "next token"}
"""Labels of the commands that move and that the footer names."""

MOVING = [replace(command, label=_LABELS.get(command.name, "")) for command in moving.COMMANDS]

FOOTER = (
    *("step_layer", "unzoom", "close", "down", "right", "next_pane", "copy", "explain"),
    *("help", "quit"),
)
"""The commands in the footer, in their order."""

COMMANDS = [*stepping.COMMANDS, *LAYER, *MOVING, *looking.PANES]
