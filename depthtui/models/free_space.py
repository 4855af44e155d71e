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
"""Files with a container's limit, its usage, and the part of it that the system can free."""


def free_memory() -> int:
    """Bytes of main memory that this process can still allocate, container limits included."""
    available = int(psutil.virtual_memory().available)
    for folder, limit_file, usage_file, cached in _CONTAINERS:
        try:
            limit = int(Path(folder, limit_file).read_text())
            usage = int(Path(folder, usage_file).read_text())
            # The file cache counts as used, and is freed when memory is needed.
            lines = Path(folder, "memory.stat").read_text().splitlines()
            stat = dict(line.split() for line in lines)
            usage -= int(stat.get(cached, 0))
        except (OSError, ValueError):
            continue
        available = min(available, max(0, limit - usage))
    return available


def check_disk(folder: Path, n_bytes: int, purpose: str) -> None:
    """Check that the disk of `folder`, which need not exist yet, has `n_bytes` bytes free.

    Raises:
        DepthError: the disk has less.
    """
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if free < n_bytes:
        raise DepthError(
            f"{purpose} needs {format_size(n_bytes)} on the disk, and {folder} has "
            f"{format_size(free)} free.",
            "Free some space, or keep models elsewhere with --cache-dir.",
        )
