"""Whether a model's files are whole, and which of them its results depend on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from depthtui.errors import DepthError
from depthtui.files import open_regular, parse_json, system_reason
from depthtui.models.catalog import MADE_FROM, weight_files
from depthtui.models.fingerprints import fingerprint

_HEADER_LIMIT = 100_000_000
_AGAIN = "Fetch it again."
_FINGERPRINTED = ("*.json", "*.jinja", "*.py", "*.model", "*.txt", "*.tiktoken")


def check_safetensors(path: Path) -> None:
    """Check that a safetensors file has the length that its header implies.

    Raises:
        DepthError: it is missing, truncated or no safetensors file.
    """
    header, begin = read_header(path)
    try:
        expected = begin + max(entry["data_offsets"][1] for entry in header.values())
    except (ValueError, LookupError, TypeError) as error:
        raise _damage_error(path) from error
    size = path.stat().st_size
    if size != expected:
        raise DepthError(f"{path} has {size:,} bytes where it should have {expected:,}.", _AGAIN)


def read_header(path: Path) -> tuple[dict[str, Any], int]:
    """The header's entry for each tensor of a safetensors file, and where their bytes begin.

    Raises:
        DepthError: it is missing, truncated or no safetensors file.
    """
    try:
        size = path.stat().st_size
        with open_regular(path) as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(size - 8, _HEADER_LIMIT):
                raise DepthError(f"{path} is cut short, or no safetensors file.", _AGAIN)
            header: dict[str, Any] = parse_json(file.read(length))
        header.pop("__metadata__", None)
    except FileNotFoundError as error:
        raise DepthError(f"{path} is missing.", _AGAIN) from error
    except OSError as error:
        raise DepthError(f"{path} cannot be read: {system_reason(error)}.") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise _damage_error(path) from error
    return header, 8 + length


def _damage_error(path: Path) -> DepthError:
    return DepthError(f"{path} is damaged: its header cannot be read.", _AGAIN)


def check_files_are_ordinary(folder: Path) -> None:
    """Check that no file of a model is a device or a pipe, which a library would read without end.

    Raises:
        DepthError: a file is one of these.
    """
    for path in folder.iterdir():
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise DepthError(f"{path} is no ordinary file.", "Fetch the model again.")


def is_whole(folder: Path) -> bool:
    """Whether a converted model is complete, judged by the lengths of its files."""
    if not all((folder / name).is_file() for name in ("config.json", "tokenizer.json", MADE_FROM)):
        return False
    try:
        for file_ in weight_files(folder):
            check_safetensors(file_)
    except DepthError:
        return False
    return True


def model_files(folder: Path) -> list[Path]:
    """The files of a model folder on which its results depend."""
    small = [path for pattern in _FINGERPRINTED for path in folder.glob(pattern)]
    return sorted({*small, *weight_files(folder)})


def converted_folder(
    gguf: Path, models_dir: Path, report: Callable[[int, int], None] = lambda done, total: None
) -> Path:
    """The model store's folder for a converted GGUF file, existing or not.

    `report` is called with bytes read and bytes to read, where the file was not read before.
    """
    digest = fingerprint([gguf], hash_file_in(models_dir), report)
    return models_dir / f"{gguf.stem[:80]}-{digest[:12]}"


def hash_file_in(models_dir: Path) -> Path:
    """The file with the hashes of large files: beside the model store."""
    return models_dir.parent / "fingerprints.json"
