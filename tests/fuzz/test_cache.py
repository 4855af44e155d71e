"""The cache: its values, and the index that leads to them."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from pathlib import Path

import diskcache.core
import pytest
from hypothesis import strategies as st

from depthtui.data.store import KINDS, make_key, open_store
from tests.fuzz.fuzzing import PICKLE, examples, fuzz, mutated

VALUES = {make_key("result", number=number): bytes([number]) * 999 for number in range(4)}
LIMIT = 1 << 20


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing needs to survive a power cut, which takes most of the time."""
    monkeypatch.setitem(diskcache.core.DEFAULT_SETTINGS, "sqlite_synchronous", 0)


def full_cache(folder: Path) -> Path:
    """A cache of a few values."""
    store = open_store(folder, LIMIT, _never)
    for key, value in VALUES.items():
        store.put(key, value, "a result", KINDS[0])
    store.close()
    return folder / "results"


def use(folder: Path) -> None:
    """Do everything that one does with a cache; what it gives was put there, or nothing."""
    notices: list[str] = []
    store = open_store(folder, LIMIT, notices.append)
    for key in VALUES:
        assert store.get(key) in (None, *VALUES.values())
    assert store.info().entries == len(store.entries())
    store.verify()
    new = make_key("result", number="new")
    store.put(new, b"value", "another", KINDS[1])
    assert store.get(new) == b"value" or not store.on_disk or notices
    store.clear()
    store.close()
    assert all("\n" not in notice for notice in notices)


def _never(notice: str) -> None:
    raise AssertionError(notice)


@examples
def test_values(count: int, home: Path) -> None:
    whole = full_cache(home / "whole")
    originals = [path.read_bytes() for path in whole.glob("*/*/*.val")]

    def read(data: bytes) -> None:
        shutil.rmtree(home / "cache", ignore_errors=True)
        shutil.copytree(home / "whole", home / "cache")
        for path in sorted((home / "cache").glob("results/*/*/*.val"))[:2]:
            path.write_bytes(data)
        use(home / "cache")

    fuzz(read, mutated(originals), count)


@examples
def test_bytes_of_the_index(count: int, home: Path) -> None:
    whole = full_cache(home / "whole")

    def read(data: bytes) -> None:
        shutil.rmtree(home / "cache", ignore_errors=True)
        shutil.copytree(home / "whole", home / "cache")
        (home / "cache" / "results" / "cache.db").write_bytes(data)
        use(home / "cache")

    fuzz(read, mutated([(whole / "cache.db").read_bytes()]), count)


COLUMNS = (
    "rowid",
    "key",
    "raw",
    "store_time",
    "expire_time",
    "access_time",
    "access_count",
    "tag",
    "size",
    "mode",
    "filename",
    "value",
)
CELLS = (
    st.none()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text(max_size=20).filter(lambda text: text.isprintable())
    | st.binary(max_size=20)
    | st.sampled_from(["[" * 20_000, "../outside", "aa/bb/" + "c" * 28 + ".val", PICKLE, 4, 2])
)
SETTINGS = ("disk_x", "get", "close", "sqlite_x", "tag_index", "statistics", "count", "size_limit")


@examples
def test_entries_of_the_index(count: int, home: Path) -> None:
    full_cache(home / "whole")

    def read(changes: list[tuple[str, object]]) -> None:
        shutil.rmtree(home / "cache", ignore_errors=True)
        shutil.copytree(home / "whole", home / "cache")
        path = home / "cache" / "results" / "cache.db"
        with contextlib.closing(sqlite3.connect(path)) as index:
            for name, value in changes:
                command = (
                    f"UPDATE Cache SET {name} = ? WHERE rowid = (SELECT min(rowid) FROM Cache)"
                )
                if name not in COLUMNS:
                    command = f"INSERT OR REPLACE INTO Settings VALUES ('{name}', ?)"
                with contextlib.suppress(sqlite3.Error):
                    index.execute(command, (value,))
            index.commit()
        use(home / "cache")

    change = st.tuples(st.sampled_from([*COLUMNS, *SETTINGS]), CELLS)
    fuzz(read, st.lists(change, min_size=1, max_size=3), count)
