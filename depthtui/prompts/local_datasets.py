"""Published data sets that lie on this disk: where they are looked for, and how others come here.

The commands and the explorer all ask here.
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
"""Of a data set's file in the folder of data sets, the first that is there."""

PREPARED = ".arrow"
"""Of what the library `datasets` keeps."""

_BEGUN = ".incomplete"
"""Of the folder in which that library makes it; one that was ended leaves it behind."""


def local_file(name: str, folder: Path) -> Path | None:
    """The file of a data set, or None where it has to be fetched.

    In the folder of data sets it is called after the set, such as `gsm8k.jsonl`; else it may be
    what the hub's client or the library `datasets` fetched before.
    """
    dataset = DATASETS[name]
    files = (folder / f"{name}{suffix}" for suffix in SUFFIXES)
    own = next((path for path in files if path.is_file()), None)
    return own or _fetched(dataset) or _prepared(dataset)


def places(name: str, folder: Path) -> list[str]:
    """Where `local_file` looks, in words."""
    dataset = DATASETS[name]
    return [str(folder), str(_repository(dataset)), str(_prepared_folder(dataset))]


def how_to_put(name: str, folder: Path) -> str:
    """What to do so that a data set is found that is in no place; a clause without an end."""
    columns = ", ".join(spellings[0] for spellings in DATASETS[name].columns)
    names = " or ".join(f"{name}{suffix}" for suffix in SUFFIXES)
    return f"Put its file, with the columns {columns}, into {folder} as {names}"


def how_to_get(name: str, folder: Path) -> str:
    """How a data set that is not here comes here, in sentences."""
    dataset = DATASETS[name]
    command = f"depthtui run demo --task {name}"
    fetch = f"or have it fetched from {dataset.hub_id} by: {command}"
    if find_spec("datasets") is None:
        fetch = f"or install what fetches it: {install_extra('datasets')}; then: {command}"
    return f"{not_here(name, folder)} {how_to_put(name, folder)}; {fetch}"


def not_here(name: str, folder: Path) -> str:
    """That a data set is in none of the places, a sentence."""
    *others, last = places(name, folder)
    return f"{DATASETS[name].title} is not on this disk: not in {', '.join(others)} or {last}."


def _repository(dataset: Dataset) -> Path:
    """Where the hub's client keeps what it fetched of a set."""
    return hub_cache() / f"datasets--{dataset.hub_id.replace('/', '--')}"


def _prepared_folder(dataset: Dataset) -> Path:
    """Where the library `datasets` keeps what it made of a set."""
    return prepared_datasets() / dataset.hub_id.replace("/", "___")


def _fetched(dataset: Dataset) -> Path | None:
    """The file of the set's split among what was fetched from the hub; None unless it is one."""
    try:
        snapshot = _newest((_repository(dataset) / "snapshots").iterdir())
        files = sorted(path for path in snapshot.rglob("*") if path.is_file())
    except (OSError, ValueError):
        return None
    # Beside Parquet, JSON describes the repository.
    for suffix in reversed(SUFFIXES):
        found = [path for path in files if path.suffix.lower() == suffix]
        if found:
            return _of_split(dataset, found, snapshot)
    return None


def _prepared(dataset: Dataset) -> Path | None:
    """The same among what the library `datasets` made of it: of its newest version."""
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
    # What others computed from the set lies beside it.
    own = [path for path in files if not path.stem.startswith("cache-")]
    return _of_split(dataset, [path for path in own if path.parent == newest], folder)


def _newest(paths: Iterable[Path]) -> Path:
    return max(paths, key=lambda path: path.stat().st_mtime)


def _of_split(dataset: Dataset, files: list[Path], folder: Path) -> Path | None:
    """The one file of the set's split and configuration; None where there is none or are more."""
    candidates = [
        path
        for path in files
        if dataset.split.lower() in path.stem.lower()
        and _is_of_configuration(dataset, path, folder)
    ]
    if not candidates:
        # A repository of one split may not name it.
        candidates = [path for path in files if not any(map(path.stem.lower().count, _SPLITS))]
    return candidates[0] if len(candidates) == 1 else None


def _is_of_configuration(dataset: Dataset, path: Path, folder: Path) -> bool:
    """Whether a file lies where the set's configuration does, below the set's folder."""
    return not dataset.config or dataset.config in path.relative_to(folder).parts
