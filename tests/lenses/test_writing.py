"""Texts that a model writes by itself."""

from __future__ import annotations

import pytest
import torch

from depthtui.errors import RunStopped
from depthtui.lenses.writing import write_texts
from tests.tiny_models import VOCAB, tiny

START, END = 1, 2


@pytest.mark.parametrize("name", ["llama", "gpt2", "mamba", "qwen3_next"])
def test_with_and_without_the_cache_it_is_the_same(name):
    model = tiny(name)
    ways = [write_texts(model, START, 60, {END}, 5, cached, length=12) for cached in (True, False)]
    assert [text.tolist() for text in ways[0]] == [text.tolist() for text in ways[1]]


def test_texts_begin_and_end_where_they_should():
    texts = write_texts(tiny("llama"), START, 800, range(2, 40), 0, length=20)
    assert sum(len(text) - 1 for text in texts) >= 0.95 * 800
    assert max(len(text) for text in texts) <= 20
    assert min(len(text) for text in texts) < 20
    for text in texts:
        assert text[0] == START
        assert len(text) > 1
        assert not set(text[1:].tolist()) & set(range(2, 40))


def test_a_seed_gives_the_same_texts():
    one, same, other = (write_texts(tiny("llama"), START, 50, {END}, seed) for seed in (3, 3, 4))
    assert [text.tolist() for text in one] == [text.tolist() for text in same]
    assert [text.tolist() for text in one] != [text.tolist() for text in other]


def test_tokens_are_drawn_as_often_as_the_model_says():
    model = tiny("llama")
    texts = write_texts(model, START, 64 * 40, (), 1, length=2)
    drawn = torch.bincount(torch.stack(texts)[:, 1], minlength=VOCAB) / len(texts)
    with torch.no_grad():
        expected = model(input_ids=torch.tensor([[START]])).logits[0, -1].softmax(-1)
    spread = (expected * (1 - expected) / len(texts)).sqrt()
    assert ((drawn - expected).abs() < 5 * spread + 1e-3).all()
    assert (drawn - expected).abs().sum() < 0.3


def test_a_model_that_ends_at_once_does_not_go_on_for_ever():
    told = []
    texts = write_texts(
        tiny("llama"),
        START,
        200,
        range(VOCAB),
        0,
        length=4,
        report=lambda *step: told.append(step),
    )
    assert texts == []
    assert told[-1][0] <= told[-1][1] == 200


def test_it_stops():
    def stop():
        raise RunStopped

    with pytest.raises(RunStopped):
        write_texts(tiny("llama"), START, 50, {END}, 0, checkpoint=stop)
