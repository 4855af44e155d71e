"""Runs this process as one of the ranks of a launcher: rank 0 works, the others follow."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from depthtui.errors import GroupEnds
from depthtui.parallel import group

INTERRUPTED = 130
"""The exit status after ctrl-c."""


def as_rank(
    work: Callable[[], int], print_words: Callable[[str], object], restarts: bool = True
) -> int:
    """Do some work at rank 0, and its calls of the model at every rank.

    Args:
        work: the work; returns the exit status.
        print_words: prints a sentence.
        restarts: whether the work can be repeated from its beginning.

    Returns:
        the exit status; where the ranks end or start again, the process does too.
    """
    from depthtui.parallel.ending import STOPPED, watched

    is_first = group.rank_started() == 0
    streams = _Streams(print_words)
    if not is_first:
        streams.silence()
    group.lead()
    with watched(streams.print_always, functools.partial(_finish, streams), restarts):
        if not is_first:
            return _follow()
        status = work()
        if group.joined() is None:
            group.call_off()
        else:
            from depthtui.engine.shared_calls import dismiss

            dismiss()
        group.leave()
        if status == INTERRUPTED:
            print_words(STOPPED)
        return status


def _follow() -> int:
    """Wait for rank 0 to open a model, and repeat its calls."""
    from depthtui.engine.followers import follow

    if group.is_called_off():
        return 0
    group.join()
    follow()
    group.leave()
    return 0


class _Streams:
    """The standard streams of a rank; those of ranks other than 0 are silent."""

    def __init__(self, print_words: Callable[[str], object]) -> None:
        self._print_words = print_words
        self._saved: tuple[int, ...] = ()

    def silence(self) -> None:
        """Print nothing from now on, except sentences at the end."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        self._saved = tuple(map(os.dup, (1, 2)))
        for stream in (1, 2):
            os.dup2(nowhere, stream)

    def restore(self) -> None:
        """Let the rank print again."""
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        for saved, stream in zip(self._saved, (1, 2), strict=False):
            os.dup2(saved, stream)

    def print_always(self, words: str) -> None:
        """Print a sentence, even if silent."""
        self.restore()
        self._print_words(words)


def _finish(streams: _Streams, end: GroupEnds) -> NoReturn:
    """End this process at once, or start it again: shared resources cannot be cleaned up."""
    from depthtui.parallel.ending import restart

    streams.restore()
    if end.divisor:
        restart(end)
    os._exit(INTERRUPTED if end.by_ctrl_c else 1)
