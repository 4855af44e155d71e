"""Opening a file in what the system uses for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_READ_FIRST = (".html", ".md", ".svg", ".json", ".csv")
"""Of the files of one export, the one that people read."""


def most_readable(files: Sequence[Path]) -> Path | None:
    """The file to open of those that were written; None without any."""
    order = {ending: place for place, ending in enumerate(_READ_FIRST)}
    return min(files, key=lambda file: order.get(file.suffix, len(order)), default=None)


def open_in_system(path: Path) -> str:
    """Open a file; returns why that cannot be done, or an empty text."""
    if not path.exists():
        return f"{path} is gone."
    program = _opener()
    if not program:
        return f"There is no desktop here to open it on: {path}"
    try:
        # What it prints must not reach the terminal that is drawn on.
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
    """The program that opens files; empty where it would open them in this terminal, or nowhere."""
    if sys.platform == "darwin":
        return "open"
    has_desktop = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return (shutil.which("xdg-open") or "") if has_desktop else ""
