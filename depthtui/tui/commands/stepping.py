"""The commands of a run that halts after each layer."""

from __future__ import annotations

from depthtui.tui.commands.command import Command

COMMANDS = [
    Command(
        "step_layer",
        "space",
        "next layer",
        "Run one more layer of a halted run",
        "compute",
        "step",
        why_not="why_not_halted",
    ),
    Command(
        "step_back",
        "backspace",
        "",
        "Go back to the layer before in a halted run",
        "compute",
        "step_back",
        why_not="why_no_step_back",
    ),
]
