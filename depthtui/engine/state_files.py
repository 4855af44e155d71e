"""Files of states that vLLM has written: lists them and reads their headers.

`extract_hidden_states` of vLLM (0.18 and later) writes a safetensors file for each request:
`hidden_states` `[tokens, states, width]`, in the served dtype, and `token_ids` `[tokens]`.
The file does not contain the ids of its layers. They ascend: id l is the residual stream before
layer l, and id L, the number of layers, the stream after the last one, before the final norm.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from depthtui.errors import DepthError, short_repr
from depthtui.files import system_reason
from depthtui.models.integrity import check_safetensors, read_header

ENGINE = "vLLM"
"""The engine that writes these files."""

STATES, TOKEN_IDS = "hidden_states", "token_ids"
"""The names of the tensors in a file."""

_DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
_ID_DTYPES = ("I64", "I32")
_NUMBERS = re.compile(r"(\d+)")
_ASK_VLLM = "vLLM's `extract_hidden_states` writes them; `depthtui help states` says how."


@dataclass(frozen=True)
class StateFile:
    """The header of a file of states.

    Attributes:
        path: the file.
        tokens, states, width: the shape of its states.
        dtype: the dtype of its states, such as `bfloat16`.
    """

    path: Path
    tokens: int
    states: int
    width: int
    dtype: str


def find_state_files(place: Path) -> list[Path]:
    """The safetensors files of a folder, in the order of the numbers in their names.

    Raises:
        DepthError: the folder cannot be read, or has no such file.
    """
    try:
        files = [path for path in place.iterdir() if path.suffix == ".safetensors"]
    except FileNotFoundError as error:
        raise DepthError(f"There is no folder {place}.", "Check its name.") from error
    except NotADirectoryError as error:
        raise DepthError(
            f"{place} is no folder.", "Name the folder that the file is in."
        ) from error
    except (OSError, ValueError) as error:
        raise DepthError(f"{place} cannot be read: {system_reason(error)}.") from error
    if not files:
        raise DepthError(f"{place} holds no states: it has no .safetensors file.", _ASK_VLLM)
    return sorted(files, key=_in_order)


def served_dtype(files: Sequence[Path]) -> str:
    """The dtype of the first readable file.

    Raises:
        DepthError: none can be read; the message is the reason for the first.
    """
    first: DepthError | None = None
    for path in files:
        try:
            return read_state_file(path).dtype
        except DepthError as error:
            first = first or error
    assert first is not None
    raise first


def read_state_file(path: Path) -> StateFile:
    """Read a file's header; the states are not read.

    Raises:
        DepthError: the file is damaged, or no file of states.
    """
    try:
        header = read_header(path)[0]
        check_safetensors(path)
    except DepthError as error:
        hint = "vLLM may not have ended it yet; else have it written again."
        raise DepthError(error.message, hint) from error
    except OSError as error:
        raise DepthError(f"{path} cannot be read: {system_reason(error)}.") from error
    lacking_names = [name for name in (STATES, TOKEN_IDS) if name not in header]
    if lacking_names:
        raise DepthError(f"{path} holds no {' and no '.join(lacking_names)}.", _ASK_VLLM)
    dtype, sides = _dtype_and_shape(path, header, STATES, tuple(_DTYPES))
    _, id_sides = _dtype_and_shape(path, header, TOKEN_IDS, _ID_DTYPES)
    if len(sides) != 3 or not all(sides) or id_sides != sides[:1]:
        raise DepthError(
            f"{path} has {STATES} of shape {short_repr(sides)} and {TOKEN_IDS} of shape "
            f"{short_repr(id_sides)}, not [tokens, states, width] and [tokens].",
            _ASK_VLLM,
        )
    return StateFile(path, *sides, dtype=_DTYPES[dtype])


def _dtype_and_shape(
    path: Path, header: dict[str, Any], name: str, dtypes: tuple[str, ...]
) -> tuple[str, tuple[int, ...]]:
    """Dtype and shape of a tensor, by the header."""
    entry = header[name]
    dtype, sides = entry.get("dtype"), entry.get("shape")
    if dtype not in dtypes:
        raise DepthError(
            f"{path} has {name} in {short_repr(dtype)}; it can be read in {', '.join(dtypes)}."
        )
    if not isinstance(sides, list) or not all(type(side) is int for side in sides):
        raise DepthError(f"{path} is damaged: {name} has the shape {short_repr(sides)}.")
    return dtype, tuple(sides)


def _in_order(path: Path) -> list[str | int]:
    parts = _NUMBERS.split(path.name)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)]
