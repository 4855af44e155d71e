"""`depthtui engine`: an engine for an explorer on another machine."""

from __future__ import annotations

import sys

import click

from depthtui.cli.command_help import SectionedCommand
from depthtui.cli.shared_options import Overrides, cache_options
from depthtui.errors import DepthError


@click.command(
    cls=SectionedCommand,
    examples=['depthtui --engine-command "ssh gpu depthtui engine"'],
)
@cache_options
def engine(overrides: Overrides) -> int:
    """Serve an explorer on another machine, over standard input and output.

    The explorer starts it by ssh, srun, docker exec -i, kubectl exec -i or any other command that
    connects standard input and output unchanged. Models and their cache are on this machine; the
    session, its results and exports are on the explorer's. The engine ends with the explorer.
    """
    if sys.stdin.isatty() or sys.stdout.isatty():
        raise DepthError(
            "The engine talks to an explorer, not to a terminal.",
            "Let the explorer start it by --engine-command, without a terminal: leave out -t.",
        )
    from depthtui.engine.factory import Storage
    from depthtui.service.worker import serve

    return serve(Storage.of(overrides.settings()))
