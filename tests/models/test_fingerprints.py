"""Fingerprints: other contents have another, a copy has the same, a large file is read once."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from depthtui.data.protocol import Progress
from depthtui.errors import DepthError
from depthtui.models import fingerprints
from depthtui.models.fingerprints import fingerprint, fingerprint_beside, stored_fingerprint
from tests.odd_files import put_odd_file

SIZE = 20 << 20


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "a.safetensors"
    path.write_bytes(bytes(SIZE))
    os.utime(path, (1, 1))
    return path


@pytest.fixture
def hash_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A list that takes files as soon as they are written."""
    monkeypatch.setattr(fingerprints, "_SETTLED", -1.0)
    return tmp_path / "cache" / "fingerprints.json"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read, a name for each piece."""
    names: list[str] = []
    hash_piece = fingerprints._hash_piece

    def note(piece: tuple[Path, int]) -> bytes:
        names.append(piece[0].name)
        return hash_piece(piece)

    monkeypatch.setattr(fingerprints, "_hash_piece", note)
    return names


def let_the_clock_go_on(path: Path) -> None:
    """Wait until a change would get a later time than the file has."""
    probe = path.with_name("probe")
    probe.touch()
    while probe.stat().st_ctime_ns <= path.stat().st_ctime_ns:
        probe.touch()
    probe.unlink()


def change(path: Path, place: int) -> None:
    """Change a byte, and put size and time of modification back."""
    let_the_clock_go_on(path)
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(place)
        file.write(b"\1")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)


@pytest.mark.parametrize("place", [0, 3 << 20, 9_999_999, 16 << 20, SIZE - 1])
def test_a_changed_byte_is_seen_where_size_and_time_are_as_before(
    place: int, large: Path, hash_file: Path
) -> None:
    before = fingerprint([large], hash_file)
    change(large, place)
    assert fingerprint([large], hash_file) != before
    change(large, SIZE // 2)
    assert fingerprint([large], hash_file) == fingerprint([large])


def test_a_large_file_is_read_once(large: Path, hash_file: Path, read: list[str]) -> None:
    small = large.with_name("config.json")
    small.write_text("{}")
    files = [large, small]
    first = fingerprint(files, hash_file)
    assert sorted(read) == ["a.safetensors", "a.safetensors", "config.json"]
    read.clear()
    assert fingerprint(files, hash_file) == first
    assert read == ["config.json"]
    let_the_clock_go_on(large)
    large.chmod(0o600)
    assert fingerprint(files, hash_file) == first
    assert "a.safetensors" in read


def test_a_file_that_has_just_been_written_is_read_again(
    large: Path, tmp_path: Path, read: list[str]
) -> None:
    """Its next change could get the same time."""
    hash_file = tmp_path / "fingerprints.json"
    assert fingerprint([large], hash_file) == fingerprint([large], hash_file)
    assert len(read) == 4
    assert not hash_file.exists()


def test_it_tells_names_and_not_times_or_places(
    large: Path, tmp_path: Path, hash_file: Path
) -> None:
    before = fingerprint([large], hash_file)
    os.utime(large, (5, 5))
    assert fingerprint([large], hash_file) == before
    (tmp_path / "elsewhere").mkdir()
    copy = Path(shutil.copy(large, tmp_path / "elsewhere"))
    assert fingerprint([copy], hash_file) == before
    link = tmp_path / "elsewhere" / "link" / large.name
    link.parent.mkdir()
    link.symlink_to(copy)
    assert fingerprint([link], hash_file) == before
    assert fingerprint([large.rename(tmp_path / "b.safetensors")], hash_file) != before


def test_a_link_to_another_file_is_seen(large: Path, tmp_path: Path, hash_file: Path) -> None:
    link = tmp_path / "link.safetensors"
    link.symlink_to(large)
    before = fingerprint([link], hash_file)
    other = Path(shutil.copy(large, tmp_path / "other"))
    change(other, 7)
    link.unlink()
    link.symlink_to(other)
    assert fingerprint([link], hash_file) != before


def test_the_order_of_the_files_does_not_matter(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_text("1")
    second.write_text("2")
    assert fingerprint([first, second]) == fingerprint([second, first])


HASH = "0" * 64
OTHERS = (
    "",
    "{",
    "{}",
    "[]",
    "5",
    '{"alice": "ab:cd:ef"}',
    f'{{"alice": [1, 2, 3, 4, "{HASH}"]}}',
    f'{{"/a": [1, 2, 3, "{HASH}"]}}',
    f'{{"/a": [1, 2, 3, 4.5, "{HASH}"]}}',
    '{"/a": [1, 2, 3, 4, "ab:cd:ef"]}',
    f'{{"/a": [1, 2, 3, 4, "{HASH}"], "/b": []}}',
)


@pytest.mark.parametrize("content", OTHERS)
def test_a_list_of_another_program_is_left_as_it_is(
    content: str, large: Path, hash_file: Path
) -> None:
    hash_file.parent.mkdir()
    hash_file.write_text(content)
    assert fingerprint([large], hash_file) == fingerprint([large])
    assert hash_file.read_text() == content


def test_files_that_are_gone_leave_the_list(large: Path, hash_file: Path) -> None:
    other = Path(shutil.copy(large, large.with_name("other")))
    fingerprint([large, other], hash_file)
    other.unlink()
    let_the_clock_go_on(large)
    large.chmod(0o600)
    fingerprint([large], hash_file)
    assert list(json.loads(hash_file.read_text())) == [str(large)]


def test_a_list_that_cannot_be_written_costs_no_fingerprint(large: Path, hash_file: Path) -> None:
    expected = fingerprint([large])
    hash_file.parent.mkdir()
    put_odd_file(hash_file, "a folder")
    assert fingerprint([large], hash_file) == expected
    assert fingerprint([large], large / "no folder") == expected


class TestBesideOtherWork:
    def test_it_is_the_same_and_says_how_far_it_is(self, large: Path, hash_file: Path) -> None:
        events: list[Progress] = []
        with fingerprint_beside([large], hash_file) as wait:
            assert wait(events.append) == fingerprint([large])
        assert {event.stage for event in events} == {"Taking the fingerprint"}

    def test_what_goes_wrong_is_raised_where_it_is_waited_for(
        self, large: Path, hash_file: Path
    ) -> None:
        with (
            fingerprint_beside([large.with_name("none")], hash_file) as wait,
            pytest.raises(FileNotFoundError),
        ):
            wait(lambda _: None)

    def test_a_file_that_is_replaced_meanwhile_has_no_fingerprint(
        self, large: Path, hash_file: Path
    ) -> None:
        """The weights in memory may be of either file."""
        other = large.with_name("other")
        other.write_bytes(bytes(SIZE))
        with fingerprint_beside([large], hash_file) as wait:
            os.replace(other, large)
            with pytest.raises(DepthError, match="changed while it was loaded"):
                wait(lambda _: None)

    def test_nobody_waits_for_it_where_the_work_fails(
        self, large: Path, hash_file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(fingerprints, "_PIECE", 1 << 10)

        def fail(files: list[Path]) -> None:
            with fingerprint_beside(files, hash_file):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            fail([large])
        assert not hash_file.exists()


def test_the_one_at_hand_reads_no_large_file(large: Path, hash_file: Path, read: list[str]) -> None:
    small = large.with_name("config.json")
    small.write_text("{}")
    files = [large, small]
    with stored_fingerprint(files, hash_file) as take:
        assert take(lambda progress: None) == ""
    assert read == []
    expected = fingerprint(files, hash_file)
    read.clear()
    with stored_fingerprint(files, hash_file) as take:
        assert take(lambda progress: None) == expected
    assert read == ["config.json"]
    change(large, 5)
    with stored_fingerprint(files, hash_file) as take:
        assert take(lambda progress: None) == ""
