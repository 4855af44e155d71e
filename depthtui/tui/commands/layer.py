"""The commands of a layer at a token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from depthtui.tui.commands import looking, moving, stepping
from depthtui.tui.commands.command import Command

if TYPE_CHECKING:
    from depthtui.tui.screens.layer_screen import LayerScreen


def _why_no_page(screen: LayerScreen) -> str | None:
    return None if screen.has_page else screen.problem or "The layer is being run."


LAYER: list[Command[Any]] = [
    looking.UNZOOM,
    Command(
        "close",
        "escape",
        "back",
        "Back to the run, at this layer and token",
        "session",
        lambda screen: screen.close(),
    ),
    Command(
        "copy",
        "y",
        "copy",
        "Copy the layer's page as Markdown",
        "look",
        lambda screen: screen.copy_page(),
        _why_no_page,
    ),
]

COMMANDS: list[Command[Any]] = [*stepping.COMMANDS, *LAYER, *moving.COMMANDS, *looking.PANES]
