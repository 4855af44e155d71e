"""Whole files and fingerprints."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from depthtui.errors import DepthError
from depthtui.models.catalog import MADE_FROM
from depthtui.models.integrity import check_safetensors, fingerprint


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


class TestFingerprint:
    def large(self, path: Path) -> Path:
        path.write_bytes(bytes(20 << 20))
        os.utime(path, (1, 1))
        return path

    @pytest.mark.parametrize("place", [0, 1 << 19, -1, 20 * (1 << 20) // 9 + 7])
    def test_it_changes_with_the_contents(self, place, tmp_path) -> None:
        path = self.large(tmp_path / "a")
        before = fingerprint([path])
        content = bytearray(path.read_bytes())
        content[place] ^= 1
        path.write_bytes(content)
        os.utime(path, (1, 1))
        assert fingerprint([path]) != before

    def test_it_changes_with_the_size_the_name_and_the_time(self, tmp_path) -> None:
        path = self.large(tmp_path / "a")
        before = fingerprint([path])
        assert fingerprint([path]) == before
        os.utime(path, (2, 2))
        assert fingerprint([path]) != before
        os.utime(path, (1, 1))
        assert fingerprint([path]) == before
        assert fingerprint([path.rename(tmp_path / "b")]) != before

    def test_the_order_of_the_files_does_not_matter(self, tmp_path) -> None:
        first, second = tmp_path / "a", tmp_path / "b"
        first.write_text("1")
        second.write_text("2")
        assert fingerprint([first, second]) == fingerprint([second, first])

    def test_a_copy_in_the_store_keeps_it(self, tmp_path) -> None:
        (tmp_path / "one").mkdir()
        (tmp_path / "one" / MADE_FROM).write_text("{}")
        self.large(tmp_path / "one" / "a")
        shutil.copytree(tmp_path / "one", tmp_path / "two")
        os.utime(tmp_path / "two" / "a", (5, 5))
        files = [sorted((tmp_path / name).iterdir()) for name in ("one", "two")]
        assert fingerprint(files[0]) == fingerprint(files[1])

    def test_the_hub_cache_names_its_files_by_contents(self, tmp_path) -> None:
        (tmp_path / "blobs").mkdir()
        (tmp_path / "snapshots").mkdir()
        blob = self.large(tmp_path / "blobs" / "abc")
        link = tmp_path / "snapshots" / "a"
        link.symlink_to(blob)
        before = fingerprint([link])
        os.utime(blob, (5, 5))
        assert fingerprint([link]) == before
        blob.rename(tmp_path / "blobs" / "def")
        link.unlink()
        link.symlink_to(tmp_path / "blobs" / "def")
        assert fingerprint([link]) != before
