"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from depthtui.errors import DepthError


def write_whole(path: Path, content: bytes, hint: str = "Choose another folder.") -> Path:
    """Write a file beside its place and rename it, so that nobody sees half of it.

    Args:
        path: the file; folders above it are made.
        content: all of it.
        hint: what to do where it cannot be written.

    Raises:
        DepthError: the folder cannot be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(content)
        beside.replace(path)
    except OSError as error:
        with suppress(OSError):
            beside.unlink()
        raise DepthError(f"{path} could not be written ({error.strerror}).", hint) from None
    return path
