"""How much anonymous memory a piece of work takes at its peak (Linux)."""

from __future__ import annotations

import ctypes
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_SECONDS_BETWEEN_READINGS = 0.002


@dataclass
class Peak:
    """Bytes at the beginning, and at most."""

    before: int
    most: int

    @property
    def extra(self) -> float:
        """MiB over what there was before."""
        return (self.most - self.before) / 2**20


def anonymous_bytes() -> int:
    """This process's anonymous resident memory."""
    found = re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


@contextmanager
def watch_memory() -> Iterator[Peak]:
    """Reads the process's memory all the time while the block runs."""
    # What earlier work has freed would otherwise be used again without being seen.
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    start = anonymous_bytes()
    peak, done = Peak(start, start), threading.Event()

    def watch() -> None:
        while not done.wait(_SECONDS_BETWEEN_READINGS):
            peak.most = max(peak.most, anonymous_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()
