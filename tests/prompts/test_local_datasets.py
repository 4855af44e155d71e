"""Where data sets lie on this disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from depthtui.prompts.dataset_formats import DATASETS
from depthtui.prompts.local_datasets import (
    SUFFIXES,
    how_to_get,
    local_file,
    places,
    split_beside,
)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the hub's client keeps what it fetched."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "made"))
    return tmp_path / "hub"


def fetched(hub: Path, repository: str, *names: str, snapshot: str = "a") -> list[Path]:
    """Files as the hub's client keeps them: links into blobs."""
    paths = []
    for number, name in enumerate(names):
        path = hub / f"datasets--{repository}" / "snapshots" / snapshot / name
        path.parent.mkdir(parents=True, exist_ok=True)
        blob = hub / f"blob-{snapshot}-{number}"
        blob.write_text("")
        path.symlink_to(blob)
        paths.append(path)
    return paths


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_that_is_called_after_the_set(hub: Path, tmp_path: Path, suffix: str) -> None:
    assert local_file("gsm8k", tmp_path) is None
    path = tmp_path / f"gsm8k{suffix}"
    path.write_text("")
    assert local_file("gsm8k", tmp_path) == path
    assert local_file("math", tmp_path) is None


@pytest.mark.parametrize(
    ("name", "repository", "names", "found"),
    [
        (
            "gsm8k",
            "openai--gsm8k",
            ["main/test-0-of-1.parquet", "main/train-0-of-1.parquet", "socratic/test-0.parquet"],
            0,
        ),
        ("hellaswag", "Rowan--hellaswag", ["data/validation-0.parquet", "README.md"], 0),
        (
            "two_hop",
            "henryzhongsc--MQuAKE-Remastered",
            ["data/CF3k-0.parquet", "data/T.parquet"],
            0,
        ),
        ("aime24", "Maxwell-Jia--AIME_2024", ["a.parquet", "README.md", "dataset_infos.json"], 0),
        ("hellaswag", "Rowan--hellaswag", ["data/test-0.parquet", "data/train-0.parquet"], None),
        (
            "math",
            "DigitalLearningGmbH--MATH-lighteval",
            ["t/test-0.parquet", "t/test-1.parquet"],
            None,
        ),
        ("math", "DigitalLearningGmbH--MATH-lighteval", [], None),
        ("math", "DigitalLearningGmbH--MATH-lighteval", ["train.parquet"], None),
        ("math", "DigitalLearningGmbH--MATH-lighteval", ["train.jsonl", "test.jsonl"], 1),
    ],
)
def test_what_was_fetched_from_the_hub(
    hub: Path, tmp_path: Path, name: str, repository: str, names: list[str], found: int | None
) -> None:
    paths = fetched(hub, repository, *names)
    assert local_file(name, tmp_path) == (None if found is None else paths[found])


def test_the_newest_of_what_was_fetched(hub: Path, tmp_path: Path) -> None:
    (new,) = fetched(hub, "Rowan--hellaswag", "validation.parquet", snapshot="a")
    (old,) = fetched(hub, "Rowan--hellaswag", "validation.parquet", snapshot="b")
    os.utime(old.parent, (1, 1))
    assert local_file("hellaswag", tmp_path) == new


def prepared(tmp_path: Path, *names: str, version: str = "a") -> list[Path]:
    """Files as the library `datasets` keeps them of GSM8K, each with its configuration."""
    paths = [
        tmp_path / "made" / "openai___gsm8k" / config / "0.0.0" / version / file
        for config, file in (name.split("/") for name in names)
    ]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    return paths


def test_what_the_library_made_of_the_split(hub: Path, tmp_path: Path) -> None:
    names = ("main/gsm8k-test.arrow", "main/gsm8k-train.arrow", "main/cache-test.arrow")
    expected, *_ = prepared(tmp_path, *names, "socratic/gsm8k-test.arrow")
    assert local_file("gsm8k", tmp_path) == expected
    (newer,) = prepared(tmp_path, "main/gsm8k-test.arrow", version="b")
    os.utime(expected.parent, (1, 1))
    assert local_file("gsm8k", tmp_path) == newer
    (own,) = fetched(hub, "openai--gsm8k", "main/test.parquet")
    assert local_file("gsm8k", tmp_path) == own


def test_what_the_library_has_not_made_to_its_end_is_not_taken(hub: Path, tmp_path: Path) -> None:
    (begun,) = prepared(tmp_path, "main/gsm8k-test.arrow", version="b.incomplete")
    assert local_file("gsm8k", tmp_path) is None
    (whole,) = prepared(tmp_path, "main/gsm8k-test.arrow")
    os.utime(whole.parent, (1, 1))
    assert begun.is_file()
    assert local_file("gsm8k", tmp_path) == whole


@pytest.mark.parametrize(
    ("name", "dev", "found"),
    [
        ("all/test-00000-of-00001.parquet", "all/dev-00000-of-00001.parquet", True),
        ("all/0.0.0/a/mmlu-test.arrow", "all/0.0.0/a/mmlu-dev.arrow", True),
        ("latest-test.jsonl", "latest-dev.jsonl", True),
        ("all/test.parquet", "art/dev.parquet", False),
        ("law.jsonl", "dev.jsonl", False),
    ],
)
def test_the_split_for_shots_is_beside(tmp_path: Path, name: str, dev: str, found: bool) -> None:
    for file in (name, dev):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    beside = split_beside(DATASETS["mmlu"], tmp_path / name)
    assert beside == (tmp_path / dev if found else None)
    assert split_beside(DATASETS["gsm8k"], tmp_path / name) is None


def test_a_folder_above_is_no_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    above = tmp_path / "main"
    monkeypatch.setenv("HF_HUB_CACHE", str(above / "hub"))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(above / "made"))
    prepared(above, "socratic/gsm8k-test.arrow")
    fetched(above / "hub", "openai--gsm8k", "socratic/test.parquet")
    assert local_file("gsm8k", tmp_path) is None


def test_it_says_where_it_looked(hub: Path, tmp_path: Path) -> None:
    words = how_to_get("gsm8k", tmp_path / "own")
    looked = places("gsm8k", tmp_path / "own")
    assert len(looked) == 3
    assert all(place in words for place in looked)
    assert f"{hub}/datasets--openai--gsm8k or {tmp_path}/made/openai___gsm8k." in words


def test_it_says_where_to_put_a_file_and_what_fetches_it(tmp_path: Path) -> None:
    words = how_to_get("gsm8k", tmp_path)
    assert f"with the columns question, answer, into {tmp_path} as gsm8k.jsonl" in words
    assert words.endswith("depthtui run demo --task gsm8k")
