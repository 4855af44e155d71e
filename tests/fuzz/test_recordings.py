"""Recordings of the residual stream, which any program may have written."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from depthtui.engine.recordings import open_recording
from depthtui.engine.stream_diff import compare_recordings
from depthtui.errors import DepthError
from depthtui.report.as_markdown import markdown_bytes
from depthtui.report.stream_diff import diff_document
from tests.fuzz.fuzzing import examples, fuzz, mutated, with_each_piece

NAMES = ("whole.npy", "named.npz", "packed.npz", "named.safetensors")


def write(path: Path) -> None:
    """A recording of two layers."""
    values = np.random.default_rng(0).standard_normal((3, 4, 5)).astype(np.float32)
    arrays = {f"state_{depth}": state for depth, state in enumerate(values)}
    arrays |= {"0_attn": values[0], "token_ids": np.arange(4)}
    match path.name:
        case "whole.npy":
            np.save(path, values)
        case "named.npz":
            np.savez(path, **arrays)
        case "packed.npz":
            np.savez_compressed(path, **arrays)
        case _:
            path.write_bytes(save(arrays))


@examples
@pytest.mark.parametrize("name", NAMES)
def test_recordings(name: str, count: int, home: Path) -> None:
    path = home / name
    write(path)
    whole = open_recording(path)
    original = path.read_bytes()
    (home / "damaged").mkdir()

    def read(data: bytes) -> None:
        damaged = home / "damaged" / name
        damaged.write_bytes(data)
        with contextlib.suppress(DepthError):
            markdown_bytes(diff_document(compare_recordings(whole, open_recording(damaged))))

    fuzz(read, mutated([original]), count, with_each_piece(original))
