"""Arrays in npy, npz and safetensors files, of which one layer at a time is read."""

from __future__ import annotations

import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from depthtui.errors import DepthError, first_line, short_repr
from depthtui.files import open_regular, system_reason
from depthtui.models.free_space import free_memory
from depthtui.models.integrity import read_header
from depthtui.sizes import format_size

SUFFIXES = (".npy", ".npz", ".safetensors")

_PICKLED = (".pt", ".pth", ".pkl", ".pickle", ".bin")
_WRITE_AGAIN = "Have it written again."
_MORE_MEMORY = "Record fewer tokens, or compare where more memory is free."
_COPIES = 8
"""An array's bytes are in memory up to so many times while two recordings are compared."""

_LIBRARY_ERRORS = (
    *(ValueError, TypeError, LookupError, RuntimeError, MemoryError, OverflowError, EOFError),
    *(zipfile.BadZipFile, zlib.error, tokenize.TokenError, struct.error, SafetensorError),
)
"""What NumPy, zipfile, safetensors and torch raise where a file is damaged."""

_DTYPES = {
    **{"<f8": torch.float64, "<f4": torch.float32, "<f2": torch.float16},
    # NumPy has no bfloat16: ml_dtypes saves two bytes without a type.
    **{"<V2": torch.bfloat16, "|V2": torch.bfloat16},
    **{"<i8": torch.int64, "<i4": torch.int32, "<i2": torch.int16, "<u4": torch.uint32},
    **{"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16},
    **{"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "U32": torch.uint32},
}
"""The dtypes that are read, by their names in headers."""


@dataclass(frozen=True)
class _Layout:
    """Where the numbers of an array are in a file: from a byte on; `is_fortran` by columns."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    begin: int
    is_fortran: bool = False

    def check_memory(self, count: int) -> None:
        """Check that some numbers can be compared in memory, before they are read."""
        need, free = _COPIES * count * self.dtype.itemsize, free_memory()
        if need > free:
            sizes = f"{format_size(need)} of memory, and {format_size(free)} are free"
            raise MemoryError(f"comparing its {count:,} numbers takes {sizes}")

    def read(self, file: IO[bytes], first: int, count: int) -> bytes:
        """The bytes of some numbers."""
        size = self.dtype.itemsize
        file.seek(self.begin + first * size)
        content = file.read(count * size)
        if len(content) != count * size:
            raise ValueError("it is cut short")
        return content


@dataclass(frozen=True)
class StoredArray:
    """An array in a file.

    Attributes:
        name: its name below the folder, without the endings of files.
        place: the file, and the name in it, for people.
        path: the file.
        key: the name in the file; empty in a npy file, which has one array.
    """

    name: str
    place: str
    path: Path
    key: str

    def shape(self) -> tuple[int, ...]:
        """The shape, by the header.

        Raises:
            DepthError: the file is damaged, or the array has other values than numbers.
        """
        with self._opened() as (_, layout):
            return layout.shape

    def read(self, index: int | None = None, axis: int = 0) -> Tensor:
        """The array, or one slice of it along an axis, 0 or 1.

        Raises:
            DepthError: the file is damaged, or the array has other values than numbers.
        """
        with self._opened() as (file, layout):
            shape = layout.shape
            if index is None or layout.is_fortran:
                layout.check_memory(math.prod(shape))
                values = _tensor(layout.read(file, 0, math.prod(shape)), layout.dtype)
                if layout.is_fortran:
                    values = values.reshape(shape[::-1]).permute(*reversed(range(len(shape))))
                whole = values.reshape(shape)
                return whole if index is None else whole.select(axis, index)
            rest = shape[1 + axis :]
            rows = range(shape[0]) if axis else range(1)
            count = math.prod(rest)
            layout.check_memory(len(rows) * count)
            starts = [(row * shape[axis] + index) * count for row in rows]
            content = b"".join(layout.read(file, start, count) for start in starts)
            return _tensor(content, layout.dtype).reshape(*shape[:axis], *rest)

    @contextmanager
    def _opened(self) -> Iterator[tuple[IO[bytes], _Layout]]:
        with _damage_of(self.place), open_regular(self.path) as file:
            if self.path.suffix == ".safetensors":
                header, begin = read_header(self.path)
                entry = header[self.key]
                begin += entry["data_offsets"][0]
                yield file, _Layout(tuple(entry["shape"]), _dtype(entry["dtype"]), begin)
            elif not self.key:
                yield file, _npy_layout(file)
            else:
                with zipfile.ZipFile(file) as archive, archive.open(self.key) as member:
                    yield member, _npy_layout(member)


def _npy_layout(file: IO[bytes]) -> _Layout:
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    shape, is_fortran, dtype = readers[np.lib.format.read_magic(file)](file)
    if min(shape, default=0) < 0:
        raise ValueError(f"its shape is {short_repr(list(shape))}")
    return _Layout(shape, _dtype(dtype.str), file.tell(), is_fortran)


def _dtype(name: str) -> torch.dtype:
    if name == "|O":
        raise ValueError("it has Python objects, which take unpickling, and that is never done")
    if name not in _DTYPES:
        raise ValueError(f"it has values of the type {short_repr(name)}")
    return _DTYPES[name]


def _tensor(content: bytes, dtype: torch.dtype) -> Tensor:
    if not content:
        raise ValueError("it has no numbers")
    return torch.frombuffer(bytearray(content), dtype=dtype)


def find_arrays(place: Path) -> list[StoredArray]:
    """The arrays of a file, or of all files below a folder.

    Raises:
        DepthError: there are none, or a file of several is damaged.
    """
    with _damage_of(str(place)):
        is_there = place.exists()
        files = sorted(place.rglob("*")) if place.is_dir() else [place] * is_there
        arrays = [array for path in files for array in _arrays_of(path, place)]
    if not is_there:
        raise DepthError(f"There is no file or folder {place}.", "Check its name.")
    if not arrays:
        pickles = [path.name for path in files if path.suffix in _PICKLED]
        hint = "`depthtui help diff` has programs that write recordings."
        if pickles:
            hint = f"{pickles[0]} is a pickle, which is never read: save it as safetensors."
        raise DepthError(f"{place} has no arrays in {', '.join(SUFFIXES)} files.", hint)
    return arrays


def _arrays_of(path: Path, place: Path) -> Iterator[StoredArray]:
    if path.suffix not in SUFFIXES:
        return
    below = path.relative_to(place) if path != place else Path(path.name)
    stem = below.with_suffix("").as_posix()
    if path.suffix == ".npy":
        yield StoredArray(stem, str(path), path, "")
        return
    with _damage_of(str(path)), open_regular(path) as file:
        if path.suffix == ".npz":
            with zipfile.ZipFile(file) as archive:
                keys = [key for key in archive.namelist() if key.endswith(".npy")]
        else:
            # The library refuses parts that overlap, or are of another size than their shape.
            with safe_open(path, "pt") as tensors:
                keys = sorted(tensors.keys())
    for key in keys:
        name = key.removesuffix(".npy")
        yield StoredArray(f"{stem}/{name}", f"{path}, {name}", path, key)


@contextmanager
def _damage_of(place: str) -> Iterator[None]:
    """Turn the errors of a file's libraries into one for people."""
    try:
        yield
    except DepthError as error:
        raise DepthError(error.message, _WRITE_AGAIN) from error
    except OSError as error:
        raise DepthError(f"{place} cannot be read: {system_reason(error)}.") from error
    except _LIBRARY_ERRORS as error:
        hint = _MORE_MEMORY if isinstance(error, MemoryError) else _WRITE_AGAIN
        raise DepthError(f"{place} cannot be read: {first_line(error)}.", hint) from error
