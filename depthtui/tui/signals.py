"""The signals that end the explorer, and the processes that it starts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

LAST_RESORT = 2.0
"""Seconds after which a process that is ending is gone, whatever its terminal does."""

_UNCAUGHT = {signal.SIGKILL, signal.SIGSTOP}

_FAULTS = {signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV}
"""After a handler of one of these signals, the failed instruction runs again, without end."""

_HARMLESS = {
    signal.SIGCHLD,
    signal.SIGCONT,
    signal.SIGTSTP,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGURG,
    signal.SIGWINCH,
}
"""Signals that stop a process, continue it, or inform it."""


def _harmless() -> set[signal.Signals]:
    """`_HARMLESS`, and on macOS two more; on Linux SIGIO ends a process."""
    if sys.platform == "darwin":
        return _HARMLESS | {signal.SIGINFO, signal.SIGIO}
    return _HARMLESS


def ending_signals() -> set[int]:
    """The numbers of the signals that end a process unless it catches them.

    Signals that this process ignores are left out: SIGHUP under nohup, SIGPIPE in Python.
    """
    return {
        number
        for number in signal.valid_signals() - _UNCAUGHT - _FAULTS - _harmless()
        if signal.getsignal(number) is not signal.SIG_IGN
    }


def end_for_certain(
    number: int = signal.SIGHUP, before: Callable[[], None] = lambda: None
) -> threading.Timer:
    """End this process soon with the status of a signal, unless it ends by itself or cancels this.

    Args:
        number: the signal.
        before: called then, in another thread, whatever the main thread is doing.
    """

    def end() -> None:
        with suppress(Exception):
            before()
        os._exit(128 + number)

    watchdog = threading.Timer(LAST_RESORT, end)
    watchdog.daemon = True
    watchdog.start()
    return watchdog


def end_group(process: subprocess.Popen[bytes], number: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal to a process, which leads a group, and to every process of that group.

    Another user's are left alone, and so is a process that has left the group.
    """
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
