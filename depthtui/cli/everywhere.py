"""The options of every command, and the line about a plug-in that cannot be used."""

from __future__ import annotations

from functools import partial

import click

from depthtui import plugins
from depthtui.cli.output import PLAIN, print_notice
from depthtui.log import log_failure
from depthtui.plugins import PluginFailure


def add_everywhere(command: click.Command, is_root: bool = True) -> None:
    """Give a command, and those in it, `--plain` and `--no-plugins`, in the help of `depthtui`."""
    for inner in command.commands.values() if isinstance(command, click.Group) else ():
        add_everywhere(inner, is_root=False)
    flag = partial(
        click.option, is_flag=True, is_eager=True, expose_value=False, hidden=not is_root
    )
    plain = (
        "Print lines and tabs alone, for a screen reader, a log or a pager; behind any command too."
    )
    flag("--plain", callback=_write_plainly, help=plain)(command)
    no_plugins = "Leave out what other packages add; behind any command too."
    flag("--no-plugins", callback=_turn_off, help=no_plugins)(command)


def _write_plainly(context: click.Context, _parameter: click.Parameter, is_set: bool) -> None:
    if is_set:
        context.meta[PLAIN] = True


def _turn_off(_context: click.Context, _parameter: click.Parameter, is_set: bool) -> None:
    if is_set:
        plugins.turn_off()


def print_failure(failure: PluginFailure) -> None:
    """Print why a plug-in is left out, on stderr."""
    print_notice(log_failure(failure))
