"""Files on disk: whole, or not there; and read without waiting or end."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from depthtui.errors import DepthError
from depthtui.files import expanded, parse_json, parse_toml, read_whole, write_whole
from tests.odd_files import ODD_FILES, put_odd_file


def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def half(self: Path, content: bytes) -> None:
        with self.open("wb") as file:
            file.write(content[:1])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(DepthError, match="No space left"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


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
    assert expanded("~/x") == Path.home() / "x"
    with pytest.raises(DepthError, match="no user 'nosuchuser'"):
        expanded("~nosuchuser/m")
