"""Published data sets that lie on this disk already: where, and what to do about the others."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from depthtui.installing import install_extra
from depthtui.prompts.dataset_formats import DATASETS, Dataset
from depthtui.settings import hub_cache

_SPLITS = ("train", "test", "valid", "dev")

SUFFIXES = (".jsonl", ".json", ".parquet")
"""Of a data set's file in the folder of data sets, the first that is there."""


def local_file(name: str, folder: Path) -> Path | None:
    """The file of a data set, or None where it has to be fetched.

    In the folder it is called after the set, such as `gsm8k.jsonl`; else it may be what was
    fetched from the hub before.
    """
    for suffix in SUFFIXES:
        path = folder / f"{name}{suffix}"
        if path.is_file():
            return path
    return _fetched(DATASETS[name])


def how_to_get(name: str, folder: Path) -> str:
    """How a data set that is not here comes here, in sentences."""
    dataset = DATASETS[name]
    columns = ", ".join(spellings[0] for spellings in dataset.columns)
    command = f"depthtui run demo --task {name}"
    fetch = f"or have it fetched from {dataset.hub_id} by: {command}"
    if find_spec("datasets") is None:
        fetch = f"or install what fetches it: {install_extra('datasets')}; then: {command}"
    names = " or ".join(f"{name}{suffix}" for suffix in SUFFIXES)
    return (
        f"{dataset.title} is not on this disk. Put its file, with the columns {columns}, into "
        f"{folder} as {names}; {fetch}"
    )


def _fetched(dataset: Dataset) -> Path | None:
    """The file of the set's split among what was fetched from the hub; None unless it is one."""
    repository = hub_cache() / f"datasets--{dataset.hub_id.replace('/', '--')}"
    try:
        snapshot = max((repository / "snapshots").iterdir(), key=lambda path: path.stat().st_mtime)
        files = sorted(path for path in snapshot.rglob("*") if path.is_file())
    except (OSError, ValueError):
        return None
    # Beside Parquet, JSON describes the repository.
    for suffix in reversed(SUFFIXES):
        found = [path for path in files if path.suffix.lower() == suffix]
        if found:
            return _of_split(dataset, found)
    return None


def _of_split(dataset: Dataset, files: list[Path]) -> Path | None:
    """The one file of the set's split and configuration; None where there is none or are more."""
    candidates = [path for path in files if dataset.split.lower() in path.stem.lower()]
    if dataset.config:
        candidates = [path for path in candidates if dataset.config in path.parts]
    if not candidates:
        # A repository of one split may not name it.
        candidates = [path for path in files if not any(map(path.stem.lower().count, _SPLITS))]
    return candidates[0] if len(candidates) == 1 else None
