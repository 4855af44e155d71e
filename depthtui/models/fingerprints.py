"""Fingerprints of models: hashes of the contents of their files, each large file read once."""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from contextlib import contextmanager, suppress
from itertools import starmap
from pathlib import Path
from typing import Any

from depthtui.data.protocol import Progress
from depthtui.errors import DepthError
from depthtui.files import parse_json, read_whole, write_over

_SMALL = 4 << 20
"""Bytes; a file that is no larger is read every time."""

_PIECE = 16 << 20
"""Bytes that a thread reads and hashes at a time."""

_THREADS = min(8, os.cpu_count() or 1)

_SETTLED = 2.0
"""Seconds within which a coarse clock may give two changes of a file the same time."""

_HASH = re.compile(r"[0-9a-f]{64}")
_LARGEST_LIST = 64 << 20
_POLL_SECONDS = 0.1


class _ReadingStopped(Exception):
    """The fingerprint is no longer needed."""


def fingerprint(
    files: Iterable[Path],
    hash_file: Path | None = None,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> str:
    """A hash of the names and whole contents of a model's files; a copy of them has the same hash.

    The hash of a large file is stored with the file's inode, size, and times of modification
    and of status change, and is valid while these do not change. A program that writes cannot
    set the time of status change, so other contents are noticed even where size and time of
    modification were restored. A write through a memory map may change none of the times.

    Args:
        files: the files, in any order.
        hash_file: the JSON file with the hashes of large files; None to read every file. Another
            program's file of that name is left alone, and every file is read.
        report: called with bytes read and bytes to read; an exception ends the reading.

    Raises:
        OSError: a file cannot be read.
    """
    paths = sorted(files)
    identities = {path: _identity(path) for path in paths}
    hashes = _stored_hashes(identities, hash_file)
    hashes |= _hash_files([path for path in paths if path not in hashes], identities, report)
    if hash_file is not None:
        lasting_paths = [path for path in paths if _will_last(path, identities[path])]
        entries = {str(path.resolve()): [*identities[path], hashes[path]] for path in lasting_paths}
        _save(entries, hash_file)
    names_and_hashes = [[path.name, hashes[path]] for path in paths]
    return hashlib.sha256(json.dumps(names_and_hashes).encode()).hexdigest()


def _stored_hashes(
    identities: Mapping[Path, Sequence[int]], hash_file: Path | None
) -> dict[Path, str]:
    """The stored hashes of those files that have not changed."""
    entries = {} if hash_file is None else _read_entries(hash_file)
    return {
        path: entries[str(path.resolve())][-1]
        for path, identity in identities.items()
        if entries.get(str(path.resolve()), ())[:-1] == identity
    }


@contextmanager
def stored_fingerprint(
    files: Iterable[Path], hash_file: Path
) -> Iterator[Callable[[Callable[[Progress], None]], str]]:
    """The fingerprint without reading large files; empty where the hash of one is not stored."""

    def look_up(_progress: Callable[[Progress], None]) -> str:
        identities = {path: _identity(path) for path in files}
        hashes = _stored_hashes(identities, hash_file)
        unread = [path for path in identities if path not in hashes]
        if any(identities[path][1] > _SMALL for path in unread):
            return ""
        return fingerprint(identities, hash_file)

    yield look_up


def fingerprint_with(base: str, adapter: str) -> str:
    """The fingerprint of a model with an adapter merged into it, from the fingerprints of both."""
    return hashlib.sha256(f"{base} {adapter}".encode()).hexdigest()


def reading(done: int, total: int) -> Progress:
    """The progress of the reading, in bytes."""
    return Progress("Taking the fingerprint", done, total, "B")


@contextmanager
def fingerprint_beside(
    files: Iterable[Path], hash_file: Path
) -> Iterator[Callable[[Callable[[Progress], None]], str]]:
    """Compute the fingerprint while the block runs; yield a function that waits for it.

    The function calls its argument with the progress; an exception of that ends the reading. The
    function raises a `DepthError` where a file has changed since the block began.
    """
    files = list(files)
    before = {path: _identity(path) for path in files if path.exists()}
    stopped, bytes_read = threading.Event(), (0, 0)

    def report(done: int, total: int) -> None:
        nonlocal bytes_read
        bytes_read = done, total
        if stopped.is_set():
            raise _ReadingStopped

    with ThreadPoolExecutor(1) as thread:
        future = thread.submit(fingerprint, files, hash_file, report)

        def wait(progress: Callable[[Progress], None]) -> str:
            while True:
                progress(reading(*bytes_read))
                with suppress(NotYet):
                    digest = future.result(_POLL_SECONDS)
                    _check_same(before)
                    return digest

        try:
            yield wait
        finally:
            stopped.set()


def _check_same(before: Mapping[Path, Sequence[int]]) -> None:
    """Check that no file was changed or replaced.

    Raises:
        DepthError: a file was changed or replaced.
    """
    for path, identity in before.items():
        if not path.exists() or _identity(path) != identity:
            raise DepthError(f"{path} changed while it was loaded.", "Open the model again.")


def _identity(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _will_last(path: Path, identity: Sequence[int]) -> bool:
    """Whether any later change of a large file will change its identity."""
    _, size, _, status_changed = identity
    is_old = time.time() - status_changed / 1e9 > _SETTLED
    return size > _SMALL and is_old and _identity(path) == identity


def _hash_files(
    paths: Sequence[Path],
    identities: Mapping[Path, Sequence[int]],
    report: Callable[[int, int], None],
) -> dict[Path, str]:
    """A hash of each file's contents, computed from the hashes of its pieces."""
    sizes = {path: identities[path][1] for path in paths}
    pieces = [(path, start) for path in paths for start in range(0, sizes[path], _PIECE)]
    digests = {path: hashlib.sha256() for path in paths}
    bytes_done, total = 0, sum(sizes.values())
    with ThreadPoolExecutor(_THREADS) as threads:
        for (path, start), digest in zip(pieces, threads.map(_hash_piece, pieces), strict=True):
            digests[path].update(digest)
            bytes_done += min(_PIECE, sizes[path] - start)
            report(bytes_done, total)
    return {path: digest.hexdigest() for path, digest in digests.items()}


def _hash_piece(piece: tuple[Path, int]) -> bytes:
    path, start = piece
    with path.open("rb") as file:
        file.seek(start)
        return hashlib.sha256(file.read(_PIECE)).digest()


def _read_entries(hash_file: Path) -> dict[str, list[Any]]:
    """The identity and hash of each file, by its path; empty where depthtui wrote no such list."""
    try:
        entries = parse_json(read_whole(hash_file, _LARGEST_LIST))
    except (OSError, ValueError):
        return {}
    is_ours = isinstance(entries, dict) and all(starmap(_is_entry, entries.items()))
    return entries if is_ours else {}


def _is_entry(path: str, entry: object) -> bool:
    """Whether the entry is a path with four integers and a hash."""
    if not (isinstance(entry, list) and [type(item) for item in entry] == [int] * 4 + [str]):
        return False
    return path.startswith("/") and _HASH.fullmatch(entry[-1]) is not None


def _save(entries: Mapping[str, list[Any]], hash_file: Path) -> None:
    """Add entries to the list; where it cannot be written, the files are read again next time."""
    stored = _read_entries(hash_file)
    if all(stored.get(path) == entry for path, entry in entries.items()):
        return
    current = {path: entry for path, entry in stored.items() if os.path.exists(path)}
    with suppress(DepthError):
        file = {hash_file.name: json.dumps({**current, **entries}).encode()}
        write_over(hash_file.parent, file, lambda path: bool(_read_entries(path)))
