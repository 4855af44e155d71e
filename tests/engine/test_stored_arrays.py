"""Arrays in files: whole, in slices, and what is refused."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from depthtui.engine.stored_arrays import StoredArray, _Layout, find_arrays
from depthtui.errors import DepthError
from tests.odd_files import ODD_FILES, put_odd_file

VALUES = np.random.default_rng(0).standard_normal((3, 4, 5)).astype(np.float32)

WRITERS: dict[str, Callable[[Path, np.ndarray], object]] = {
    "a.npy": lambda path, values: np.save(path, values),
    "a.npz": lambda path, values: np.savez(path, x=values),
    "packed.npz": lambda path, values: np.savez_compressed(path, x=values),
    "columns.npy": lambda path, values: np.save(path, np.asfortranarray(values)),
    "a.safetensors": lambda path, values: save_file({"x": torch.from_numpy(values)}, path),
}


def written(tmp_path: Path, name: str, values: np.ndarray = VALUES) -> StoredArray:
    """The one array of a file."""
    WRITERS[name](tmp_path / name, values)
    (array,) = find_arrays(tmp_path)
    return array


@pytest.mark.parametrize("name", WRITERS)
def test_an_array_is_read_whole_and_in_slices_of_both_axes(tmp_path: Path, name: str) -> None:
    array = written(tmp_path, name)
    assert array.shape() == VALUES.shape
    np.testing.assert_array_equal(array.read().numpy(), VALUES)
    for index in range(3):
        np.testing.assert_array_equal(array.read(index).numpy(), VALUES[index])
        np.testing.assert_array_equal(array.read(index, axis=1).numpy(), VALUES[:, index])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.int64])
def test_a_safetensors_file_has_any_dtype(tmp_path: Path, dtype: torch.dtype) -> None:
    values = torch.from_numpy(VALUES * 10).to(dtype)
    save_file({"x": values}, tmp_path / "x.safetensors")
    (array,) = find_arrays(tmp_path)
    assert array.read(1).equal(values[1])


def test_two_bytes_without_a_type_are_bfloat16(tmp_path: Path) -> None:
    values = torch.from_numpy(VALUES).bfloat16()
    np.save(tmp_path / "x.npy", values.view(torch.int16).numpy().view("V2"))
    (array,) = find_arrays(tmp_path)
    assert array.read().equal(values)


def test_names_are_those_below_the_folder(tmp_path: Path) -> None:
    (tmp_path / "blk.3").mkdir()
    np.save(tmp_path / "blk.3" / "l_out-3.npy", VALUES)
    np.savez(tmp_path / "all.npz", one=VALUES, two=VALUES)
    (tmp_path / "notes.txt").touch()
    assert [array.name for array in find_arrays(tmp_path)] == [
        "all/one",
        "all/two",
        "blk.3/l_out-3",
    ]
    assert [array.name for array in find_arrays(tmp_path / "all.npz")] == ["all/one", "all/two"]


def test_one_layer_of_a_file_larger_than_memory_is_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.npy"
    shape = (1000, 4096, 4096)
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "<f4", "fortran_order": False, "shape": shape}
        )
        begin = file.tell()
        file.truncate(begin + 4 * int(np.prod(shape)))
        file.seek(begin + 4 * 999 * 4096 * 4096)
        file.write(np.float32(7).tobytes())
    (array,) = find_arrays(path)
    layer = array.read(999)
    assert layer.shape == (4096, 4096)
    assert float(layer[0, 0]) == 7


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_that_is_cut_short_is_an_error_that_names_it(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    WRITERS[name](path, VALUES)
    content = path.read_bytes()
    for length in (0, 5, 40, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(DepthError, match=name) as caught:
            find_arrays(tmp_path)[0].read()
        assert caught.value.hint


@pytest.mark.parametrize("shape", [(10**5, 10**7), (-3, 5)])
@pytest.mark.parametrize("name", ["huge.npy", "huge.npz"])
def test_numbers_that_no_memory_holds_are_not_read(
    tmp_path: Path, name: str, shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(content := io.BytesIO(), header)
    if name.endswith("npz"):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("x.npy", content.getvalue())
    else:
        (tmp_path / name).write_bytes(content.getvalue())
    monkeypatch.setattr(_Layout, "read", None)
    words = r"takes 32\.0 TB of memory, and .* are free\. Record fewer tokens"
    with pytest.raises(DepthError, match=words if shape[0] > 0 else r"its shape is \[-3, 5\]"):
        find_arrays(tmp_path)[0].read()


@pytest.mark.parametrize("offsets", [[-8, 0], [0, 8], [0, 4]])
def test_offsets_that_the_safetensors_library_refuses_are_an_error(
    tmp_path: Path, offsets: list[int]
) -> None:
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    header = json.dumps({"x": entry, "y": entry | {"data_offsets": offsets}}).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(DepthError, match=r"x\.safetensors cannot be read: .*nvalid"):
        find_arrays(path)


def test_numbers_that_are_missing_are_called_so(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, VALUES)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DepthError, match=r"a\.npy cannot be read: it is cut short\."):
        find_arrays(path)[0].read()


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_python_objects_are_never_unpickled(tmp_path: Path, name: str) -> None:
    objects = np.array([{"a": 1}], object)
    with (tmp_path / name).open("wb") as file:
        np.save(file, objects) if name == "x.npy" else np.savez(file, x=objects)
    with pytest.raises(DepthError, match="Python objects"):
        find_arrays(tmp_path)[0].read()


@pytest.mark.parametrize("values", [np.zeros(3, "c8"), np.zeros(2, "U4"), np.zeros(0, "f4")])
def test_other_values_than_numbers_are_refused(tmp_path: Path, values: np.ndarray) -> None:
    np.save(tmp_path / "x.npy", values)
    with pytest.raises(DepthError, match=r"x\.npy cannot be read"):
        find_arrays(tmp_path)[0].read()


def test_a_folder_without_arrays_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DepthError, match=r"has no arrays in \.npy"):
        find_arrays(tmp_path)
    torch.save({"x": 1}, tmp_path / "states.pt")
    with pytest.raises(DepthError, match=r"states\.pt is a pickle"):
        find_arrays(tmp_path)
    with pytest.raises(DepthError, match="There is no file or folder"):
        find_arrays(tmp_path / "elsewhere")


@pytest.mark.parametrize("kind", ODD_FILES)
@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.safetensors"])
def test_what_is_no_ordinary_file_is_an_error(tmp_path: Path, name: str, kind: str) -> None:
    put_odd_file(tmp_path / name, kind)
    with pytest.raises(DepthError, match=r"x\."):
        find_arrays(tmp_path)[0].read()
