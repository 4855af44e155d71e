"""Memory that runs out while something is tried says nothing of whether that works."""

import pytest
import torch

from depthtui.tracing.anatomy import Unembedding
from depthtui.tracing.decoding import Decoding, reads_on
from depthtui.tracing.probe import probe_architecture
from depthtui.tracing.replay import Replay
from tests.tiny_models import random_ids, tiny

RAN_OUT = [
    torch.OutOfMemoryError("CUDA out of memory."),
    RuntimeError("MPS backend out of memory"),
]


def once(monkeypatch, kind, name, error):
    """Let the next call of a method fail, and those after it work."""
    original = getattr(kind, name)
    left = [error]

    def method(*args, **kwargs):
        if left:
            raise left.pop()
        return original(*args, **kwargs)

    monkeypatch.setattr(kind, name, method)


@pytest.fixture(params=RAN_OUT, ids=str)
def error(request):
    return request.param


def test_whether_tokens_can_be_resumed_stays_open(monkeypatch, error):
    model = tiny("llama")
    replay = Replay(model, probe_architecture(model), random_ids(8)[0])
    once(monkeypatch, Replay, "run_layer", error)
    with pytest.raises(type(error), match="memory"):
        _ = replay.can_resume
    assert replay.can_resume


def test_the_lens_is_not_given_up(monkeypatch, error):
    once(monkeypatch, Unembedding, "normed", error)
    with pytest.raises(type(error), match="memory"):
        probe_architecture(tiny("llama"))
    assert probe_architecture(tiny("llama")).lens_missing == ""


def test_whether_a_cache_can_be_read_on_from_stays_open(monkeypatch, error):
    model = tiny("llama")
    anatomy = probe_architecture(model)
    read, count = Decoding.read, iter(range(9))

    def short_of_memory(self, ids):
        # The first is the whole text, the second the beginning of what goes on from a cache.
        if next(count) == 1:
            raise error
        return read(self, ids)

    monkeypatch.setattr(Decoding, "read", short_of_memory)
    with pytest.raises(type(error), match="memory"):
        reads_on(model, anatomy)
    assert reads_on(model, anatomy)
