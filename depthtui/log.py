"""The log, which holds what nobody foresaw."""

from __future__ import annotations

import os
import traceback

from depthtui.files import PRIVATE_FILE, make_private_folder
from depthtui.settings import log_path

LARGEST_LOG = 1 << 20
"""Bytes; a log that is larger makes way for a new one, and is kept until that one is too."""


def log_bug(error: Exception) -> str:
    """Append the traceback to the log, and return what to tell people."""
    path = log_path()
    try:
        make_private_folder(path.parent)
        if path.is_file() and path.stat().st_size > LARGEST_LOG:
            path.replace(path.with_name(f"{path.name}.1"))
        with open(path, "a", encoding="utf-8", errors="backslashreplace", opener=_private) as log:
            traceback.print_exception(error, file=log)
        where = f"The details are in {path}."
    except OSError:
        where = f"The details could not be written to {path}."
    return f"Something unexpected went wrong ({type(error).__name__}: {error}). {where}"


def _private(path: str, flags: int) -> int:
    # Without waiting: a pipe under the log's name may have nobody who reads it.
    return os.open(path, flags | os.O_NONBLOCK, PRIVATE_FILE)
