"""Sessions are files, one each: two windows never write the same one, and none is lost."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from depthtui.data.plain import to_plain
from depthtui.data.remarks import Bookmark, Remarks
from depthtui.data.run import Prompt
from depthtui.data.run_settings import Repeated, RunSettings, Skip
from depthtui.data.saved_session import SavedRun, SavedSession
from depthtui.data.session_files import SCHEMA, SessionFolder
from depthtui.errors import DepthError
from tests.builders.models import model_info

NOON = datetime(2026, 1, 2, 12, 30, 15)


def session(prompt: str = "One plus one is two.", saved: datetime = NOON) -> SavedSession:
    run = SavedRun(model_info(), Prompt(prompt), RunSettings(), saved.isoformat())
    return SavedSession(saved.isoformat(), (run,), 0, 1, 2, "kl", "verdict", "heatmap", 0.5, 0.5)


WHOLE = SavedSession(
    NOON.isoformat(),
    (
        SavedRun(
            model_info(),
            Prompt("One plus one is \ud800two.", "two."),
            RunSettings(
                skipped=(Skip(2, "mlp"),),
                metrics=("logit_lens", "ablation"),
                lengths_before=(5,),
                tolerance=0.02,
            ),
            NOON.isoformat(),
            Remarks("Odd.", (Bookmark(1, 2, "here"),)),
            {"": "a1", "logit_lens": "b2"},
            4,
            {"ablation": "The memory ran out."},
            ("ablation",),
        ),
    ),
    0,
    1,
    2,
    "kl",
    "left-out",
    "heatmap",
    0.5,
    0.25,
    "Sums",
)
"""A session with every field."""


def save(folder: SessionFolder, saved: SavedSession) -> Path:
    writer = folder.create(saved, datetime.fromisoformat(saved.saved))
    writer.close()
    return writer.path


def test_a_session_is_named_by_its_time_and_first_prompt(tmp_path: Path) -> None:
    folder = SessionFolder(tmp_path)
    path = save(folder, session())
    assert path.name == "20260102-123015-One-plus-one-is-two.json"
    assert path.stat().st_mode & 0o777 == 0o600
    (file,) = folder.files()
    assert file.session == session()
    assert file.name == path.stem


@pytest.mark.parametrize("prompt", ["", "法国的首都是", "../../../etc/passwd", "a" * 500, "\0\n"])
def test_any_prompt_names_a_file_in_the_folder(tmp_path: Path, prompt: str) -> None:
    folder = SessionFolder(tmp_path)
    path = save(folder, session(prompt))
    assert path.parent == folder.path
    assert len(path.name) < 80
    assert [file.path for file in folder.files()] == [path]


def test_two_windows_of_one_second_and_prompt_have_two_files(tmp_path: Path) -> None:
    a = SessionFolder(tmp_path).create(session("One"), NOON)
    b = SessionFolder(tmp_path).create(session("One"), NOON)
    assert a.path != b.path
    b.write(session("B"))
    a.write(session("A again"))
    prompts = {file.session.runs[0].prompt.text for file in SessionFolder(tmp_path).files()}
    assert prompts == {"A again", "B"}


def test_a_session_that_is_open_elsewhere_is_read_but_not_written(tmp_path: Path) -> None:
    folder = SessionFolder(tmp_path)
    writer = folder.create(session(), NOON)
    (file,) = folder.files()
    assert folder.open(file) is None
    for change in (lambda: folder.rename(file, "Mine"), lambda: folder.remove(file)):
        with pytest.raises(DepthError, match="open in another window"):
            change()
    assert folder.files() == [file]
    writer.close()
    continued = folder.open(file)
    assert continued is not None
    assert continued.path == file.path


def test_a_session_that_was_deleted_meanwhile_is_not_continued(tmp_path: Path) -> None:
    folder = SessionFolder(tmp_path)
    save(folder, session())
    (file,) = folder.files()
    folder.remove(file)
    assert folder.open(file) is None
    with pytest.raises(DepthError, match="cannot be renamed"):
        folder.rename(file, "Mine")
    assert folder.files() == []


def test_latest_first_and_the_latest_alone(tmp_path: Path) -> None:
    folder = SessionFolder(tmp_path)
    assert folder.latest() is None
    days = [3, 1, 2]
    for day in days:
        save(folder, session(f"Day {day}", NOON.replace(day=day)))
    titles = [file.title for file in folder.files()]
    assert titles == ["Day 3", "Day 2", "Day 1"]
    # The latest is the one that was written last.
    assert folder.latest().title == "Day 2"


def test_a_title_is_saved_beside_the_name(tmp_path: Path) -> None:
    folder = SessionFolder(tmp_path)
    path = save(folder, session())
    (file,) = folder.files()
    renamed = folder.rename(file, "Sums")
    assert folder.files() == [renamed]
    assert (renamed.path, renamed.title) == (path, "Sums")


def test_a_removed_session_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = SessionFolder(tmp_path)
    save(folder, session())
    other = save(folder, session("Another"))
    first = next(file for file in folder.files() if file.path != other)
    folder.remove(first)
    folder.remove(first)
    assert [file.path for file in folder.files()] == [other]
    assert not list(folder.path.glob(f".{first.name}*"))


def test_a_session_comes_back_as_it_was(tmp_path: Path) -> None:
    folder = SessionFolder(tmp_path)
    save(folder, WHOLE)
    (file,) = folder.files(pytest.fail)
    assert file.session == WHOLE
    assert folder.rename(file, "Mine").session == replace(WHOLE, title="Mine")


def test_a_list_that_is_old_overwrites_nothing(tmp_path: Path) -> None:
    """Between the list and a key, another window may have written and left the session."""
    folder = SessionFolder(tmp_path)
    writer = folder.create(session(), NOON)
    (old,) = folder.files()
    more = replace(session(), runs=2 * session().runs)
    writer.write(more)
    writer.close()
    assert folder.rename(old, "Mine").session == replace(more, title="Mine")
    assert folder.reread(old).session == replace(more, title="Mine")


def test_a_new_title_is_no_new_use(tmp_path: Path) -> None:
    folder = SessionFolder(tmp_path)
    old = save(folder, session("Old"))
    os.utime(old, (1, 1))
    save(folder, session("New"))
    first = next(file for file in folder.files() if file.path == old)
    folder.rename(first, "Renamed")
    assert folder.latest().title == "New"


def test_a_link_to_nothing_hides_no_session(tmp_path: Path) -> None:
    folder = SessionFolder(tmp_path)
    path = save(folder, session())
    path.with_name("x.json").symlink_to("nowhere")
    path.with_name("y.json").mkdir()
    os.mkfifo(path.with_name("z.json"))
    assert [file.path for file in folder.files()] == [path]
    assert folder.latest().path == path


def damaged() -> dict[str, bytes]:
    plain = to_plain(session())
    whole = json.dumps({"schema": SCHEMA, "session": plain}).encode()

    def changed(**fields: object) -> bytes:
        return json.dumps({"schema": SCHEMA, "session": plain | fields}).encode()

    def settings(**fields: object) -> bytes:
        run = session().runs[0]
        bad = replace(run, settings=replace(run.settings, **fields))
        return changed(runs=to_plain((bad,)))

    return {
        "cut": whole[:-40],
        "bytes": b"\xff\xfe",
        "list": b"[]",
        "deep": 100_000 * b"[",
        "deep field": changed(measure="DEEP").replace(b'"DEEP"', 900 * b"[" + 900 * b"]"),
        "time of a zone": changed(saved="2026-01-02T03:04:05+00:00"),
        "earlier schema": json.dumps({"schema": SCHEMA - 1, "session": plain}).encode(),
        "later schema": json.dumps({"schema": SCHEMA + 1, "session": plain}).encode(),
        "list as a schema": json.dumps({"schema": [], "session": plain}).encode(),
        "unknown key": changed(colour="red"),
        "place": changed(shown=9),
        "text for a number": changed(kl_threshold="high"),
        "threshold": changed(overlap_threshold=7.0),
        "number for runs": changed(runs=3),
        "no runs": changed(runs=[]),
        "no time": changed(saved="yesterday"),
        "number for a measure": changed(measure=3),
        "layer": settings(skipped=(Skip(10**9),)),
        "block": settings(repeated=(Repeated(0, 10**9),)),
        "part": settings(skipped=(Skip(1, "\x1b"),)),
        "layers": settings(layers="2026-01-02"),
        "top k": settings(lens_top_k=0),
    }


@pytest.mark.parametrize("name", damaged())
def test_a_damaged_file_is_named_and_stays(tmp_path: Path, name: str) -> None:
    folder = SessionFolder(tmp_path)
    path = save(folder, session("Another"))
    bad = path.with_name("bad.json")
    bad.write_bytes(damaged()[name])
    notices: list[str] = []
    assert [file.path for file in folder.files(notices.append)] == [path]
    assert len(notices) == 1
    assert "bad.json" in notices[0]
    assert bad.read_bytes() == damaged()[name]
    assert folder.latest().path == path


def test_an_unreadable_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    folder = SessionFolder(tmp_path / "cache")
    assert folder.files() == []
    with pytest.raises(DepthError, match="could not be written"):
        folder.create(session(), NOON)


def test_a_disk_without_locks_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    folder = SessionFolder(tmp_path)
    a, b = (folder.create(session(), NOON) for _ in range(2))
    assert a.path != b.path
    a.write(replace(session(), title="A"))
    assert {file.title for file in folder.files()} == {"A", "One plus one is two."}
    # No lock says whether another window has it open.
    assert folder.open(folder.files()[0]) is None
