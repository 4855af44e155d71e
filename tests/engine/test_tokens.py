"""Texts of token ids, where the vocabulary is not byte-level."""

import pytest

from depthtui.engine.tokens import Vocabulary

PIECES = {
    0: ("<s>", "<s>"),
    1: ("▁the", " the"),
    2: ("<0x41>", "A"),
    3: ("<0xE6>", "\udce6"),
    4: ("<0xZZ>", "<0xZZ>"),
    5: ("<0x[/>", "<0x[/>"),
    6: ("<0x+1>", "<0x+1>"),
    7: (None, "<7>"),
}


class Sentencepiece:
    """A slow tokenizer of a few pieces."""

    def __init__(self):
        self.asked = 0

    @property
    def all_special_ids(self):
        self.asked += 1
        return [0]

    def convert_ids_to_tokens(self, token_id):
        return PIECES[token_id][0]


@pytest.mark.parametrize("token_id", PIECES)
def test_every_piece_has_a_text(token_id):
    assert Vocabulary(Sentencepiece()).text(token_id) == PIECES[token_id][1]


def test_special_tokens_are_asked_for_once():
    tokenizer = Sentencepiece()
    assert set(Vocabulary(tokenizer).texts(PIECES)) == set(PIECES)
    assert tokenizer.asked == 1


@pytest.mark.parametrize("error", [IndexError, OverflowError])
def test_an_id_that_a_tokenizer_refuses_has_a_text(error, monkeypatch):
    """Of a text that another model wrote, or from a file."""

    def refuse(self, token_id):
        raise error

    monkeypatch.setattr(Sentencepiece, "convert_ids_to_tokens", refuse)
    assert Vocabulary(Sentencepiece()).text(1 << 70) == f"<{1 << 70}>"
