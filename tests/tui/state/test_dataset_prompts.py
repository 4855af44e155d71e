"""Data sets that are here, and what was read of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from depthtui.data.run import Prompt
from depthtui.tui.state.dataset_prompts import OFFERED, Datasets
from depthtui.tui.state.task_prompts import neighbour, place, task_title
from tests.prompts.test_datasets import ROWS, write_lines


@pytest.fixture
def datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Datasets:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return Datasets(tmp_path)


def test_what_was_read_is_known_until_the_file_is_gone(tmp_path: Path, datasets: Datasets) -> None:
    path = write_lines(tmp_path, ROWS["math"], "math.jsonl")
    datasets.look()
    assert datasets.file("math") == path
    assert datasets.file("gsm8k") is None
    assert datasets.already_read("math", None) is None
    everything = datasets.read("math", None)
    assert not everything.problem
    assert datasets.already_read("math", None) == everything
    assert datasets.already_read("math", 3) is None
    level = {prompt.level for prompt in datasets.read("math", 3).prompts}
    assert level <= {"3"}
    path.unlink()
    datasets.look()
    assert datasets.already_read("math", None) is None


def test_a_row_has_neighbours_once_it_was_read(tmp_path: Path, datasets: Datasets) -> None:
    write_lines(tmp_path, ROWS["gsm8k"], "gsm8k.jsonl")
    datasets.look()
    first, *_, last = datasets.read("gsm8k", None).prompts
    assert place(last, 1, datasets) == (len(ROWS["gsm8k"]) - 1, len(ROWS["gsm8k"]))
    assert neighbour(last, 1, 1, datasets) == first
    assert place(first, 1) is None
    assert place(Prompt("else", task="gsm8k"), 1, datasets) is None


def test_no_more_are_read_than_are_offered(tmp_path: Path, datasets: Datasets) -> None:
    write_lines(tmp_path, ROWS["gsm8k"] * OFFERED + [{}], "gsm8k.jsonl")
    datasets.look()
    assert len(datasets.read("gsm8k", None).prompts) == OFFERED


def test_rows_before_a_bad_one_are_kept_and_read_again(tmp_path: Path, datasets: Datasets) -> None:
    path = write_lines(tmp_path, [*ROWS["gsm8k"], {"question": "x", "answer": "y"}], "gsm8k.jsonl")
    datasets.look()
    found = datasets.read("gsm8k", None)
    assert len(found.prompts) == len(ROWS["gsm8k"])
    assert f"row {len(ROWS['gsm8k']) + 1}" in found.problem
    write_lines(tmp_path, ROWS["gsm8k"], path.name)
    assert datasets.already_read("gsm8k", None) is None
    assert not datasets.read("gsm8k", None).problem


def test_a_file_that_goes_while_it_is_looked_at_is_told(tmp_path: Path, datasets: Datasets) -> None:
    path = write_lines(tmp_path, ROWS["gsm8k"], "gsm8k.jsonl")
    datasets.look()
    path.unlink()
    assert str(path) in datasets.read("gsm8k", None).problem


def test_titles_of_rows() -> None:
    assert task_title(Prompt("x", task="gsm8k")) == "GSM8K"
    assert task_title(Prompt("x", task="math", level="3")) == "MATH, level 3"
