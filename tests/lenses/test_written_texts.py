"""Texts that a model writes by itself."""

from __future__ import annotations

import pytest
import torch

from depthtui.errors import RunStopped
from depthtui.lenses import written_texts
from depthtui.lenses.written_texts import write_texts
from depthtui.tracing.modules import hooks
from tests.tiny_models import FEW, TINY, VOCAB, on_few_models, tiny

START, END = 1, 2

WITHOUT_CACHE = {"bamba", "minimax", "openai_gpt", "recurrent_gemma"}
"""Those that have none, or go on wrongly from it: they are never asked to."""


@on_few_models(
    set(TINY) - WITHOUT_CACHE, [*FEW, "deepseek_v3", "falcon_h1", "gemma4", "lfm2", "mamba"]
)
def test_with_and_without_the_cache_it_is_the_same(name):
    # One token of six is an end, after which a text takes no part any more.
    model, ends = tiny(name), range(2, VOCAB, 6)
    ways = [write_texts(model, START, 120, ends, 5, cached, length=12) for cached in (True, False)]
    assert [text.tolist() for text in ways[0]] == [text.tolist() for text in ways[1]]


def test_of_a_model_whose_texts_do_not_end_no_more_are_kept_than_are_wanted():
    texts = write_texts(tiny("llama"), START, 100, (), 0, length=11)
    assert [len(text) for text in texts] == [11] * 10


def test_texts_that_have_ended_are_read_no_more():
    model, read = tiny("llama"), []

    def count(module, args, kwargs):
        read.append(len(kwargs["input_ids"]))

    with hooks() as handles:
        handles.append(model.register_forward_pre_hook(count, with_kwargs=True))
        texts = write_texts(model, START, 800, range(2, VOCAB, 6), 0, length=20)
    longest = max(len(text) for text in texts)
    assert longest > 12
    assert read[11] < read[0] / 2
    assert sum(read) < 1.5 * sum(len(text) for text in texts)


def test_a_text_does_not_hang_on_which_others_are_read_no_more(monkeypatch):
    ways = []
    for few_left in (0.0, 1.0):
        monkeypatch.setattr(written_texts, "_FEW_LEFT", few_left)
        ways.append(write_texts(tiny("llama"), START, 400, range(2, VOCAB, 6), 5, length=12))
    assert [text.tolist() for text in ways[0]] == [text.tolist() for text in ways[1]]


def test_texts_begin_and_end_where_they_should():
    texts = write_texts(tiny("llama"), START, 800, range(2, 40), 0, length=20)
    assert 0.95 * 800 <= sum(len(text) - 1 for text in texts) < 800 + 20
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
    reports = []
    texts = write_texts(
        tiny("llama"),
        START,
        200,
        range(VOCAB),
        0,
        length=4,
        report=lambda *step: reports.append(step),
    )
    assert texts == []
    assert reports[-1][0] <= reports[-1][1] == 200


def test_it_stops():
    def stop():
        raise RunStopped

    with pytest.raises(RunStopped):
        write_texts(tiny("llama"), START, 50, {END}, 0, checkpoint=stop)
