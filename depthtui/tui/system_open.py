"""Open a file in the system's program for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_READ_FIRST = (".html", ".md", ".svg", ".json", ".csv")
"""Endings of the files that people read, the preferred one of an export first."""


def most_readable(files: Sequence[Path]) -> Path | None:
    """The most readable of these files; None without any."""
    order = {ending: place for place, ending in enumerate(_READ_FIRST)}
    return min(files, key=lambda file: order.get(file.suffix, len(order)), default=None)


def open_in_system(path: Path) -> str:
    """Open a file; returns why it cannot be opened, or an empty text."""
    if not path.exists():
        return f"{path} is gone."
    program = _opener()
    if not program:
        return f"There is no desktop here to open it on: {path}"
    try:
        # The program's output must not reach the terminal that is drawn on.
        subprocess.Popen(
            [program, str(path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        return f"{path} cannot be opened ({error.strerror})."
    return ""


def _opener() -> str:
    """The program that opens files; empty where it would use this terminal, or there is none."""
    if sys.platform == "darwin":
        return "open"
    has_desktop = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return (shutil.which("xdg-open") or "") if has_desktop else ""
