"""The disk cache: what it keeps, what it drops, and that nothing in it is ever unpickled."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import diskcache
import numpy as np
import pytest

from depthtui.data import cache_index
from depthtui.data.cache_index import connect_read_only
from depthtui.data.run import Prompt
from depthtui.data.run_settings import RunSettings
from depthtui.data.store import Entry, Store, make_key, open_store
from tests.odd_files import ODD_FILES, put_odd_file
from tests.read_only import read_only

MIB = 1 << 20


@pytest.fixture
def notices() -> list[str]:
    return []


@pytest.fixture
def open_(tmp_path: Path, notices: list[str]) -> Callable[..., Store]:
    def open_at_tmp(limit: int = 10 * MIB) -> Store:
        return open_store(tmp_path, limit, notices.append)

    return open_at_tmp


def put(store: Store, name: str, value: bytes, kind: str = "result") -> str:
    key = make_key(kind, name=name)
    store.put(key, value, f"the {name}", kind)
    return key


def value_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("results/*/*/*.val"))


def test_a_value_comes_back_also_after_reopening(open_: Callable[..., Store]) -> None:
    store = open_()
    value = bytes(range(256)) * 1000
    key = put(store, "run", value)
    empty = put(store, "nothing", b"")
    assert store.get(key) == value
    store.close()
    assert open_().get(key) == value
    assert open_().get(empty) == b""
    assert open_().get(make_key("result", name="other")) is None


def test_putting_again_replaces(open_: Callable[..., Store], tmp_path: Path) -> None:
    store = open_()
    put(store, "run", b"old")
    key = put(store, "run", b"new")
    assert store.get(key) == b"new"
    assert len(value_files(tmp_path)) == 1


def test_entries_and_info_say_what_is_kept(open_: Callable[..., Store], tmp_path: Path) -> None:
    store = open_()
    first = put(store, "first", b"x" * 100)
    second = put(store, "second", b"x" * 1000, "activations")
    store.get(first)
    entries = store.entries()
    assert [entry.key for entry in entries] == [first, second]
    assert (entries[1].kind, entries[1].description) == ("activations", "the second")
    assert [entry.size for entry in entries] == [
        path.stat().st_size
        for path in sorted(value_files(tmp_path), key=lambda path: path.stat().st_size)
    ]
    info = store.info()
    assert info.folder == tmp_path / "results"
    assert info.entries == 2
    assert info.bytes == sum(entry.size for entry in entries)
    assert info.kinds == {"result": (1, entries[0].size), "activations": (1, entries[1].size)}


def test_an_unknown_kind_is_refused(open_: Callable[..., Store]) -> None:
    with pytest.raises(ValueError, match="pictures"):
        open_().put("key", b"", "", "pictures")


PARTS = {
    "fingerprint": "ab",
    "ids": np.array([1, 2, 3]),
    "settings": RunSettings(),
    "versions": ("1", "2"),
}


class TestKeys:
    def test_equal_parts_give_equal_keys(self) -> None:
        again = dict(reversed(list(PARTS.items()))) | {"ids": [1, 2, 3]}
        assert make_key("result", **PARTS) == make_key("result", **again)

    @pytest.mark.parametrize(
        "change",
        [
            {"fingerprint": "ac"},
            {"ids": np.array([1, 2, 4])},
            {"settings": RunSettings(lens_top_k=9)},
            {"versions": ("1", "3")},
            {"more": None},
        ],
    )
    def test_any_change_changes_the_key(self, change: dict[str, object]) -> None:
        assert make_key("result", **PARTS) != make_key("result", **(PARTS | change))

    def test_the_kind_and_our_schema_are_part_of_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        key = make_key("result", **PARTS)
        assert key != make_key("activations", **PARTS)
        monkeypatch.setattr("depthtui.data.store.SCHEMA", 10**6)
        assert key != make_key("result", **PARTS)

    def test_broken_text_can_be_part_of_a_key(self) -> None:
        assert make_key("result", prompt=Prompt("a\udc80")) != make_key("result", prompt=Prompt(""))

    def test_what_has_no_canonical_form_is_refused(self) -> None:
        with pytest.raises(TypeError, match="object"):
            make_key("result", part=object())


class TestNoPickle:
    @pytest.mark.parametrize("value", [{"a": 1}, 3, 1.5, "text", None, bytearray(b"x")])
    def test_only_bytes_are_stored(self, open_: Callable[..., Store], value: object) -> None:
        store = open_()
        with pytest.raises(TypeError, match="bytes"):
            store._cache.set("key", value)  # type: ignore[union-attr]

    @pytest.mark.parametrize("key", [b"key", 1, ("a", 1), None])
    def test_only_text_is_a_key(self, open_: Callable[..., Store], key: object) -> None:
        store = open_()
        with pytest.raises(TypeError, match="str"):
            store._cache.set(key, b"")  # type: ignore[union-attr]

    @pytest.mark.parametrize("in_file", [True, False])
    def test_a_planted_pickle_is_dropped_unread(
        self, open_: Callable[..., Store], tmp_path: Path, notices: list[str], in_file: bool
    ) -> None:
        store = open_()
        key = put(store, "run", b"value")
        bomb = pickle.dumps(_Bomb(tmp_path / "exploded"))
        if in_file:
            value_files(tmp_path)[0].write_bytes(bomb)
        with sqlite3.connect(tmp_path / "results" / "cache.db") as index:
            index.execute("UPDATE Cache SET mode = 4")
            if not in_file:
                index.execute("UPDATE Cache SET value = ?, filename = NULL", (bomb,))
        assert store.get(key) is None
        assert not (tmp_path / "exploded").exists()
        assert store.entries() == []
        assert "damaged" in notices[0]

    def test_a_planted_file_name_leads_nowhere(
        self, open_: Callable[..., Store], tmp_path: Path
    ) -> None:
        store = open_()
        key = put(store, "run", b"value")
        # A value as depthtui writes it, but not in its folder.
        outside = value_files(tmp_path)[0].rename(tmp_path / "outside")
        with sqlite3.connect(tmp_path / "results" / "cache.db") as index:
            index.execute("UPDATE Cache SET filename = '../outside'")
        assert store.get(key) is None
        assert store.entries() == []
        assert outside.exists()


class _Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


DAMAGES = (
    b"this is not a database, " * 100,
    b"SQLite format 3\0",
    "a pipe",
    "an endless device",
    "a folder",
    "INSERT INTO Settings VALUES ('disk_x', 1)",
    "INSERT INTO Settings VALUES ('get', 1)",
    "UPDATE Settings SET value = 'x' WHERE key = 'tag_index'",
    "UPDATE Cache SET size = 'x'",
    "UPDATE Cache SET size = NULL",
    "UPDATE Cache SET size = 9223372036854775807",
    "UPDATE Cache SET access_time = NULL",
    "UPDATE Cache SET access_time = 'x'",
    "UPDATE Cache SET access_time = 9e999",
    "UPDATE Cache SET expire_time = 0",
    "UPDATE Cache SET filename = x'00'",
    "DROP TABLE Cache; CREATE TABLE Cache (one, two)",
    "DROP TABLE Settings; CREATE TABLE Settings (one, two)",
    "DROP TABLE Settings; CREATE VIEW Settings AS SELECT 'count' AS key, 1 AS value",
)
"""What an index may be instead: bytes, an odd file, or the index changed by SQL."""


def damage_index(cache_dir: Path, damage: str | bytes) -> None:
    """Damage the index of a store that is closed."""
    path = cache_dir / "results" / "cache.db"
    if isinstance(damage, str) and damage not in ODD_FILES:
        with contextlib.closing(sqlite3.connect(path)) as index:
            index.executescript(damage)
        return
    for part in path.parent.glob("cache.db*"):
        part.unlink()
    if isinstance(damage, bytes):
        path.write_bytes(damage)
    else:
        put_odd_file(path, damage)


class TestDamage:
    @pytest.mark.parametrize(
        "damage",
        [
            lambda data: data[:-1],
            lambda data: data[:10],
            lambda data: b"",
            lambda data: data[:-1] + bytes([data[-1] ^ 1]),
            lambda data: b"X" + data[1:],
            lambda data: data[:20] + bytes([data[20] ^ 1]) + data[21:],
        ],
        ids=["cut", "cut in the header", "emptied", "one bit", "magic", "checksum"],
    )
    def test_a_damaged_value_is_dropped_and_told(
        self,
        open_: Callable[..., Store],
        tmp_path: Path,
        notices: list[str],
        damage: Callable[[bytes], bytes],
    ) -> None:
        store = open_()
        key = put(store, "run", b"value" * 100)
        file = value_files(tmp_path)[0]
        file.write_bytes(damage(file.read_bytes()))
        assert store.get(key) is None
        assert len(notices) == 1
        assert "damaged" in notices[0]
        assert store.entries() == []
        put(store, "run", b"again")
        assert store.get(key) == b"again"

    def test_a_lost_file_is_damage_too(
        self, open_: Callable[..., Store], tmp_path: Path, notices: list[str]
    ) -> None:
        store = open_()
        key = put(store, "run", b"value")
        value_files(tmp_path)[0].unlink()
        assert store.get(key) is None
        assert "missing" in notices[0]
        assert store.entries() == []

    def test_verify_finds_what_is_damaged_and_touches_nothing_else(
        self, open_: Callable[..., Store], tmp_path: Path
    ) -> None:
        store = open_()
        for name in ("one", "two", "three"):
            put(store, name, name.encode())
        before = {entry.key: entry.last_used for entry in store.entries()}
        value_files(tmp_path)[0].write_bytes(b"rubbish")
        for path in value_files(tmp_path):
            os.utime(path, (0, 0))
        stray = tmp_path / "results" / "aa" / "bb" / f"{'c' * 28}.val"
        young = stray.with_name(f"{'d' * 28}.val")
        stray.parent.mkdir(parents=True)
        stray.touch()
        young.touch()
        os.utime(stray, (0, 0))
        report = store.verify()
        assert (report.checked, report.damaged, report.orphans) == (3, 1, 1)
        assert not stray.exists()
        assert young.exists(), "another explorer may be writing it"
        assert {entry.key: entry.last_used for entry in store.entries()}.items() < before.items()
        assert store.verify().damaged == 0

    @pytest.mark.parametrize("damage", DAMAGES)
    def test_a_damaged_index_is_set_aside_and_made_anew(
        self, open_: Callable[..., Store], tmp_path: Path, notices: list[str], damage: str | bytes
    ) -> None:
        store = open_()
        key = put(store, "run", b"value")
        store.close()
        (old,) = value_files(tmp_path)
        os.utime(old, (0, 0))
        damage_index(tmp_path, damage)
        mended = open_()
        assert mended.on_disk
        assert len(notices) == 1
        (aside,) = tmp_path.glob("results/damaged-*/cache.db")
        assert f"set aside as damaged-{aside.parent.name[8:]}/cache.db and a new one" in notices[0]
        assert not old.exists(), "a value that nothing leads to"
        assert mended.get(key) is None
        assert (mended.entries(), mended.info().entries) == ([], 0)
        assert mended.verify().checked == 0
        assert mended.get(put(mended, "run", b"value")) == b"value"
        mended.close()
        assert open_().get(key) == b"value"
        assert open_().clear() == 1
        assert os.path.lexists(aside), "what was set aside is no result"
        assert len(notices) == 1

    @pytest.mark.parametrize("damage", [b"", b"rubbish" * 1000, b"SQLite format 3\0" + bytes(84)])
    @pytest.mark.parametrize("mark", ["a value", "an id", "nothing"])
    def test_a_damaged_index_is_set_aside_where_something_proves_whose_it_is(
        self,
        open_: Callable[..., Store],
        tmp_path: Path,
        notices: list[str],
        mark: str,
        damage: bytes,
    ) -> None:
        path = tmp_path / "results" / "cache.db"
        store = open_()
        store.close()
        header = path.read_bytes()[:100]
        if mark == "a value":
            put(store, "run", b"value")
            store.close()
        if mark == "an id":
            damage = header + b"rubbish" * 1000
        path.write_bytes(damage)
        reopened = open_()
        is_known = mark != "nothing" or not damage
        assert reopened.on_disk == is_known
        if not is_known:
            assert "choose another --cache-dir" in notices[0]
            assert str(path) in notices[0]
            assert path.read_bytes() == damage
            assert reopened.clear() == 0
            assert path.read_bytes() == damage

    @pytest.mark.parametrize("kind", ODD_FILES)
    def test_what_is_no_ordinary_file_is_no_value(
        self, open_: Callable[..., Store], tmp_path: Path, kind: str
    ) -> None:
        store = open_()
        keys = [put(store, name, b"value") for name in ("one", "two")]
        for path in value_files(tmp_path):
            put_odd_file(path, kind)
        assert store.get(keys[0]) is None
        assert store.verify().damaged == 1
        assert store.entries() == []
        assert store.get(put(store, "one", b"value")) == b"value"

    def test_a_value_that_has_grown_is_not_read(
        self, open_: Callable[..., Store], tmp_path: Path, notices: list[str]
    ) -> None:
        store = open_()
        key = put(store, "run", b"value")
        os.truncate(value_files(tmp_path)[0], 1 << 40)
        assert store.get(key) is None
        assert "longer than it was" in notices[0]

    def test_a_value_that_cannot_be_read_is_kept(
        self,
        open_: Callable[..., Store],
        tmp_path: Path,
        notices: list[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        store = open_()
        key = put(store, "run", b"value")

        def refuse(path: Path) -> None:
            raise OSError(5, "Input/output error")

        with monkeypatch.context() as broken:
            broken.setattr("depthtui.data.store.open_regular", refuse)
            assert store.get(key) is None
            assert store.verify().damaged == 0
        assert ["Input/output error" in notice for notice in notices] == [True]
        assert store.get(key) == b"value"

    def test_an_index_that_breaks_in_mid_session_is_told_once(
        self, open_: Callable[..., Store], tmp_path: Path, notices: list[str]
    ) -> None:
        store = open_()
        key = put(store, "run", b"value")
        store.close()
        for path in tmp_path.glob("results/cache.db*"):
            path.unlink()
        (tmp_path / "results" / "cache.db").write_bytes(b"rubbish" * 1000)
        assert store.get(key) is None
        assert store.get(key) is None
        assert len(notices) == 1


ANOTHER_PROGRAMS = {
    "a diskcache": "",
    "a diskcache that evicts as depthtui does": "policy",
    "a diskcache that stores texts": "tag",
    "no diskcache": "CREATE TABLE Settings (name, value); INSERT INTO Settings VALUES (1, 2)",
    "one with a table more": "CREATE TABLE more (one); INSERT INTO more VALUES (1)",
    "one with an id": "PRAGMA application_id = 7",
}


def make_another_programs(folder: Path, kind: str) -> None:
    """A database of another program under the name of the index."""
    how = ANOTHER_PROGRAMS[kind]
    if how.isupper() or " " in how:
        folder.mkdir(parents=True)
        with contextlib.closing(sqlite3.connect(folder / "cache.db")) as index:
            index.executescript(how)
        return
    policy = "least-recently-used" if how else "least-recently-stored"
    with diskcache.Cache(str(folder), eviction_policy=policy) as cache:
        cache.set("an experiment", "precious " * 10_000, tag="text" if how == "tag" else None)


def all_files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(("-wal", "-shm"))
    }


class TestAnotherProgramsIndex:
    @pytest.mark.parametrize("kind", ANOTHER_PROGRAMS)
    def test_it_is_left_as_it_is_and_told(
        self, open_: Callable[..., Store], tmp_path: Path, notices: list[str], kind: str
    ) -> None:
        make_another_programs(tmp_path / "results", kind)
        before = all_files(tmp_path)
        store = open_()
        assert not store.on_disk
        (notice,) = notices
        assert str(tmp_path / "results" / "cache.db") in notice
        assert "choose another --cache-dir" in notice
        assert store.clear() == 0
        put(store, "run", b"value")
        assert store.verify().orphans == 0
        assert store.remove_strays() == 0
        assert all_files(tmp_path) == before

    def test_one_beside_values_of_depthtui_is_left_too(
        self, open_: Callable[..., Store], tmp_path: Path
    ) -> None:
        store = open_()
        put(store, "run", b"value")
        store.close()
        (tmp_path / "results" / "cache.db").unlink()
        with contextlib.closing(sqlite3.connect(tmp_path / "results" / "cache.db")) as index:
            index.execute("CREATE TABLE notes (text)")
        before = all_files(tmp_path)
        assert not open_().on_disk
        assert all_files(tmp_path) == before

    def test_a_link_to_nothing_is_no_index(
        self, open_: Callable[..., Store], tmp_path: Path
    ) -> None:
        (tmp_path / "results").mkdir()
        (tmp_path / "results" / "cache.db").symlink_to(tmp_path / "elsewhere")
        assert not open_().on_disk
        assert not (tmp_path / "elsewhere").exists()

    @pytest.mark.parametrize(
        "change",
        [
            "UPDATE Cache SET key = CAST(key AS BLOB)",
            "UPDATE Cache SET key = 'an experiment'",
            "UPDATE Cache SET tag = NULL",
            "UPDATE Cache SET tag = 'text'",
        ],
    )
    def test_depthtuis_own_with_entries_of_another_is_left_too(
        self, open_: Callable[..., Store], tmp_path: Path, change: str
    ) -> None:
        store = open_()
        put(store, "run", b"value")
        store.close()
        damage_index(tmp_path, change)
        before = all_files(tmp_path)
        assert not open_().on_disk
        assert all_files(tmp_path) == before

    def test_files_beside_the_index_and_values_of_others_stay(
        self, open_: Callable[..., Store], tmp_path: Path
    ) -> None:
        store = open_()
        put(store, "run", b"value")
        theirs = tmp_path / "results" / "aa" / "bb" / f"{'c' * 28}.val"
        theirs.parent.mkdir(parents=True)
        backup = tmp_path / "results" / "cache.db.backup"
        former = tmp_path / "results" / "damaged-cache.db"
        for path in (theirs, backup, former):
            path.write_text("mine")
            os.utime(path, (0, 0))
        assert store.verify().orphans == 0
        assert store.clear() == 1
        store.close()
        damage_index(tmp_path, "UPDATE Settings SET value = 'x' WHERE key = 'tag_index'")
        assert open_().on_disk
        assert [path.read_text() for path in (theirs, backup, former)] == ["mine"] * 3


class TestLimit:
    def test_the_least_recently_used_go_first(
        self, open_: Callable[..., Store], tmp_path: Path
    ) -> None:
        store = open_(limit=3 * MIB + 1000)
        keys = [put(store, str(number), bytes([number]) * MIB) for number in range(3)]
        store.get(keys[0])
        keys.append(put(store, "3", b"3" * MIB))
        assert [store.get(key) is not None for key in keys] == [True, False, True, True]
        assert len(value_files(tmp_path)) == 3

    def test_it_holds_after_every_put(self, open_: Callable[..., Store], tmp_path: Path) -> None:
        limit = MIB
        store = open_(limit)
        for number in range(20):
            key = put(store, str(number), os.urandom(50_000 * (number % 5 + 1)))
            assert store.get(key) is not None, "the newest is kept"
            on_disk = sum(path.stat().st_size for path in value_files(tmp_path))
            assert on_disk == store.info().bytes
            assert limit - 250_000 - 1000 < on_disk <= limit or number < 8

    def test_what_is_larger_than_the_limit_is_not_kept(
        self, open_: Callable[..., Store], tmp_path: Path
    ) -> None:
        store = open_(limit=1000)
        small = put(store, "small", b"x" * 900)
        assert store.get(put(store, "large", b"x" * 1000)) is None
        assert store.get(small) is not None
        assert len(value_files(tmp_path)) == 1


class TestReadOnly:
    """A cache in a folder that cannot be written."""

    @pytest.mark.parametrize("writer", ["closed", "open"])
    def test_its_values_are_used_and_nothing_is_written(
        self, open_: Callable[..., Store], tmp_path: Path, notices: list[str], writer: str
    ) -> None:
        other = open_()
        keys = [put(other, "run", b"value"), put(other, "pass", b"states", "activations")]
        before = other.entries()
        if writer == "closed":
            other.close()
        with read_only(tmp_path):
            files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
            store = open_(limit=10)
            assert (store.on_disk, store.is_read_only) == (True, True)
            assert [store.get(key) for key in keys] == [b"value", b"states"]
            assert store.get(put(store, "other", b"")) is None
            store.evict()
            assert store.entries() == before
            assert store.info().entries == 2
            assert (store.verify().checked, store.verify().damaged) == (2, 0)
            with pytest.raises(OSError, match="read-only"):
                store.clear()
            store.close()
            assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == files
        assert len(notices) == 1
        assert "is read-only" in notices[0]

    def test_damaged_values_are_told_once_and_stay(
        self, open_: Callable[..., Store], tmp_path: Path, notices: list[str]
    ) -> None:
        store = open_()
        keys = [put(store, name, b"value") for name in ("one", "two", "three")]
        store.close()
        for path in value_files(tmp_path)[:2]:
            path.write_bytes(b"rubbish")
        with read_only(tmp_path):
            store = open_()
            assert sorted(map(str, map(store.get, keys))) == ["None", "None", "b'value'"]
            assert (store.verify().checked, store.verify().damaged) == (3, 2)
        assert len(notices) == 2
        assert "damaged" in notices[1]

    @pytest.mark.parametrize("index", ["another's", "damaged", "unreadable", "missing"])
    def test_an_index_that_is_not_sound_is_not_read(
        self, open_: Callable[..., Store], tmp_path: Path, notices: list[str], index: str
    ) -> None:
        if index == "another's":
            make_another_programs(tmp_path / "results", "a diskcache")
        else:
            put(open_(), "run", b"value")
            damage_index(tmp_path, b"rubbish" * 1000)
        with read_only(tmp_path):
            path = tmp_path / "results" / "cache.db"
            if index == "unreadable":
                path.chmod(0)
            if index == "missing":
                path.parent.chmod(0o755)
                path.unlink()
                path.parent.chmod(0o555)
            store = open_()
            assert not store.on_disk
            assert store.entries() == []
            if index == "missing":
                path.parent.chmod(0o755)
                path.touch()
        assert len(notices) == 1

    def test_an_index_that_another_has_locked_is_not_read_past_the_lock(
        self, open_: Callable[..., Store], tmp_path: Path
    ) -> None:
        store = open_()
        put(store, "run", b"value")
        store.close()
        folder = tmp_path / "results"
        with contextlib.closing(sqlite3.connect(folder / "cache.db")) as other:
            other.execute("PRAGMA locking_mode = EXCLUSIVE")
            other.execute("BEGIN EXCLUSIVE")
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                connect_read_only(folder, 0)


class TestWithoutDisk:
    def test_none_keeps_nothing(self, notices: list[str]) -> None:
        store = open_store(None, MIB, notices.append)
        key = put(store, "run", b"value")
        assert store.get(key) is None
        assert (store.entries(), store.info().folder, store.clear()) == ([], None, 0)
        assert store.verify().checked == 0
        assert notices == []

    @pytest.mark.parametrize("where", ["/proc/depthtui", "file/cache"])
    def test_a_folder_that_cannot_be_made_is_told_once(
        self, tmp_path: Path, notices: list[str], where: str
    ) -> None:
        (tmp_path / "file").touch()
        store = open_store(tmp_path / where, MIB, notices.append)
        key = put(store, "run", b"value")
        assert store.get(key) is None
        assert len(notices) == 1
        assert where in notices[0]

    def test_a_read_only_folder_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "results").mkdir()
        script = """
            import os, sys, pathlib
            from depthtui.data.store import open_store
            folder = pathlib.Path(sys.argv[1])
            (folder / "results").chmod(0o555)
            if os.geteuid() == 0:  # whom permissions don't hold back
                folder.chmod(0o755)
                os.setuid(65534)
            store = open_store(folder, 1 << 20, print)
            store.put("key", b"value", "", "result")
            print(store.get("key"))
        """
        os.chmod(tmp_path.parent.parent, 0o755)
        os.chmod(tmp_path.parent, 0o755)
        printed, value = run_script(script, str(tmp_path)).splitlines()
        assert "cannot be used" in printed
        assert value == "None"

    def test_a_disk_that_fills_up_is_told_once(self, tmp_path: Path) -> None:
        script = """
            import os, resource, sys, pathlib
            from depthtui.data.store import open_store
            folder = pathlib.Path(sys.argv[1])
            store = open_store(folder, 1 << 30, print)
            store.put("small", b"value", "", "result")
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
            store.put("large", bytes(200_000), "", "result")
            store.put("large too", bytes(200_000), "", "result")
            print(store.get("large"), store.get("small"))
            print(len(list(folder.glob("results/*/*/*.val"))))
        """
        printed, values, files = run_script(script, str(tmp_path)).splitlines()
        assert "cannot be written" in printed
        assert values == "None b'value'"
        assert files == "1", "no half-written file stays"

    def test_an_index_that_cannot_take_an_entry_loses_its_file(
        self,
        open_: Callable[..., Store],
        tmp_path: Path,
        notices: list[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        store = open_()

        def full(*args: object) -> None:
            raise sqlite3.OperationalError("database or disk is full")

        monkeypatch.setattr(store._cache, "_row_insert", full)
        put(store, "run", b"value")
        assert value_files(tmp_path) == []
        assert "disk is full" in notices[0]
        monkeypatch.undo()
        assert store.get(put(store, "run", b"value")) == b"value"

    def test_a_failed_commit_does_not_lock_others_out(
        self,
        open_: Callable[..., Store],
        notices: list[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        store, other = open_(), open_()
        cache = type(store._cache)
        execute = cache._sql.fget  # type: ignore[union-attr]

        def failing(self: object) -> Callable[..., object]:
            def sql(statement: str, *args: object) -> object:
                if self is store._cache and statement == "COMMIT":
                    raise sqlite3.OperationalError("disk I/O error")
                return execute(self)(statement, *args)

            return sql

        monkeypatch.setattr(cache, "_sql", property(failing))
        monkeypatch.setattr(other._cache, "_timeout", 0.01)
        put(store, "run", b"value")
        key = put(other, "other", b"value")
        assert other.get(key) == b"value"
        assert ["disk I/O error" in notice for notice in notices] == [True]


def test_a_folder_of_values_may_go_while_it_is_read(tmp_path: Path) -> None:
    for name in ("ab/cd/" + "0" * 28, "ef/01/" + "1" * 28):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / f"{name}.val").touch()
    values = cache_index.value_files(tmp_path)
    first = next(values)
    for folder in ("ab", "ef"):
        if folder not in first.parts:
            shutil.rmtree(tmp_path / folder)
    assert list(values) == []


class TestTwoAtOnce:
    def test_two_processes_write_and_read_the_same_cache(self, tmp_path: Path) -> None:
        script = """
            import sys, pathlib
            from depthtui.data.store import open_store, make_key
            store = open_store(pathlib.Path(sys.argv[1]), 300_000, print)
            for number in range(60):
                key = make_key("result", number=number % 10)
                value = bytes([number % 10]) * 50_000
                value_read = store.get(key)
                assert value_read in (None, value), "a torn value"
                store.put(key, value, str(number), "result")
        """
        command = script_command(script, str(tmp_path))
        both = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
        outputs = [process.communicate(timeout=120)[0] for process in both]
        assert [process.returncode for process in both] == [0, 0]
        assert outputs == [b"", b""], "a notice would be printed"
        store = open_store(tmp_path, 300_000, pytest.fail)
        assert store.verify().damaged == 0
        assert store.info().bytes <= 300_000
        assert len(value_files(tmp_path)) == store.info().entries

    def test_an_index_that_another_makes_during_a_look_is_ours(
        self, open_: Callable[..., Store], notices: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tables = cache_index._tables

        def tables_of_another(index: sqlite3.Connection) -> set[str]:
            monkeypatch.setattr(cache_index, "_tables", tables)
            open_()
            return tables(index)

        monkeypatch.setattr(cache_index, "_tables", tables_of_another)
        put(open_(), "a", b"value")
        assert notices == []

    def test_a_value_that_another_writes_during_a_look_is_not_damaged(
        self,
        open_: Callable[..., Store],
        notices: list[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        mine, other = open_(), open_()
        key = make_key("result", name="a")
        looks = 0
        get = diskcache.Cache.get

        def get_just_before(cache: diskcache.Cache, *args: object, **options: object) -> object:
            nonlocal looks
            found, looks = get(cache, *args, **options), looks + 1
            if looks == 1:
                other.put(key, b"value", "a", "result")
            return found

        monkeypatch.setattr(diskcache.Cache, "get", get_just_before)
        assert mine.get(key) == b"value"
        assert notices == []

    def test_a_lock_held_by_another_is_told_and_ends(
        self,
        open_: Callable[..., Store],
        tmp_path: Path,
        notices: list[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("depthtui.data.store._LOCK_TIMEOUT", 0.01)
        store = open_()
        key = put(store, "run", b"value")
        other = sqlite3.connect(tmp_path / "results" / "cache.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        assert store.get(key) is None
        put(store, "other", b"value")
        # diskcache itself would wait for a minute.
        monkeypatch.setattr("depthtui.data.store._Cache", pytest.fail)
        assert not open_().on_disk
        assert ["locked" in notice for notice in notices] == [True, True, True]
        assert len(value_files(tmp_path)) == 1
        other.execute("ROLLBACK")
        other.close()
        assert store.get(key) == b"value"

    def test_an_entry_evicted_while_it_is_read_is_read_to_its_end(
        self, open_: Callable[..., Store]
    ) -> None:
        reader, other = open_(), open_()
        key = put(reader, "run", b"value" * 1000)
        file = reader._cache.get(key, read=True)  # type: ignore[union-attr]
        other.clear()
        assert len(file.read()) > 5000
        file.close()
        assert reader.get(key) is None


def test_what_is_kept_is_its_owners_alone(open_: Callable[..., Store], tmp_path: Path) -> None:
    store = open_()
    put(store, "run", b"value")
    assert stat.S_IMODE((tmp_path / "results").stat().st_mode) == 0o700
    files = [path for path in tmp_path.glob("results/**/*") if path.is_file()]
    assert len(files) >= 2
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_clear_empties_and_says_how_many(open_: Callable[..., Store], tmp_path: Path) -> None:
    store = open_()
    put(store, "one", b"1")
    put(store, "two", b"2")
    assert store.clear() == 2
    assert store.entries() == []
    assert value_files(tmp_path) == []


def test_an_entry_without_a_readable_label_is_still_listed(
    open_: Callable[..., Store], tmp_path: Path
) -> None:
    store = open_()
    key = put(store, "run", b"value")
    with sqlite3.connect(tmp_path / "results" / "cache.db") as index:
        index.execute("UPDATE Cache SET tag = ?", (json.dumps([1]),))
    (entry,) = store.entries()
    assert entry == Entry(key, "unknown", "", entry.size, entry.last_used)
    assert store.info().kinds["unknown"] == (1, entry.size)


def script_command(script: str, *args: str) -> list[str]:
    lines = script.strip("\n").splitlines()
    indent = len(lines[0]) - len(lines[0].lstrip())
    return [sys.executable, "-c", "\n".join(line[indent:] for line in lines), *args]


def run_script(script: str, *args: str) -> str:
    done = subprocess.run(
        script_command(script, *args), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
