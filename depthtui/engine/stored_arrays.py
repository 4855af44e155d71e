"""Arrays in npy, npz and safetensors files, of which one layer at a time is read."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from depthtui.errors import DepthError, first_line
from depthtui.files import open_regular, system_reason
from depthtui.models.integrity import check_safetensors, read_header

SUFFIXES = (".npy", ".npz", ".safetensors")
_PICKLED = (".pt", ".pth", ".pkl", ".pickle", ".bin")
_WRITE_AGAIN = "Have it written again."

Opener = Callable[[], BinaryIO]
"""Opens the bytes of an array in npy format."""


@dataclass(frozen=True)
class StoredArray:
    """An array in a file.

    Attributes:
        name: its name below the folder, without the endings of files.
        place: the file, and the name in it, for people.
        path: the file.
        key: the name in a safetensors file; None in npy format.
        opener: opens it in npy format.
    """

    name: str
    place: str
    path: Path
    key: str | None
    opener: Opener

    def shape(self) -> tuple[int, ...]:
        """The shape, by the header.

        Raises:
            DepthError: the file is damaged.
        """
        with _damage_of(self.place):
            if self.key is not None:
                return tuple(read_header(self.path)[0][self.key]["shape"])
            with self.opener() as file:
                return _NpyHeader.read(file).shape

    def read(self, index: int | None = None, axis: int = 0) -> Tensor:
        """The array, or one slice of it along an axis, 0 or 1.

        Raises:
            DepthError: the file is damaged, or has no numbers; pickles are refused.
        """
        with _damage_of(self.place):
            return self._from_safetensors(index, axis) if self.key else self._from_npy(index, axis)

    def _from_safetensors(self, index: int | None, axis: int) -> Tensor:
        with safe_open(self.path, "pt") as tensors:
            if index is None:
                return tensors.get_tensor(self.key)
            part = tensors.get_slice(self.key)
            return part[index] if axis == 0 else part[:, index]

    def _from_npy(self, index: int | None, axis: int) -> Tensor:
        with self.opener() as file:
            header = _NpyHeader.read(file)
            if index is None or axis or header.is_fortran:
                order = header.shape[::-1] if header.is_fortran else header.shape
                values = header.values(file, math.prod(order)).reshape(order)
                values = values.T if header.is_fortran else values
                whole = _tensor(values)
                return whole if index is None else whole.select(axis, index)
            count = math.prod(header.shape[1:])
            file.seek(index * count * header.dtype.itemsize, 1)
            return _tensor(header.values(file, count).reshape(header.shape[1:]))


@dataclass(frozen=True)
class _NpyHeader:
    """The header of an array in npy format, behind which its values begin."""

    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype

    @classmethod
    def read(cls, file: BinaryIO) -> _NpyHeader:
        version = np.lib.format.read_magic(file)
        readers = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        if version not in readers:
            raise ValueError(f"it has the version {version[0]}.{version[1]}")
        header = cls(*readers[version](file))
        if header.dtype.hasobject:
            raise ValueError("it holds Python objects, which only unpickling reads")
        return header

    def values(self, file: BinaryIO, count: int) -> np.ndarray:
        """The next values of a file, flat."""
        size = count * self.dtype.itemsize
        content = file.read(size)
        if len(content) != size:
            raise ValueError("it is cut short")
        return np.frombuffer(bytearray(content), self.dtype)


def _tensor(values: np.ndarray) -> Tensor:
    """An array as a tensor; two bytes without a type are bfloat16, as ml_dtypes saves it."""
    if values.dtype.kind == "V" and values.dtype.itemsize == 2:
        return torch.from_numpy(values.view(np.int16).copy()).view(torch.bfloat16)
    if values.dtype.kind not in "fiu" or values.dtype.itemsize > 8:
        raise ValueError(f"it holds {values.dtype}, and no numbers that can be compared")
    return torch.from_numpy(np.array(values, values.dtype.newbyteorder("=")))


def find_arrays(place: Path) -> list[StoredArray]:
    """The arrays of a file, or of all files below a folder, by name.

    Raises:
        DepthError: there are none, or a file is damaged.
    """
    if not place.exists():
        raise DepthError(f"There is no file or folder {place}.", "Check its name.")
    try:
        files = sorted(place.rglob("*")) if place.is_dir() else [place]
    except OSError as error:
        raise DepthError(f"{place} cannot be read: {system_reason(error)}.") from error
    readable = [path for path in files if path.suffix in SUFFIXES]
    arrays = [array for path in readable for array in _arrays_of(path, place)]
    if not arrays:
        pickled = [path.name for path in files if path.suffix in _PICKLED]
        hint = "`depthtui help diff` has programs that write recordings."
        if pickled:
            hint = f"{pickled[0]} is a pickle, which is never read: save it as safetensors."
        raise DepthError(f"{place} has no arrays in {', '.join(SUFFIXES)} files.", hint)
    return arrays


def _arrays_of(path: Path, place: Path) -> Iterator[StoredArray]:
    relative = path.relative_to(place) if path != place else Path(path.name)
    stem = relative.with_suffix("").as_posix()
    if path.suffix == ".npy":
        yield StoredArray(stem, str(path), path, None, lambda: open_regular(path))
        return
    with _damage_of(str(path)):
        if path.suffix == ".safetensors":
            check_safetensors(path)
            keys = sorted(read_header(path)[0])
        else:
            with zipfile.ZipFile(open_regular(path)) as archive:
                keys = [key for key in archive.namelist() if key.endswith(".npy")]
    for key in keys:
        name = key.removesuffix(".npy") if path.suffix == ".npz" else key
        yield StoredArray(
            f"{stem}/{name}",
            f"{path}, {name}",
            path,
            key if path.suffix == ".safetensors" else None,
            lambda key=key: zipfile.ZipFile(open_regular(path)).open(key),
        )


@contextmanager
def _damage_of(place: str) -> Iterator[None]:
    """Turn the errors of a file's libraries into one for people."""
    try:
        yield
    except DepthError as error:
        raise DepthError(error.message, _WRITE_AGAIN) from error
    except OSError as error:
        raise DepthError(f"{place} cannot be read: {system_reason(error)}.") from error
    except (
        ValueError,
        TypeError,
        LookupError,
        EOFError,
        NotImplementedError,
        RuntimeError,
        MemoryError,
        zipfile.BadZipFile,
        zipfile.zlib.error,
        SafetensorError,
    ) as error:
        raise DepthError(f"{place} cannot be read: {first_line(error)}.", _WRITE_AGAIN) from error
