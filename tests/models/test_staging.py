"""Model folders appear whole or not at all, and nothing of others makes way for them."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from depthtui.errors import DepthError
from depthtui.models.catalog import MADE_FROM
from depthtui.models.integrity import is_whole
from depthtui.models.staging import new_folder, store_folder

Staged = Callable[[Path], AbstractContextManager[Path]]

both = pytest.mark.parametrize("staged", [new_folder, store_folder])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def convert_to(folder: Path, name: str = "model") -> None:
    """What a conversion leaves, as far as its wholeness goes."""
    for file in ("config.json", "tokenizer.json"):
        (folder / file).write_text("{}")
    save_file({"weight": torch.zeros(4)}, folder / "model.safetensors")
    (folder / MADE_FROM).write_text(json.dumps({"name": name, "made_from": "model.gguf"}))


@both
def test_a_folder_appears_when_the_block_ends(staged: Staged, tmp_path: Path) -> None:
    target = tmp_path / "store" / "model"
    with staged(target) as folder:
        (folder / "a").write_text("1")
        (folder.parent / "scratch").write_text("2")
        assert not target.exists()
    assert names(target) == ["a"]
    assert names(target.parent) == ["model"]


@both
def test_an_empty_folder_makes_way(staged: Staged, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with staged(tmp_path / "model") as folder:
        (folder / "a").write_text("1")
    assert names(tmp_path / "model") == ["a"]


@both
def test_an_exception_leaves_nothing(staged: Staged, tmp_path: Path) -> None:
    def interrupted() -> None:
        with staged(tmp_path / "model") as folder:
            (folder / "a").write_text("1")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert names(tmp_path) == []


@both
def test_folders_of_like_names_stay(staged: Staged, tmp_path: Path) -> None:
    for name in (".model.backup", ".depthtui-backup"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.txt").write_text("mine")
        for path in (tmp_path / name / "thesis.txt", tmp_path / name):
            os.utime(path, (0, 0))
    with staged(tmp_path / "model"):
        pass
    assert len(list(tmp_path.glob("*/thesis.txt"))) == 2


class TestNewFolder:
    @pytest.mark.parametrize("kind", ["a folder", "a file", "a link"])
    def test_what_appears_meanwhile_stays_and_the_result_is_beside_it(
        self, tmp_path: Path, kind: str
    ) -> None:
        target = tmp_path / "model"
        (tmp_path / "model-2").mkdir()
        (tmp_path / "model-2" / "another").touch()

        def write() -> None:
            with new_folder(target) as folder:
                (folder / "weights").write_text("pruned")
                match kind:
                    case "a folder":
                        target.mkdir()
                        (target / "thesis.txt").write_text("mine")
                    case "a file":
                        target.write_text("mine")
                    case _:
                        target.symlink_to("model-2")

        with pytest.raises(DepthError, match=r"something in .* by now") as caught:
            write()
        assert str(tmp_path / "model-3") in caught.value.hint
        assert (tmp_path / "model-3" / "weights").read_text() == "pruned"
        assert names(tmp_path) == ["model", "model-2", "model-3"]
        assert names(tmp_path / "model-2") == ["another"]
        if kind == "a folder":
            assert names(target) == ["thesis.txt"]

    def test_of_two_the_second_says_where_its_own_is(self, tmp_path: Path) -> None:
        def write_both() -> None:
            with new_folder(tmp_path / "model") as slow:
                (slow / "slow").touch()
                with new_folder(tmp_path / "model") as quick:
                    (quick / "quick").touch()

        with pytest.raises(DepthError, match="by now"):
            write_both()
        assert names(tmp_path / "model") == ["quick"]
        assert names(tmp_path / "model-2") == ["slow"]

    def test_the_working_folder_can_be_meant(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "model").mkdir()
        monkeypatch.chdir(tmp_path / "model")
        with new_folder(Path()) as folder:
            (folder / "a").touch()
        assert names(tmp_path / "model") == ["a"]


class TestStoreFolder:
    def test_the_quicker_of_two_wins_and_both_end_well(self, tmp_path: Path) -> None:
        target = tmp_path / "model"
        with store_folder(target) as slow:
            convert_to(slow, "slow")
            with store_folder(target) as quick:
                convert_to(quick, "quick")
        assert json.loads((target / MADE_FROM).read_text())["name"] == "quick"
        assert names(tmp_path) == ["model"]

    def test_a_damaged_conversion_is_mended_and_keeps_what_others_put_there(
        self, tmp_path: Path
    ) -> None:
        target = tmp_path / "model"
        target.mkdir()
        convert_to(target)
        (target / "model.safetensors").write_bytes(b"cut short")
        (target / "thesis.txt").write_text("mine")
        with store_folder(target) as folder:
            convert_to(folder)
            (folder / "templates").mkdir()
            (folder / "templates" / "more").touch()
        assert is_whole(target)
        assert (target / "templates" / "more").exists()
        assert (target / "thesis.txt").read_text() == "mine"
        assert names(tmp_path) == ["model"]

    def test_a_folder_of_others_is_refused_before_the_work(self, tmp_path: Path) -> None:
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "thesis.txt").write_text("mine")
        worked = []

        def convert() -> None:
            with store_folder(tmp_path / "model"):
                worked.append(True)

        with pytest.raises(DepthError, match="that depthtui did not make"):
            convert()
        assert not worked
        assert names(tmp_path / "model") == ["thesis.txt"]

    def test_a_folder_of_others_that_appears_meanwhile_stays(self, tmp_path: Path) -> None:
        def convert() -> None:
            with store_folder(tmp_path / "model") as folder:
                convert_to(folder)
                (tmp_path / "model").mkdir()
                (tmp_path / "model" / "config.json").write_text("mine")

        with pytest.raises(DepthError, match="that depthtui did not make"):
            convert()
        assert (tmp_path / "model" / "config.json").read_text() == "mine"
        assert names(tmp_path / "model") == ["config.json"]

    def test_an_exception_leaves_the_old_folder(self, tmp_path: Path) -> None:
        (tmp_path / "model").mkdir()
        convert_to(tmp_path / "model")
        before = names(tmp_path / "model")
        with pytest.raises(ZeroDivisionError), store_folder(tmp_path / "model"):
            raise ZeroDivisionError
        assert names(tmp_path / "model") == before


@both
@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "is full"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "is full"),
        (OSError(errno.EROFS, "Read-only file system"), "cannot be written"),
        (PermissionError(errno.EACCES, "Permission denied"), "cannot be written"),
    ],
)
def test_trouble_with_the_disk_is_told_in_words(
    staged: Staged, error: Exception, words: str, tmp_path: Path
) -> None:
    with pytest.raises(DepthError, match=words), staged(tmp_path / "model"):
        raise error
    assert names(tmp_path) == []


@both
@pytest.mark.parametrize("name", ["file/model", "a" * 300])
def test_a_folder_that_cannot_be_made(staged: Staged, name: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DepthError, match="cannot be written"), staged(tmp_path / name):
        pytest.fail("the work began")
