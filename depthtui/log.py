"""The log of unexpected errors."""

from __future__ import annotations

import os
import traceback

from depthtui.files import PRIVATE_FILE, make_private_folder
from depthtui.plugins import PluginFailure
from depthtui.settings import log_path

LARGEST_LOG = 1 << 20
"""Most bytes of a log; a larger log is set aside, until the next one is too large."""


def log_bug(error: Exception) -> str:
    """Append the traceback to the log, and return a message for people."""
    where = _logged(error)
    return f"Something unexpected went wrong ({type(error).__name__}: {error}). {where}"


def log_failure(failure: PluginFailure) -> str:
    """Append the traceback of a plug-in's error to the log, and return a message for people."""
    return f"{failure.sentence} {_logged(failure.error) if failure.error else ''}".rstrip()


def _logged(error: BaseException) -> str:
    """Append the traceback to the log, and return where it is."""
    path = log_path()
    try:
        make_private_folder(path.parent)
        if path.is_file() and path.stat().st_size > LARGEST_LOG:
            path.replace(path.with_name(f"{path.name}.1"))
        with open(path, "a", encoding="utf-8", errors="backslashreplace", opener=_private) as log:
            traceback.print_exception(error, file=log)
    except OSError:
        return f"The details could not be written to {path}."
    return f"The details are in {path}."


def _private(path: str, flags: int) -> int:
    # Do not block: a pipe under the log's name may have no reader.
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, PRIVATE_FILE)
