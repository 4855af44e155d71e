"""Whether a model's weights are still those that a record was computed with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from depthtui.data.protocol import Progress
from depthtui.data.run_settings import ModelSpec
from depthtui.errors import DepthError
from depthtui.models.catalog import cached_snapshot, resolve
from depthtui.models.fingerprints import fingerprint, reading
from depthtui.models.integrity import converted_folder, known_hashes, model_files


def fingerprint_on_disk(
    spec: ModelSpec, models_dir: Path, emit: Callable[[Progress], None]
) -> str | None:
    """The fingerprint that the model would have if it were loaded; None where it is not here.

    Reads files alone, so that a model is not loaded only to see that nothing changed.

    Args:
        spec: the model.
        models_dir: where converted models lie.
        emit: takes how far the reading is; an exception ends it.
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
        return fingerprint(model_files(folder), known_hashes(models_dir), report)
    except (DepthError, OSError):
        return None
