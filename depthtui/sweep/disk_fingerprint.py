"""Whether a model's weights are still those that a record was computed with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from depthtui.data.protocol import Progress
from depthtui.data.run_settings import ModelSpec
from depthtui.errors import DepthError
from depthtui.models.adapter_files import adapter_on_disk
from depthtui.models.catalog import cached_snapshot, resolve
from depthtui.models.fingerprints import fingerprint, fingerprint_with, reading
from depthtui.models.integrity import converted_folder, hash_file_in, model_files


def fingerprint_on_disk(
    spec: ModelSpec, models_dir: Path, emit: Callable[[Progress], None]
) -> str | None:
    """The fingerprint that the model would have if loaded; None where its files are not on disk.

    Reads files alone: no model is loaded only to find that nothing changed.

    Args:
        spec: the model.
        models_dir: folder of converted models.
        emit: receives the progress of the reading; an exception from it ends the reading.
    """

    def report(done: int, total: int) -> None:
        emit(reading(done, total))

    try:
        source = resolve(spec, models_dir)
        folder: Path | None = Path(source.location)
        if source.kind == "hub":
            folder = cached_snapshot(source.location, source.revision)
        elif source.kind == "gguf":
            folder = converted_folder(Path(source.location), models_dir, report)
        if folder is None:
            return None
        hashes = hash_file_in(models_dir)
        base = fingerprint(model_files(folder), hashes, report)
        if not spec.adapter:
            return base
        adapter = adapter_on_disk(spec.adapter)
        return (
            None if adapter is None else fingerprint_with(base, fingerprint(adapter.files, hashes))
        )
    except (DepthError, OSError):
        return None
