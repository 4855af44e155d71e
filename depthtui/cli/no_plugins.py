"""`--no-plugins`, of every command, and the line about a plug-in that cannot be used."""

from __future__ import annotations

import click

from depthtui import plugins
from depthtui.cli.output import print_notice
from depthtui.log import log_failure
from depthtui.plugins import PluginFailure


def add_no_plugins(command: click.Command, hidden: bool = True) -> None:
    """Give a command, and those in it, the option, which is in the help of `depthtui` alone."""
    for inner in command.commands.values() if isinstance(command, click.Group) else ():
        add_no_plugins(inner)
    command.params.append(
        click.Option(
            ["--no-plugins"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            hidden=hidden,
            callback=_turn_off,
            help="Leave out what other packages add; behind any command too.",
        )
    )


def _turn_off(_context: click.Context, _parameter: click.Parameter, is_set: bool) -> None:
    if is_set:
        plugins.turn_off()


def print_failure(failure: PluginFailure) -> None:
    """Print why a plug-in is left out, on stderr."""
    print_notice(log_failure(failure))
