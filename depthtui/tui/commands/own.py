"""The user's own commands, as the settings file defines them."""

from __future__ import annotations

from collections.abc import Mapping

from depthtui.data.own_commands import OwnCommand
from depthtui.tui.commands.command import Command

_PREFIX = "commands."
"""The beginning of their names, as in the settings file: no command of the explorer has it."""


def commands_of(own: Mapping[str, OwnCommand]) -> list[Command]:
    """The commands in a settings file, by their names there."""
    return [
        Command(
            f"{_PREFIX}{name}", command.key, "", command.title, "own", f"run_own_command('{name}')"
        )
        for name, command in own.items()
    ]
