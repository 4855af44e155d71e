"""The disk cache: bytes under a key, with a size limit; never pickle.

Values are files in `cache_dir/results`, indexed by diskcache, each after a
header with a checksum. The cache only saves time: an error in it is reported
once, and the work continues without it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import diskcache
from diskcache.core import MODE_BINARY, UNKNOWN

from depthtui.data.cache_index import (
    EVICTION,
    INDEX,
    VALUE_MAGIC,
    DamagedIndex,
    ForeignIndex,
    check_index,
    check_read_only_index,
    connect_read_only,
    is_damage,
    is_unwritable,
    is_value,
    is_value_name,
    set_aside,
    value_files,
)
from depthtui.files import PRIVATE_FILE, open_regular, parse_json

SCHEMA = 5
"""Part of every key; increase it when the meaning of cached bytes changes."""

KINDS = ("result", "activations")

_DIGEST_SIZE = 32
_LOCK_TIMEOUT = 10.0  # seconds to wait for another process's transaction
_UNFINISHED_AGE = 3600.0  # seconds after which a file without an entry is no longer being written
_WRITING_AGE = 60.0  # a shorter age, where nearly all files have lost their entries


class _Unreadable(Exception):
    """A value's file exists and cannot be read; it may be undamaged."""


_FAILURES = (OSError, sqlite3.Error, diskcache.Timeout, _Unreadable)


@dataclass(frozen=True)
class Entry:
    """One cached value.

    Attributes:
        key: key from `make_key`.
        kind: `result` or `activations`.
        description: description in words.
        size: bytes on disk.
        last_used: seconds since the epoch.
    """

    key: str
    kind: str
    description: str
    size: int
    last_used: float


@dataclass(frozen=True)
class StoreInfo:
    """Usage of the cache; `kinds` maps a kind to its (entries, bytes).

    `folder` is None where nothing is saved on disk; `limit` is in bytes.
    """

    folder: Path | None
    limit: int
    entries: int
    bytes: int
    kinds: dict[str, tuple[int, int]]


@dataclass(frozen=True)
class VerifyReport:
    """Numbers of checked entries, of dropped ones, and of files without an entry."""

    checked: int
    damaged: int
    orphans: int


def make_key(kind: str, schema: int | None = None, /, **parts: Any) -> str:
    """A key from everything that the value depends on.

    Args:
        kind: `result` or `activations`; `record` or `sweep` for a name.
        schema: number of the layout; None for the cache's own.
        parts: JSON values, dataclasses, arrays or tuples of these.

    Raises:
        TypeError: a part has no canonical form.
    """
    text = json.dumps(
        {"schema": schema or SCHEMA, "kind": kind, "parts": parts},
        sort_keys=True,
        separators=(",", ":"),
        default=_plain,
    )
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if hasattr(value, "tolist"):  # NumPy arrays and scalars
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"a {type(value).__name__} cannot be part of a cache key")


def open_store(cache_dir: Path | None, limit_bytes: int, on_notice: Callable[[str], None]) -> Store:
    """Open the cache in `cache_dir/results`, or one that saves nothing.

    A damaged index is moved away, and a new one made. Another program's index is not touched,
    and nothing is saved. One that cannot be written is read.

    Args:
        cache_dir: the cache folder, made where missing; None to save nothing.
        limit_bytes: most bytes of all values together.
        on_notice: gets messages for people, each one sentence.
    """
    if cache_dir is None:
        return Store(None, None, limit_bytes, on_notice)
    folder = Path(cache_dir) / "results"
    try:
        return _store_in(folder, limit_bytes, on_notice)
    except ForeignIndex as error:
        on_notice(
            f"{folder / INDEX} is left as it is ({error}), and nothing is saved on disk: choose "
            "another --cache-dir."
        )
    except (*_FAILURES, DamagedIndex) as error:
        on_notice(
            f"The cache folder {folder} cannot be used ({_reason(error)}): runs are not saved on "
            "disk in this session."
        )
    return Store(None, folder, limit_bytes, on_notice)


def _store_in(folder: Path, limit_bytes: int, on_notice: Callable[[str], None]) -> Store:
    try:
        return Store(_opened(folder, limit_bytes), folder, limit_bytes, on_notice)
    except (DamagedIndex, sqlite3.Error, OSError) as error:
        if is_unwritable(error) and (folder / INDEX).is_file():
            check_read_only_index(folder, _LOCK_TIMEOUT)
            on_notice(
                f"The cache in {folder} is read-only: its values are used, and none is saved."
            )
            return Store(_ReadOnlyCache(folder), folder, limit_bytes, on_notice)
        if not is_damage(error):
            raise
        damage = _reason(error)
    damaged_index = set_aside(folder)
    store = Store(_opened(folder, limit_bytes), folder, limit_bytes, on_notice)
    store.remove_strays()
    on_notice(
        f"The index of the cache in {folder} was damaged ({damage}): it was set aside as "
        f"{damaged_index.relative_to(folder)} and a new one begun; results are computed again."
    )
    return store


def _opened(folder: Path, limit_bytes: int) -> _Cache:
    """The cache in a folder, after a check of its index.

    Raises:
        DamagedIndex, ForeignIndex, sqlite3.Error, OSError, diskcache.Timeout: it cannot be used.
    """
    check_index(folder, _LOCK_TIMEOUT)
    try:
        return _Cache(
            str(folder),
            timeout=_LOCK_TIMEOUT,
            disk=_FileDisk,
            size_limit=limit_bytes,
            eviction_policy=EVICTION,
        )
    except (TypeError, ValueError, AttributeError, LookupError, OverflowError) as error:
        # diskcache does not check the values in its tables.
        raise DamagedIndex(str(error)) from error


@dataclass(eq=False)
class Store:
    """Bytes under keys, on disk where that is possible."""

    _cache: _Cache | None
    folder: Path | None
    limit_bytes: int
    on_notice: Callable[[str], None]
    _reported_subjects: set[str] = field(default_factory=set, init=False)
    _putting: threading.Lock = field(default_factory=threading.Lock, init=False)

    @property
    def on_disk(self) -> bool:
        """Whether values are saved on disk."""
        return self._cache is not None

    @property
    def is_read_only(self) -> bool:
        """Whether values are read, and none is saved or dropped."""
        return isinstance(self._cache, _ReadOnlyCache)

    def get(self, key: str) -> bytes | None:
        """The value, or None where it is missing or damaged."""
        if self._cache is None:
            return None
        try:
            return self._read(self._cache, key, touch=not self.is_read_only)
        except _Damaged as damage:
            if self.is_read_only:
                words = f"Damaged entries of the cache in {self.folder} are left there ({damage})."
                self._notice_once("damage", words)
                return None
            self._drop(key)
            self.on_notice(f"A damaged cache entry was dropped ({damage}); it is computed again.")
        except _FAILURES as error:
            self._failed("read", error)
        return None

    def put(self, key: str, value: bytes, description: str, kind: str) -> None:
        """Save a value; one larger than the limit is not saved.

        Args:
            key: key from `make_key`.
            value: the bytes.
            description: description in words.
            kind: `result` or `activations`.
        """
        if kind not in KINDS:
            raise ValueError(f"{kind!r} is not a kind of cache entry")
        if self._cache is None or self.is_read_only or len(value) + _HEADER_SIZE > self.limit_bytes:
            return
        tag = json.dumps({"kind": kind, "description": description})
        with self._putting:
            self._cache.disk.unfinished = None
            try:
                self._cache.set(key, value, tag=tag)
            except _FAILURES as error:
                self._failed("write", error)
                if self._cache.disk.unfinished is not None:
                    self._cache.disk.remove(self._cache.disk.unfinished)

    def evict(self) -> None:
        """Drop the least recently used values until the rest is within the limit."""
        if self.is_read_only:
            return
        entries = self.entries()
        total = sum(entry.size for entry in entries)
        while entries and total > self.limit_bytes:
            entry = entries.pop()
            self._drop(entry.key)
            total -= entry.size

    def entries(self) -> list[Entry]:
        """Every entry, the most recently used first."""
        if self._cache is None:
            return []
        try:
            return [_entry(*row) for row in self._cache.rows()]
        except _FAILURES as error:
            self._failed("read", error)
            return []

    def info(self) -> StoreInfo:
        """Usage of the cache."""
        kinds: dict[str, tuple[int, int]] = dict.fromkeys(KINDS, (0, 0))
        entries = self.entries()
        for entry in entries:
            count, size = kinds.get(entry.kind, (0, 0))
            kinds[entry.kind] = (count + 1, size + entry.size)
        total = sum(entry.size for entry in entries)
        folder = self.folder if self.on_disk else None
        return StoreInfo(folder, self.limit_bytes, len(entries), total, kinds)

    def clear(self) -> int:
        """Empty the cache and return how many entries were deleted.

        Raises:
            OSError: the cache cannot be emptied.
        """
        if self._cache is None:
            return 0
        if self.is_read_only:
            raise OSError("it is read-only")
        try:
            count = int(self._cache.clear())
            self._remove_orphans(self._cache, age=0.0)
        except _FAILURES as error:
            raise OSError(_reason(error)) from error
        return count

    def verify(self) -> VerifyReport:
        """Compare every checksum, drop damaged entries, remove files without an entry.

        A cache that is read-only is left as it is.
        """
        if self._cache is None:
            return VerifyReport(0, 0, 0)
        entries = self.entries()
        damaged = 0
        for entry in entries:
            try:
                self._read(self._cache, entry.key, touch=False)
            except _Damaged:
                self._drop(entry.key)
                damaged += 1
            except _FAILURES as error:
                self._failed("read", error)
        return VerifyReport(len(entries), damaged, self.remove_strays(_UNFINISHED_AGE))

    def remove_strays(self, age: float = _WRITING_AGE) -> int:
        """Remove values without an entry older than `age` seconds, and return their number."""
        if self._cache is None or self.is_read_only:
            return 0
        try:
            return self._remove_orphans(self._cache, age)
        except _FAILURES as error:
            self._failed("read", error)
            return 0

    def close(self) -> None:
        """Close the index; a later call opens it again."""
        if self._cache is not None:
            self._cache.close()

    def _read(self, cache: _Cache, key: str, touch: bool = True) -> bytes | None:
        # The file is opened in the index's transaction and read after it, so
        # that a large value doesn't keep another explorer waiting.
        file = self._open(cache, key, touch)
        if file is None and key in cache:
            # Another explorer may have written or replaced the value in between.
            file = self._open(cache, key, touch)
            if file is None and key in cache:
                raise _Damaged("its file is missing")
        if file is None:
            return None
        with file:
            return _unwrap(file, cache.size_of(key, self.limit_bytes))

    @staticmethod
    def _open(cache: _Cache, key: str, touch: bool) -> BinaryIO | None:
        file: BinaryIO | None = cache.get(key, read=True) if touch else cache.open_quietly(key)
        return file

    def _drop(self, key: str) -> None:
        assert self._cache is not None
        if self.is_read_only:
            return
        with contextlib.suppress(*_FAILURES):
            self._cache.delete(key)

    def _remove_orphans(self, cache: _Cache, age: float) -> int:
        known_files = cache.filenames()
        oldest = time.time() - age
        count = 0
        assert self.folder is not None
        for path in value_files(self.folder):
            with contextlib.suppress(OSError):
                if (
                    str(path.relative_to(self.folder)) in known_files
                    or path.stat().st_mtime > oldest
                ):
                    continue
                if is_value(path, begun=True):
                    path.unlink()
                    count += 1
        return count

    def _failed(self, action: str, error: Exception) -> None:
        assert self._cache is not None
        # A failed COMMIT can leave its transaction open, which would lock out
        # everyone else: closing the connection rolls it back.
        with contextlib.suppress(sqlite3.Error):
            self._cache.close()
        doing = "read" if action == "read" else "written to"
        self._notice_once(
            action,
            f"The cache folder {self.folder} cannot be {doing} ({_reason(error)}): "
            "work goes on without it.",
        )

    def _notice_once(self, subject: str, words: str) -> None:
        if subject not in self._reported_subjects:
            self._reported_subjects.add(subject)
            self.on_notice(words)


class _Damaged(Exception):
    """A value differs from the stored one."""


class _FileDisk(diskcache.Disk):  # type: ignore[misc]
    """Strings as keys, bytes as files after a checksum; other types are rejected."""

    unfinished: str | None = None
    """The file of the latest `store`, which its caller removes when the entry fails."""

    def put(self, key: object) -> tuple[str, bool]:
        if type(key) is not str:
            raise TypeError(f"a cache key is a str, not {type(key).__name__}")
        return key, True

    def get(self, key: object, raw: object) -> str:
        if type(key) is not str or not raw:
            raise _Damaged("its key is no text")
        return key

    def store(self, value: object, read: bool, key: object = UNKNOWN) -> tuple[int, int, str, None]:
        if type(value) is not bytes or read:
            raise TypeError(f"a cached value is bytes, not {type(value).__name__}")
        filename, path = self.filename(key, value)
        self.unfinished = filename
        size = self._write(path, iter((_header(value), value)), "xb")
        return size, MODE_BINARY, filename, None

    def fetch(self, mode: int, filename: str | None, value: object, read: bool) -> BinaryIO:
        if mode != MODE_BINARY or value is not None or not is_value_name(filename):
            raise _Damaged("it is of a kind that depthtui never writes")
        path = Path(self._directory, str(filename))
        try:
            return open_regular(path)
        except FileNotFoundError:
            raise
        except OSError as error:
            if not path.is_file():
                raise _Damaged("its file is no ordinary one") from None
            raise _Unreadable(error.strerror) from error

    def _write(self, full_path: str, *how: Any) -> int:
        size: int = super()._write(full_path, *how)
        os.chmod(full_path, PRIVATE_FILE)
        return size

    def remove(self, file_path: str) -> None:
        if is_value_name(file_path):
            super().remove(file_path)


class _Cache(diskcache.Cache):  # type: ignore[misc]
    """diskcache that evicts one entry at a time, least recently used first."""

    def _cull(self, now: float, sql: Any, cleanup: Any, limit: int | None = None) -> None:
        # diskcache drops ten entries at once, the one just stored included:
        # too many when each may be a gigabyte.
        oldest = "SELECT rowid, filename FROM Cache ORDER BY access_time, rowid LIMIT 1"
        while sql("SELECT SUM(size) FROM Cache").fetchone()[0] > self.size_limit:
            row = sql(oldest).fetchone()
            sql("DELETE FROM Cache WHERE rowid = ?", (row[0],))
            cleanup(row[1])

    def rows(self) -> list[tuple[str, str | None, int, float]]:
        """(key, tag, size, access time) of every entry, the most recently used first."""
        select = "SELECT key, tag, size, access_time FROM Cache ORDER BY access_time DESC"
        return list(self._sql(select).fetchall())

    def filenames(self) -> set[str]:
        """Every file that has an entry, relative to the folder."""
        return {name for (name,) in self._sql("SELECT filename FROM Cache").fetchall()}

    def size_of(self, key: str, otherwise: int) -> int:
        """Bytes of a value's file when it was written; `otherwise` where the entry is gone."""
        row = self._sql("SELECT size FROM Cache WHERE key = ?", (key,)).fetchone()
        return otherwise if row is None else int(row[0])

    def open_quietly(self, key: str) -> BinaryIO | None:
        """Open a value without counting it as used."""
        select = "SELECT mode, filename, value FROM Cache WHERE key = ?"
        row = self._sql(select, (key,)).fetchone()
        try:
            return None if row is None else self.disk.fetch(*row, read=True)
        except OSError:
            return None


class _ReadOnlyCache(_Cache):
    """A cache whose disk or folder cannot be written."""

    def __init__(self, folder: Path) -> None:
        # diskcache's own begins by writing its settings.
        self._directory = str(folder)
        self._disk = _FileDisk(self._directory)
        self._local = threading.local()

    @property
    def _con(self) -> sqlite3.Connection:
        index: sqlite3.Connection | None = getattr(self._local, "con", None)
        if index is None:
            index = self._local.con = connect_read_only(Path(self._directory), _LOCK_TIMEOUT)
        return index


_HEADER_SIZE = len(VALUE_MAGIC) + _DIGEST_SIZE


def _header(value: bytes) -> bytes:
    return VALUE_MAGIC + hashlib.blake2b(value, digest_size=_DIGEST_SIZE).digest()


def _unwrap(file: BinaryIO, size: int) -> bytes:
    if os.fstat(file.fileno()).st_size > size:
        raise _Damaged("its file is longer than it was")
    header = file.read(_HEADER_SIZE)
    value = file.read()
    if header != _header(value):
        raise _Damaged("its checksum is wrong")
    return value


def _entry(key: str, tag: str | None, size: int, last_used: float) -> Entry:
    try:
        labels = parse_json(tag or "")
        return Entry(str(key), str(labels["kind"]), str(labels["description"]), size, last_used)
    except (ValueError, KeyError, TypeError):
        return Entry(str(key), "unknown", "", size, last_used)


def _reason(error: Exception) -> str:
    if isinstance(error, diskcache.Timeout) or "locked" in str(error):
        return "another program holds it locked"
    if "readonly database" in str(error):
        return "it is read-only"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
