"""Published data sets on this disk: where they are searched, and how to get missing ones.

The commands and the explorer all use this module.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from depthtui.installing import install_extra
from depthtui.prompts.dataset_formats import DATASETS, Dataset
from depthtui.settings import hub_cache, prepared_datasets

_SPLITS = ("train", "test", "valid", "dev")

SUFFIXES = (".jsonl", ".json", ".parquet")
"""Suffixes of a data set's file in the folder of data sets; the first existing file is used."""

PREPARED = ".arrow"
"""Suffix of the files that the library `datasets` keeps."""

_BEGUN = ".incomplete"
"""Suffix of the folder in which this library works; an interrupted process leaves it behind."""


def local_file(name: str, folder: Path) -> Path | None:
    """The file of a data set, or None where it has to be fetched.

    In the folder of data sets it is named after the set, such as `gsm8k.jsonl`; else it may be
    a file that the hub's client or the library `datasets` fetched before.
    """
    dataset = DATASETS[name]
    files = (folder / f"{name}{suffix}" for suffix in SUFFIXES)
    own = next((path for path in files if path.is_file()), None)
    return own or _fetched_file(dataset) or _prepared_file(dataset)


def split_beside(dataset: Dataset, file: Path) -> Path | None:
    """The file of the split for shots: beside a file, and named alike with this split in its name.

    None where there is none.
    """
    before, split, after = file.name.rpartition(dataset.split)
    beside = file.with_name(f"{before}{dataset.shots_split}{after}")
    return beside if split and dataset.shots_split and beside.is_file() else None


def places(name: str, folder: Path) -> list[str]:
    """The places that `local_file` searches, in words."""
    dataset = DATASETS[name]
    return [str(folder), str(_repository(dataset)), str(_prepared_folder(dataset))]


def how_to_put(name: str, folder: Path) -> str:
    """Where to put a data set that is in none of the places; a clause without a full stop."""
    columns = ", ".join(spellings[0] for spellings in DATASETS[name].columns)
    names = " or ".join(f"{name}{suffix}" for suffix in SUFFIXES)
    return f"Put its file, with the columns {columns}, into {folder} as {names}"


def how_to_get(name: str, folder: Path) -> str:
    """How to get a data set that is not on this disk, in sentences."""
    dataset = DATASETS[name]
    command = f"depthtui run demo --task {name}"
    fetch = f"or have it fetched from {dataset.hub_id} by: {command}"
    if find_spec("datasets") is None:
        fetch = f"or install what fetches it: {install_extra('datasets')}; then: {command}"
    return f"{absence_words(name, folder)} {how_to_put(name, folder)}; {fetch}"


def absence_words(name: str, folder: Path) -> str:
    """A sentence that a data set is in none of the places."""
    *others, last = places(name, folder)
    return f"{DATASETS[name].title} is not on this disk: not in {', '.join(others)} or {last}."


def _repository(dataset: Dataset) -> Path:
    """The folder in which the hub's client keeps a fetched set."""
    return hub_cache() / f"datasets--{dataset.hub_id.replace('/', '--')}"


def _prepared_folder(dataset: Dataset) -> Path:
    """The folder in which the library `datasets` keeps its files of a set."""
    return prepared_datasets() / dataset.hub_id.replace("/", "___")


def _fetched_file(dataset: Dataset) -> Path | None:
    """The file of the set's split among those fetched from the hub; None for none or several."""
    try:
        snapshot = _newest((_repository(dataset) / "snapshots").iterdir())
        files = sorted(path for path in snapshot.rglob("*") if path.is_file())
    except (OSError, ValueError):
        return None
    # In a repository with Parquet files, JSON files only describe it.
    for suffix in reversed(SUFFIXES):
        of_suffix = [path for path in files if path.suffix.lower() == suffix]
        if of_suffix:
            return _file_of_split(dataset, of_suffix, snapshot)
    return None


def _prepared_file(dataset: Dataset) -> Path | None:
    """The file of the set's split in its newest version by the library `datasets`, or None."""
    folder = _prepared_folder(dataset)
    try:
        files = [
            path
            for path in sorted(folder.rglob(f"*{PREPARED}"))
            if _is_of_configuration(dataset, path, folder) and path.parent.suffix != _BEGUN
        ]
        newest = _newest({path.parent for path in files})
    except (OSError, ValueError):
        return None
    # Files computed from the set are in the same folder.
    own = [path for path in files if not path.stem.startswith("cache-")]
    return _file_of_split(dataset, [path for path in own if path.parent == newest], folder)


def _newest(paths: Iterable[Path]) -> Path:
    return max(paths, key=lambda path: path.stat().st_mtime)


def _file_of_split(dataset: Dataset, files: list[Path], folder: Path) -> Path | None:
    """The file of the set's split and configuration; None where there are none or several."""
    candidates = [
        path
        for path in files
        if dataset.split.lower() in path.stem.lower()
        and _is_of_configuration(dataset, path, folder)
    ]
    if not candidates:
        # A repository with one split may not name it.
        candidates = [path for path in files if not any(map(path.stem.lower().count, _SPLITS))]
    return candidates[0] if len(candidates) == 1 else None


def _is_of_configuration(dataset: Dataset, path: Path, folder: Path) -> bool:
    """Whether a file is in the folder of the set's configuration, below the set's folder."""
    return not dataset.config or dataset.config in path.relative_to(folder).parts
