"""What may lie where an ordinary file is expected."""

from __future__ import annotations

import os
from pathlib import Path

ODD_FILES = ("a pipe", "an endless device", "a folder", "a link to itself")


def put_odd_file(path: Path, kind: str) -> None:
    """Put one of `ODD_FILES` in place of whatever is there."""
    path.unlink(missing_ok=True)
    match kind:
        case "a pipe":
            os.mkfifo(path)
        case "an endless device":
            path.symlink_to("/dev/zero")
        case "a folder":
            path.mkdir()
        case "a link to itself":
            path.symlink_to(path)
