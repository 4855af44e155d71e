"""Activations that are too large for memory lie in a file that nobody sees."""

import errno
import os

import pytest
import torch

from depthtui.errors import DepthError
from depthtui.tracing import activations
from depthtui.tracing.activations import ActivationRecorder, Activations
from depthtui.tracing.trace import LayerActivations

LAYERS, TOKENS, WIDTH = 3, 5, 4


@pytest.fixture
def layers():
    torch.manual_seed(1)
    stream, writes = torch.randn(LAYERS + 1, TOKENS, WIDTH), torch.randn(2, LAYERS, TOKENS, WIDTH)
    return [
        LayerActivations(
            index, stream[index], writes[0, index], writes[1, index], stream[index + 1]
        )
        for index in range(LAYERS)
    ]


def recorded(layers, scratch_dir):
    recorder = ActivationRecorder(LAYERS, keep_writes=True, scratch_dir=str(scratch_dir))
    for layer in layers:
        recorder.add(layer)
    return recorder.activations()


def assert_same(activations: Activations, layers):
    for one, other in zip(activations.layers(), layers, strict=True):
        for name in ("h", "attention", "mlp", "h_next"):
            torch.testing.assert_close(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize("limit", [1 << 20, 0], ids=["memory", "file"])
def test_what_is_recorded_comes_back(layers, tmp_path, monkeypatch, limit):
    monkeypatch.setattr(activations, "MEMORY_BYTES", limit)
    recording = recorded(layers, tmp_path)
    assert_same(recording, layers)
    assert not list(tmp_path.iterdir())
    again = Activations.from_bytes(recording.to_bytes())
    assert again is not None
    assert_same(again, layers)


def test_a_full_disk_is_said_before_it_can_end_the_process(layers, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(activations, "MEMORY_BYTES", 0)
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DepthError, match="no room for it"):
        recorded(layers, tmp_path)
    assert not list(tmp_path.iterdir())


def test_other_bytes_are_no_activations():
    assert Activations.from_bytes(b"no safetensors") is None
