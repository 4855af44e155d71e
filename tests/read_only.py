"""A folder that cannot be written, for root too."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_VERSION = 0x20080522
_OVERRIDES_PERMISSIONS = 1 << 1
"""The capability by which root writes where no permission allows it (CAP_DAC_OVERRIDE)."""


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Take the right to write from a folder and all in it, and from this thread if it is root's."""
    paths = [folder, *folder.rglob("*")]
    modes = {path: path.stat().st_mode for path in paths}
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    if os.geteuid() == 0:
        _allow_overriding(False)
    try:
        yield
    finally:
        if os.geteuid() == 0:
            _allow_overriding(True)
        for path, mode in modes.items():
            path.chmod(mode)


def _allow_overriding(allowed: bool) -> None:
    """Give this thread, or take from it, a capability that it keeps as permitted."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_VERSION, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; twice 32 of them
    if libc.capget(header, sets):
        raise OSError(ctypes.get_errno(), "capget")
    sets[0] = sets[0] | _OVERRIDES_PERMISSIONS if allowed else sets[0] & ~_OVERRIDES_PERMISSIONS
    if libc.capset(header, sets):
        raise OSError(ctypes.get_errno(), "capset")
