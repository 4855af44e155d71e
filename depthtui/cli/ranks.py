"""A command on every rank that a launcher has started: rank 0 runs it, the others follow."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from depthtui.cli.output import INTERRUPTED, say
from depthtui.errors import DepthError, GroupEnds
from depthtui.parallel import group

COMMANDS = ("run", "sweep", "generate", "inspect", "lens", "engine", "doctor")
"""Those that compute a model whose weights are cut."""


def as_rank(command: str, run: Callable[[], int]) -> int:
    """Run a command at rank 0, and what it asks of the model at every rank.

    Args:
        command: its name; empty for the explorer.
        run: runs it.

    Returns:
        the exit status.
    """
    from depthtui.parallel.ending import STOPPED, watched

    is_first = group.rank_started() == 0
    streams = _Streams()
    if not is_first:
        streams.silence()
    group.lead()
    with watched(streams.tell, functools.partial(_finish, streams)):
        if not is_first:
            return _follow()
        if command not in COMMANDS:
            group.call_off()
            instead = f"`depthtui {command}`" if command else "The explorer"
            say(str(DepthError(f"{instead} runs in one process.", "Start it without torchrun.")))
            return 2
        status = run()
        if group.joined() is None:
            group.call_off()
        else:
            from depthtui.engine.followers import dismiss

            dismiss()
        group.leave()
        if status == INTERRUPTED:
            say(STOPPED)
        return status


def _follow() -> int:
    """Wait for rank 0 to open a model, and do what it does."""
    from depthtui.engine.followers import follow

    if group.is_called_off():
        return 0
    group.join()
    follow()
    group.leave()
    return 0


class _Streams:
    """The standard streams of a rank, of which all but rank 0's are silent."""

    def __init__(self) -> None:
        self._kept: tuple[int, ...] = ()

    def silence(self) -> None:
        """Print nothing from now on, but for sentences at the end."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        self._kept = tuple(map(os.dup, (1, 2)))
        for stream in (1, 2):
            os.dup2(nowhere, stream)

    def restore(self) -> None:
        """Print again."""
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        for kept, stream in zip(self._kept, (1, 2), strict=False):
            os.dup2(kept, stream)

    def tell(self, words: str) -> None:
        """Print a sentence in any case."""
        self.restore()
        say(words)


def _finish(streams: _Streams, end: GroupEnds) -> NoReturn:
    """End this process at once, or start it again: what it shared cannot be put in order."""
    from depthtui.parallel.ending import restart

    streams.restore()
    if end.divisor:
        restart(end)
    os._exit(INTERRUPTED if end.by_ctrl_c else 1)
