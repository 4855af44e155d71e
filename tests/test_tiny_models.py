"""The tiny models are fit to test with."""

from __future__ import annotations

import itertools

import pytest
import torch

from tests.tiny_models import (
    HOSTILE_PIECES,
    TINY,
    fresh,
    random_ids,
    tiny,
    tiny_folder,
    tiny_tokenizer,
)


@pytest.mark.parametrize("name", TINY)
def test_every_layer_of_a_tiny_model_moves_the_residual_stream(name: str) -> None:
    with torch.no_grad():
        out = tiny(name)(random_ids(), output_hidden_states=True, use_cache=False)
    assert out.logits.shape[:2] == (1, 12)
    assert torch.isfinite(out.logits).all()
    states = out.hidden_states[:-1]  # the last one has been through the final norm
    for before, after in itertools.pairwise(states):
        assert (after - before).norm() > 0.05 * before.norm()
    assert out.logits.softmax(-1).amax(-1).median() < 0.99


@pytest.mark.parametrize("name", ["llama", "gpt_oss", "qwen3_next"])
def test_a_tiny_model_is_the_same_each_time(name: str) -> None:
    first, second = fresh(name), fresh(name)
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not any(parameter.requires_grad for parameter in first.parameters())


def test_the_tokenizer_keeps_hostile_text() -> None:
    tokenizer = tiny_tokenizer()
    text = "The [/] river " + "".join(HOSTILE_PIECES) + "\n\ud7ff end"
    ids = tokenizer(text).input_ids
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text
    for piece in HOSTILE_PIECES:
        assert tokenizer.convert_tokens_to_ids(piece) in ids


def test_a_tiny_folder_has_what_a_download_has(tmp_path) -> None:
    folder = tiny_folder(tmp_path)
    names = {path.name for path in folder.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
