"""Whole files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from depthtui.errors import DepthError
from depthtui.models.integrity import check_safetensors


@pytest.fixture
def weights(tmp_path) -> Path:
    path = tmp_path / "model.safetensors"
    save_file({"a": np.arange(6.0), "b": np.zeros((2, 3))}, path)
    return path


def test_a_whole_file_passes_and_one_byte_more_does_not(weights) -> None:
    check_safetensors(weights)
    length = weights.stat().st_size
    with weights.open("ab") as file:
        file.write(b"\0")
    with pytest.raises(DepthError, match=f"{length + 1:,} bytes where it should have {length:,}"):
        check_safetensors(weights)


@pytest.mark.parametrize(
    "header", ["[" * 40_000, "[]", '{"a": 1}', '{"a": {}}', '{"a": NaN}', "9" * 5000]
)
def test_a_header_that_is_none_is_damage(header: str, weights: Path) -> None:
    weights.write_bytes(len(header).to_bytes(8, "little") + header.encode())
    with pytest.raises(DepthError, match="is damaged: its header cannot be read"):
        check_safetensors(weights)


@pytest.mark.parametrize("keep", [0, 4, 8, 20, -1])
def test_a_file_cut_short_is_named(keep, weights) -> None:
    weights.write_bytes(weights.read_bytes()[:keep])
    with pytest.raises(DepthError, match=r"model\.safetensors"):
        check_safetensors(weights)


@pytest.mark.parametrize(
    "content",
    [
        b"<html>not found</html>",
        b"\x02" + b"\0" * 7 + b"[]",
        b"\x02" + b"\0" * 7 + b"{}",
        b"\xff" * 64,
        (100_000).to_bytes(8, "little") + b"[" * 100_000,
        (5006).to_bytes(8, "little") + b'{"a":' + b"9" * 5000 + b"}",
        b"\x19" + b"\0" * 7 + b'{"a":{"data_offsets":"x"}}',
    ],
    ids=lambda content: repr(content[:20]),
)
def test_another_file_is_named(content, weights) -> None:
    weights.write_bytes(content)
    with pytest.raises(DepthError, match=r"model\.safetensors"):
        check_safetensors(weights)


def test_a_missing_file_is_named(tmp_path) -> None:
    with pytest.raises(DepthError, match="is missing"):
        check_safetensors(tmp_path / "model-00002-of-00002.safetensors")
