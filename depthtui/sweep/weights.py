"""Whether a model's weights are still those that a record was computed with."""

from __future__ import annotations

from pathlib import Path

from depthtui.data.run_settings import ModelSpec
from depthtui.errors import DepthError
from depthtui.models.catalog import cached_snapshot, resolve
from depthtui.models.fingerprints import fingerprint
from depthtui.models.integrity import converted_folder, known_hashes, model_files


def fingerprint_on_disk(spec: ModelSpec, models_dir: Path) -> str | None:
    """The fingerprint that the model would have if it were loaded; None where it is not here.

    Reads files alone, so that a model is not loaded only to see that nothing changed.
    """
    try:
        folder = _folder(spec, models_dir)
        if folder is None:
            return None
        return fingerprint(model_files(folder), known_hashes(models_dir))
    except (DepthError, OSError):
        return None


def _folder(spec: ModelSpec, models_dir: Path) -> Path | None:
    source = resolve(spec, models_dir)
    if source.kind == "hub":
        return cached_snapshot(source.location, source.revision)
    if source.kind == "gguf":
        return converted_folder(Path(source.location), models_dir)
    return Path(source.location)
