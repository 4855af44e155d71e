"""The commands of a run that halts after each layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from depthtui.tui.commands.command import Command

if TYPE_CHECKING:
    from depthtui.tui.screens.stepped_screen import SteppedScreen

NOT_HALTED = "No run is halted: s runs the prompt and halts after each layer."
AT_FIRST_LAYER = "This is the first layer."


def _why_not_halted(screen: SteppedScreen) -> str | None:
    return None if screen.is_stepped else NOT_HALTED


def _why_not_back(screen: SteppedScreen) -> str | None:
    reason = _why_not_halted(screen)
    return reason or (None if screen.cursor.layer > 0 else AT_FIRST_LAYER)


COMMANDS: list[Command[Any]] = [
    Command(
        "step_layer",
        "space",
        "next layer",
        "Run one more layer of a halted run",
        "compute",
        lambda screen: screen.step(),
        _why_not_halted,
    ),
    Command(
        "step_back",
        "backspace",
        "",
        "Go back to the layer before in a halted run",
        "compute",
        lambda screen: screen.step_back(),
        _why_not_back,
    ),
]
