"""Files on disk: whole, or not there; and read without waiting or end."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import platform
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from depthtui import files
from depthtui.errors import DepthError
from depthtui.files import (
    check_writable,
    expand_home,
    parse_json,
    parse_toml,
    read_whole,
    scratch,
    write_new,
    write_over,
    write_whole,
)
from tests.odd_files import ODD_FILES, put_odd_file


@contextmanager
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A disk on which a file cannot be given its mode, the step after it is written."""

    def fail(self: Path, mode: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as context:
        context.setattr(Path, "chmod", fail)
        yield


def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with full_disk(monkeypatch), pytest.raises(DepthError, match="No space left"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_has_its_own_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with full_disk(monkeypatch), pytest.raises(DepthError, match="Make room on its disk"):
        write_over(tmp_path, {"file": b"new"}, lambda path: True)


class TestOthersFiles:
    """What others have put into the folder of a file that is written."""

    def test_planted_part_files_and_links_stay_as_they_are(self, tmp_path: Path) -> None:
        precious = tmp_path / "precious"
        precious.write_text("mine")
        (tmp_path / f".file.{os.getpid()}.part").symlink_to(precious)
        (tmp_path / ".depthtui-planted").symlink_to(tmp_path)
        before = set(tmp_path.iterdir())
        write_whole(tmp_path / "file", b"content")
        assert precious.read_text() == "mine"
        assert stat.S_IMODE(precious.stat().st_mode) != 0o600
        assert not (tmp_path / "file").is_symlink()
        assert set(tmp_path.iterdir()) == {*before, tmp_path / "file"}

    def test_a_link_in_its_place_is_replaced_and_its_file_is_not(self, tmp_path: Path) -> None:
        (tmp_path / "precious").write_text("mine")
        (tmp_path / "precious").chmod(0o666)
        (tmp_path / "file").symlink_to("precious")
        write_whole(tmp_path / "file", b"content")
        assert (tmp_path / "precious").read_text() == "mine"
        assert (tmp_path / "file").read_bytes() == b"content"
        assert stat.S_IMODE((tmp_path / "file").lstat().st_mode) == 0o600

    @pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
    def test_a_new_file_takes_no_name_that_is_taken(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
    ) -> None:
        def refuse(*_: object) -> None:
            raise PermissionError(1, "Operation not permitted")

        if not links:
            monkeypatch.setattr(os, "link", refuse)
        write_new(tmp_path / "new", b"content")
        assert modes(tmp_path) == {"new": "0o600"}
        assert (tmp_path / "new").read_bytes() == b"content"
        (tmp_path / "dangling").symlink_to("nowhere")
        (tmp_path / "folder").mkdir()
        for name in ("new", "dangling", "folder"):
            with pytest.raises(DepthError, match="File exists"):
                write_new(tmp_path / name, b"other")
        assert (tmp_path / "new").read_bytes() == b"content"
        assert {path.name for path in tmp_path.iterdir()} == {"new", "dangling", "folder"}

    def test_only_depthtuis_own_file_is_written_over(self, tmp_path: Path) -> None:
        def is_ours(path: Path) -> bool:
            return path.read_bytes().startswith(b"ours")

        for content in (b"ours, the first", b"ours, the second"):
            write_over(tmp_path, {"file": content}, is_ours)
        assert (tmp_path / "file").read_bytes() == b"ours, the second"
        (tmp_path / "file").write_bytes(b"theirs")
        with pytest.raises(DepthError, match="File exists"):
            write_over(tmp_path, {"file": b"ours"}, is_ours)
        assert (tmp_path / "file").read_bytes() == b"theirs"

    def test_a_file_that_cannot_be_placed_takes_the_new_ones_back(self, tmp_path: Path) -> None:
        (tmp_path / "b").write_bytes(b"theirs")
        with pytest.raises(DepthError, match="File exists"):
            write_over(tmp_path, {"a": b"new", "b": b"new"}, lambda path: False)
        assert [path.name for path in tmp_path.iterdir()] == ["b"]

    def test_two_that_write_at_once_share_no_part_file(self, tmp_path: Path) -> None:
        with scratch(tmp_path) as one, scratch(tmp_path) as other:
            assert one != other
            assert (stat.S_IMODE(one.stat().st_mode)) == 0o700


def put_scratch(path: Path, **owner: object) -> None:
    """A folder as a process leaves it that is killed at its work."""
    (path / "result").mkdir(parents=True)
    (path / "result" / "part").write_text("half")
    mark = {"made_by": "depthtui", "host": platform.node()} | owner
    (path / "owner.json").write_text(json.dumps(mark))


def write_in_a_new_process(path: Path) -> None:
    """Write a file as a process does that has not looked through its folder yet."""
    files._remove_abandoned.cache_clear()
    write_whole(path, b"")


def refuse_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that knows no locks."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)


class TestAbandonedScratch:
    """Scratch folders that processes have left behind, and what only looks like one."""

    def test_that_of_a_dead_process_is_removed(self, tmp_path: Path) -> None:
        put_scratch(tmp_path / ".depthtui-abcd1234")
        write_in_a_new_process(tmp_path / "file")
        assert [path.name for path in tmp_path.iterdir()] == ["file"]

    def test_that_of_another_host_is_removed_after_a_day(self, tmp_path: Path) -> None:
        put_scratch(tmp_path / ".depthtui-old", host="another")
        put_scratch(tmp_path / ".depthtui-new", host="another")
        os.utime(tmp_path / ".depthtui-old" / "owner.json", (0, 0))
        write_in_a_new_process(tmp_path / "file")
        assert sorted(path.name for path in tmp_path.iterdir()) == [".depthtui-new", "file"]

    def test_one_that_is_killed_leaves_a_folder_that_is_removed(self, tmp_path: Path) -> None:
        code = (
            "import os, pathlib; from depthtui.files import scratch;"
            f"used = scratch(pathlib.Path({str(tmp_path)!r})); used.__enter__();"
            "os.kill(os.getpid(), 9)"
        )
        subprocess.run([sys.executable, "-c", code], check=False)
        assert len(list(tmp_path.iterdir())) == 1
        write_in_a_new_process(tmp_path / "file")
        assert [path.name for path in tmp_path.iterdir()] == ["file"]

    def test_an_empty_one_is_removed_after_a_minute(self, tmp_path: Path) -> None:
        """A kill may come before the mark is made, or after it was removed."""
        for name in (".depthtui-old", ".depthtui-new", ".depthtui-full"):
            (tmp_path / name).mkdir()
        (tmp_path / ".depthtui-full" / "thesis.txt").touch()
        for name in (".depthtui-old", ".depthtui-full"):
            os.utime(tmp_path / name, (0, 0))
        write_in_a_new_process(tmp_path / "file")
        names = sorted(path.name for path in tmp_path.iterdir())
        assert names == [".depthtui-full", ".depthtui-new", "file"]

    @pytest.mark.parametrize("host", ["here", "another"])
    def test_one_in_use_stays_wherever_and_whatever_its_age(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str
    ) -> None:
        with scratch(tmp_path) as folder:
            os.utime(folder / "owner.json", (0, 0))
            if host == "another":
                monkeypatch.setattr(platform, "node", lambda: "another")
            write_in_a_new_process(tmp_path / "file")
            assert folder.exists()
        assert [path.name for path in tmp_path.iterdir()] == ["file"]

    def test_one_on_a_disk_without_locks_is_removed_after_a_day(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        refuse_locks(monkeypatch)
        with scratch(tmp_path) as folder:
            put_scratch(tmp_path / ".depthtui-old")
            os.utime(tmp_path / ".depthtui-old" / "owner.json", (0, 0))
            write_in_a_new_process(tmp_path / "file")
            assert sorted(tmp_path.iterdir()) == sorted([folder, tmp_path / "file"])

    @pytest.mark.parametrize("owner", [{"made_by": "another"}, {"more": "of this"}])
    def test_that_of_others_stays(self, tmp_path: Path, owner: dict[str, object]) -> None:
        put_scratch(tmp_path / ".depthtui-other", **owner)
        os.utime(tmp_path / ".depthtui-other", (0, 0))
        write_in_a_new_process(tmp_path / "file")
        assert (tmp_path / ".depthtui-other" / "result" / "part").read_text() == "half"

    @pytest.mark.parametrize("kind", ODD_FILES)
    def test_a_mark_that_is_no_file_is_none_and_is_not_waited_for(
        self, tmp_path: Path, kind: str
    ) -> None:
        put_scratch(tmp_path / ".depthtui-odd")
        put_odd_file(tmp_path / ".depthtui-odd" / "owner.json", kind)
        write_in_a_new_process(tmp_path / "file")
        assert (tmp_path / ".depthtui-odd" / "result" / "part").exists()

    def test_without_a_mark_it_stays_whatever_its_age(self, tmp_path: Path) -> None:
        for name in (".depthtui-backup", ".file.backup", f".file.{platform.node()}.1.abcd1234"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "thesis.txt").write_text("mine")
            os.utime(tmp_path / name / "thesis.txt", (0, 0))
            os.utime(tmp_path / name, (0, 0))
        write_in_a_new_process(tmp_path / "file")
        assert len(list(tmp_path.glob("*/thesis.txt"))) == 3

    def test_a_link_to_one_leads_to_no_removal(self, tmp_path: Path) -> None:
        put_scratch(tmp_path / "kept")
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / ".depthtui-link").symlink_to(tmp_path / "kept")
        write_in_a_new_process(tmp_path / "out" / "file")
        assert (tmp_path / "kept" / "result" / "part").exists()
        assert (tmp_path / "out" / ".depthtui-link").is_symlink()

    def test_a_folder_is_looked_through_once_in_a_process(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It may have thousands of files, and a sweep writes each of them there."""
        looked: list[Path] = []
        scandir = os.scandir

        def note(path: Path) -> object:
            looked.append(path)
            return scandir(path)

        monkeypatch.setattr(os, "scandir", note)
        for name in "abc":
            write_whole(tmp_path / "new" / name, b"")
        assert looked == [tmp_path / "new"]


class TestWritable:
    def test_a_folder_that_can_be_made_is_and_is_not_made(self, tmp_path: Path) -> None:
        for folder in (tmp_path, tmp_path / "new" / "below"):
            check_writable(folder)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        "name",
        ["a" * 300, f"new/{'a' * 300}", "file", "file/below", "dangling", "dangling/below", "a\0b"],
    )
    def test_one_that_cannot_is_told(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "file").touch()
        (tmp_path / "dangling").symlink_to("nowhere")
        with pytest.raises(DepthError, match="cannot be written to"):
            check_writable(tmp_path / name)
        assert len(list(tmp_path.iterdir())) == 2

    def test_a_system_folder_is_none(self) -> None:
        with pytest.raises(DepthError, match="/proc/x cannot be written to"):
            check_writable(Path("/proc/x"))


def modes(folder: Path) -> dict[str, str]:
    """The mode of everything in a folder, in octal."""
    return {
        str(path.relative_to(folder)): oct(stat.S_IMODE(path.stat().st_mode))
        for path in folder.rglob("*")
    }


def test_what_is_written_is_its_owners_alone(tmp_path: Path) -> None:
    write_whole(tmp_path / "new" / "below" / "file", b"a prompt")
    assert modes(tmp_path) == {"new": "0o700", "new/below": "0o700", "new/below/file": "0o600"}


def test_what_is_there_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir(0o755)
    (tmp_path / "shared" / "file").touch(0o644)
    write_whole(tmp_path / "shared" / "file", b"a prompt")
    assert modes(tmp_path) == {"shared": "0o755", "shared/file": "0o644"}


@pytest.mark.parametrize("name", ["x" * 5000, "nul\0inside", "file/below"])
def test_a_name_that_cannot_be_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DepthError, match="could not be written"):
        write_whole(tmp_path / name, b"")
    with pytest.raises(OSError):  # noqa: PT011
        read_whole(tmp_path / name, 10)


@pytest.mark.parametrize("kind", ODD_FILES)
def test_what_is_no_ordinary_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    put_odd_file(tmp_path / "odd", kind)
    with pytest.raises(OSError, match=r"no ordinary file|directory|symbolic"):
        read_whole(tmp_path / "odd", 10)


def test_what_is_too_large_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(OSError, match="larger than 1 MiB"):
        read_whole(tmp_path / "large", 1 << 20)


def test_a_pipe_of_the_shell_is_waited_for() -> None:
    reader, writer = os.pipe()
    begun = threading.Event()

    def write() -> None:
        begun.wait()
        os.write(writer, b"written late")
        os.close(writer)

    thread = threading.Thread(target=write)
    thread.start()
    begun.set()
    assert read_whole(Path(f"/dev/fd/{reader}"), 100) == b"written late"
    thread.join()
    os.close(reader)


DEEP = "[" * 100_000
LONG = "9" * 5000


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (DEEP, "nested too deeply"),
        (LONG, "a number of thousands of digits"),
        ('{"a": ', "Expecting value"),
        (b'"\xff"', "not UTF-8"),
    ],
)
def test_what_is_no_json_is_told_in_words(text: str | bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_json(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"a = {DEEP}", "is nested too deeply"),
        (f"a = {LONG}", "thousands of digits"),
        ("a = 1979-13-45", "is not valid TOML|day"),
        ("a = ", "is not valid TOML"),
        ("a = '\udcff'", "is not UTF-8 text"),
    ],
)
def test_what_is_no_toml_is_told_in_words(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_toml(text.encode("utf-8", "surrogateescape"))


def test_the_home_of_nobody_is_told() -> None:
    assert expand_home("~/x") == Path.home() / "x"
    with pytest.raises(DepthError, match="no user 'nosuchuser'"):
        expand_home("~nosuchuser/m")
