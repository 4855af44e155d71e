"""The index of the disk cache: checks that it is depthtui's own and undamaged."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from diskcache.core import DEFAULT_SETTINGS, METADATA

from depthtui.files import PRIVATE_FILE, make_private_folder, open_regular

INDEX = "cache.db"
VALUE_MAGIC = b"depthtui\x01"
"""The first bytes of a value's file."""

EVICTION = "least-recently-used"

_PARTS = (INDEX, f"{INDEX}-wal", f"{INDEX}-shm", f"{INDEX}-journal")
_OUR_ID = int.from_bytes(b"dpth")
"""SQLite's application id of an index that depthtui made."""

_HEADER = b"SQLite format 3\0"
_ID_PLACE = slice(68, 72)
_VALUE_NAME = re.compile(r"[0-9a-f]{2}[/\\][0-9a-f]{2}[/\\][0-9a-f]{28}\.val")
_KEY = re.compile(r"[0-9a-f]{64}")
_LARGEST_VALUE = 1 << 50  # bytes; the sum of all fits in 64 bits
_LATEST = 1e11  # seconds since the epoch: the year 5138
_TROUBLES = {  # of the disk or of other processes: the index itself may be undamaged
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOLFS,
    sqlite3.SQLITE_AUTH,
}


class DamagedIndex(Exception):
    """The index has content that diskcache and depthtui never write."""


class ForeignIndex(Exception):
    """The index is another program's, or cannot be shown to be depthtui's."""


def check_index(folder: Path, timeout: float) -> None:
    """Check that the index is depthtui's, undamaged and writable; it is made where missing.

    The write lock is acquired and released: diskcache would wait a minute for it.

    Args:
        folder: folder of the index; made where missing.
        timeout: seconds to wait for another process's transaction.

    Raises:
        OSError: the folder cannot be written.
        sqlite3.Error: the index is broken, read-only or locked for long.
        DamagedIndex: the index has content that diskcache and depthtui never write.
        ForeignIndex: the index is an undamaged database that depthtui did not make.
    """
    make_private_folder(folder)
    _check_parts(folder)
    path = folder / INDEX
    if not path.exists():
        path.touch(PRIVATE_FILE)
    with contextlib.closing(sqlite3.connect(path, timeout=timeout)) as index:
        _check_content(index)
        index.execute("BEGIN IMMEDIATE")
        index.execute(f"PRAGMA application_id = {_OUR_ID}")
        index.execute("COMMIT")


def check_read_only_index(folder: Path, timeout: float) -> None:
    """Check that the index is depthtui's and undamaged, and write nothing.

    Args:
        folder: folder of the index.
        timeout: seconds to wait for another process's transaction.

    Raises:
        OSError: the index cannot be read.
        sqlite3.Error: the index is broken or locked for long.
        DamagedIndex: the index has content that diskcache and depthtui never write.
        ForeignIndex: the index is an undamaged database that depthtui did not make.
    """
    _check_parts(folder)
    open_regular(folder / INDEX).close()  # Its error has a better reason than SQLite's.
    with contextlib.closing(connect_read_only(folder, timeout)) as index:
        _check_content(index)
        if "Cache" not in _tables(index):
            raise DamagedIndex("it has no entries")


def connect_read_only(folder: Path, timeout: float) -> sqlite3.Connection:
    """Connect to an index that cannot be written.

    Raises:
        sqlite3.Error: it cannot be read.
    """
    path = quote(os.path.abspath(folder / INDEX))
    try:
        return _connected(f"file:{path}?mode=ro", timeout)
    except sqlite3.OperationalError as error:
        if not is_unwritable(error):
            raise
        # Nobody has it open, and SQLite cannot make the files that processes share: it is read
        # as a file that does not change.
        return _connected(f"file:{path}?mode=ro&immutable=1", timeout)


def _connected(uri: str, timeout: float) -> sqlite3.Connection:
    index = sqlite3.connect(uri, uri=True, timeout=timeout, isolation_level=None)
    try:
        index.execute("PRAGMA schema_version")
    except sqlite3.Error:
        index.close()
        raise
    return index


def is_unwritable(error: Exception) -> bool:
    """Whether an error says that the index's disk or folder cannot be written."""
    if isinstance(error, sqlite3.OperationalError):
        # An error of Python's own module has no code.
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK)
        return code & 0xFF in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)
    return isinstance(error, OSError) and error.errno in (errno.EROFS, errno.EACCES, errno.EPERM)


def _check_parts(folder: Path) -> None:
    for path in _parts(folder):
        if os.path.lexists(path) and not path.is_file():
            raise DamagedIndex("it is no ordinary file")


def _check_content(index: sqlite3.Connection) -> None:
    if not _is_ours(index):
        raise ForeignIndex("another program made it, or uses it too")
    (report,) = index.execute("PRAGMA integrity_check(1)").fetchone()
    if report != "ok":
        raise DamagedIndex(str(report).splitlines()[-1])
    tables = _tables(index)
    if "Settings" in tables and not _has_known_settings(index):
        raise DamagedIndex("it has settings that depthtui never writes")
    if "Cache" in tables and not _has_sound_numbers(index):
        raise DamagedIndex("it has entries that depthtui never writes")


def set_aside(folder: Path) -> Path:
    """Move a damaged index into a separate folder, and return its new path.

    Raises:
        ForeignIndex: the index cannot be shown to be depthtui's.
        OSError: the index cannot be moved.
    """
    if not (_has_our_id(folder / INDEX) or any(map(is_value, value_files(folder)))):
        raise ForeignIndex("it is damaged, or another program's")
    quarantine = Path(tempfile.mkdtemp(prefix="damaged-", dir=folder))
    for path in _parts(folder):
        if os.path.lexists(path):
            path.rename(quarantine / path.name)
    return quarantine / INDEX


def is_damage(error: Exception) -> bool:
    """Whether the index itself is at fault, not the disk or another process."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
    is_of_the_index = not isinstance(error, OSError) and code & 0xFF not in _TROUBLES
    return isinstance(error, DamagedIndex) or is_of_the_index


def value_files(folder: Path) -> Iterator[Path]:
    """The files in a cache folder that are named like values.

    A folder may go while it is read: another explorer removes empty ones.
    """
    for part in folder.glob("*"):
        with contextlib.suppress(FileNotFoundError):
            yield from (
                path for path in part.glob("*/*.val") if is_value_name(path.relative_to(folder))
            )


def is_value_name(filename: object) -> bool:
    """Whether a path, relative to the cache folder, is named like a value's file."""
    return _VALUE_NAME.fullmatch(str(filename)) is not None


def is_value(path: Path, begun: bool = False) -> bool:
    """Whether depthtui wrote a file, by its first bytes.

    Args:
        path: the file.
        begun: whether to accept a file that ends before, or within, these bytes.
    """
    try:
        with open_regular(path) as file:
            head = file.read(len(VALUE_MAGIC))
    except OSError:
        return False
    return head == VALUE_MAGIC or (begun and VALUE_MAGIC.startswith(head))


def _parts(folder: Path) -> list[Path]:
    return [folder / name for name in _PARTS]


def _is_ours(index: sqlite3.Connection) -> bool:
    """Whether an index is empty, or made by depthtui and without entries of another program."""
    # In this order: another process that makes the index gives it the id before the tables.
    tables = _tables(index)
    (id_,) = index.execute("PRAGMA application_id").fetchone()
    if not tables:
        return id_ in (0, _OUR_ID)
    return id_ == _OUR_ID and ("Cache" not in tables or _has_our_labels(index))


def _has_our_labels(index: sqlite3.Connection) -> bool:
    """Whether all entries have keys and labels that only depthtui makes."""
    return all(
        isinstance(key, str)
        and _KEY.fullmatch(key) is not None
        and raw == 1
        and isinstance(tag, str)
        and tag.startswith('{"kind": "')
        for key, raw, tag in index.execute("SELECT key, raw, tag FROM Cache")
    )


def _has_our_id(path: Path) -> bool:
    try:
        with open_regular(path) as file:
            header = file.read(100)
    except OSError:
        return False
    return header.startswith(_HEADER) and int.from_bytes(header[_ID_PLACE]) == _OUR_ID


def _tables(index: sqlite3.Connection) -> set[str]:
    select = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view')"
    return {name for (name,) in index.execute(select)}


def _has_known_settings(index: sqlite3.Connection) -> bool:
    known_settings = DEFAULT_SETTINGS | METADATA
    return all(
        key in known_settings and type(value) is type(known_settings[key])
        for key, value in index.execute("SELECT key, value FROM Settings")
    )


def _has_sound_numbers(index: sqlite3.Connection) -> bool:
    """Whether the other columns have values as diskcache stores them for depthtui."""
    columns = "size, access_time, expire_time, filename"
    return all(
        isinstance(size, int)
        and 0 <= size <= _LARGEST_VALUE
        and isinstance(access_time, float)
        and 0 <= access_time <= _LATEST
        and expire_time is None
        and isinstance(filename, str | None)
        for size, access_time, expire_time, filename in index.execute(
            f"SELECT {columns} FROM Cache"
        )
    )
