"""How much memory and disk is free."""

from __future__ import annotations

import shutil
from pathlib import Path

import psutil

from depthtui.errors import DepthError
from depthtui.sizes import format_size

_CONTAINERS = (
    ("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    (
        "/sys/fs/cgroup/memory",
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "total_inactive_file",
    ),
)
"""Where a container's limit stands, its usage, and what of that the system gives back."""


def free_memory() -> int:
    """Bytes of main memory that this process can still take, container limits included."""
    available = int(psutil.virtual_memory().available)
    for folder, limit_file, usage_file, cached in _CONTAINERS:
        try:
            limit = int(Path(folder, limit_file).read_text())
            usage = int(Path(folder, usage_file).read_text())
            # Files that were read count as used, and make room when it is needed.
            lines = Path(folder, "memory.stat").read_text().splitlines()
            stat = dict(line.split() for line in lines)
            usage -= int(stat.get(cached, 0))
        except (OSError, ValueError):
            continue
        available = min(available, max(0, limit - usage))
    return available


def check_disk(folder: Path, needed: int, purpose: str) -> None:
    """See that the disk of `folder`, which need not exist yet, has `needed` bytes free.

    Raises:
        DepthError: it has not.
    """
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise DepthError(
            f"{purpose} needs {format_size(needed)} on the disk, and {folder} has "
            f"{format_size(free)} free.",
            "Free some space, or keep models elsewhere with --cache-dir.",
        )
