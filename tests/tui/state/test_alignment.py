"""Which tokens of two runs are the same."""

from __future__ import annotations

import numpy as np
import pytest

from depthtui.data.run import PromptTokens
from depthtui.tui.state.alignment import (
    TokenMatch,
    align,
    is_special,
    matched_rows,
    nearest_token,
    spread,
)


def tokens(*texts: str, first_id: int = 0, answer: int | None = None) -> PromptTokens:
    start = len(texts) if answer is None else answer
    return PromptTokens(np.arange(first_id, first_id + len(texts)), list(texts), start)


TEXT = ("The", " capital", " of", " France", " is", " Paris")


def test_equal_texts_are_aligned_whatever_their_ids() -> None:
    found = align(tokens(*TEXT), tokens(*TEXT, first_id=500))
    assert found.match is TokenMatch.SAME
    assert found.a.tolist() == found.b.tolist() == [0, 1, 2, 3, 4, 5]
    assert found.n_shared == 6


@pytest.mark.parametrize("longer", ["a", "b"])
def test_a_bos_token_shifts_the_others_by_one(longer: str) -> None:
    with_bos, without = tokens("<s>", *TEXT), tokens(*TEXT)
    found = align(with_bos, without) if longer == "a" else align(without, with_bos)
    assert (found.match, found.longer) == (TokenMatch.SHIFTED, longer)
    theirs = found.a if longer == "a" else found.b
    ours = found.b if longer == "a" else found.a
    assert theirs.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert ours.tolist() == [-1, 0, 1, 2, 3, 4, 5]
    assert found.n_shared == 6


def test_words_that_are_cut_otherwise_are_left_out() -> None:
    a = tokens("The", " cap", "ital", " of", " France", " is", " Paris")
    b = tokens("<s>", "The", " capital", " of", " France", " is", " Paris")
    found = align(a, b)
    assert found.match is TokenMatch.TEXTS
    pairs = [(x, y) for x, y in zip(found.a, found.b, strict=True) if min(x, y) >= 0]
    assert [(a.texts[x], b.texts[y]) for x, y in pairs] == [
        (text, text) for text in ("The", " of", " France", " is", " Paris")
    ]
    assert found.n_shared == 5
    # Nothing is lost, and every run's tokens stay in order.
    assert [place for place in found.a if place >= 0] == list(range(7))
    assert [place for place in found.b if place >= 0] == list(range(7))


def test_other_texts_are_not_aligned() -> None:
    found = align(tokens(*TEXT), tokens("One", " and", " one", " is", " two"))
    assert (found.match, found.n_shared) == (TokenMatch.NONE, 0)
    assert (len(found.a), len(found.b)) == (6, 5)


@pytest.mark.parametrize(
    ("share", "match"), [(4, TokenMatch.NONE), (5, TokenMatch.TEXTS), (6, TokenMatch.TEXTS)]
)
def test_half_of_the_tokens_must_be_shared(share: int, match: TokenMatch) -> None:
    same = [f"same{i}" for i in range(share)]
    a = tokens(*same, *(f"a{i}" for i in range(10 - share)))
    b = tokens(*same, *(f"b{i}" for i in range(10 - share)))
    assert align(a, b).match is match


def test_other_prompts_are_aligned_at_their_answers() -> None:
    a = tokens("The", " capital", " of", " France", " is", " Paris", answer=5)
    b = tokens("One", " and", " two", " make", " three", "!", answer=4)
    found = align(a, b)
    assert (found.match, found.answer) == (TokenMatch.ANSWER, 5)
    # The tokens before are counted back, the others forward.
    assert found.a.tolist() == [0, 1, 2, 3, 4, 5, -1]
    assert found.b.tolist() == [-1, 0, 1, 2, 3, 4, 5]
    assert found.n_shared == 5
    turned = align(b, a)
    assert (turned.a.tolist(), turned.b.tolist()) == (found.b.tolist(), found.a.tolist())


def test_another_word_in_the_same_place_is_beside_it() -> None:
    a, b = tokens(*TEXT, answer=5), tokens(*TEXT[:3], " Italy", " is", " Rome", answer=5)
    found = align(a, b)
    assert found.match is TokenMatch.ANSWER
    assert found.a.tolist() == found.b.tolist() == [0, 1, 2, 3, 4, 5]
    # Without an answer the two words stand apart, as ever.
    assert (
        align(tokens(*TEXT), tokens(*TEXT[:3], " Italy", " is", " Rome")).match is TokenMatch.TEXTS
    )


def test_what_is_the_same_before_the_answer_is_side_by_side() -> None:
    a = tokens("The", " capital", " of", " old", " France", " is", " Paris", answer=6)
    b = tokens("Well", ",", "The", " capital", " of", " France", " is", " Lyon", ".", answer=7)
    found = align(a, b)
    pairs = list(zip(found.a.tolist(), found.b.tolist(), strict=True))
    assert pairs == [
        (-1, 0), (-1, 1), (0, 2), (1, 3), (2, 4), (3, -1), (4, 5), (5, 6), (6, 7), (-1, 8),
    ]  # fmt: skip
    assert pairs[found.answer] == (6, 7)


def test_marked_answers_come_before_the_prompts_own() -> None:
    a, b = tokens(*TEXT, answer=5), tokens("Two", " and", " two", " is", " four", answer=4)
    found = align(a, b, (3, 1))
    assert (found.a[found.answer], found.b[found.answer]) == (3, 1)


@pytest.mark.parametrize("answer", [0, None])
def test_one_answer_alone_aligns_nothing(answer: int | None) -> None:
    a, b = tokens(*TEXT, answer=5), tokens("Two", " and", " two", answer=answer)
    assert align(a, b).match is align(b, a).match is TokenMatch.NONE


@pytest.mark.parametrize("seed", range(5))
def test_columns_from_an_answer_hold_every_token_once_and_in_order(seed: int) -> None:
    random = np.random.default_rng(seed)
    sides = []
    for length in random.integers(2, 30, 2):
        texts = [str(integer) for integer in random.integers(0, 3 if seed % 2 else 30, length)]
        sides.append(tokens(*texts, answer=int(random.integers(1, length))))
    a, b = sides
    found = align(a, b)
    assert [place for place in found.a if place >= 0] == list(range(len(a)))
    assert [place for place in found.b if place >= 0] == list(range(len(b)))
    assert (np.maximum(found.a, found.b) >= 0).all()
    if found.match is TokenMatch.ANSWER:
        assert found.a[found.answer] == a.answer_start
        assert found.b[found.answer] == b.answer_start


@pytest.mark.parametrize("seed", range(5))
def test_columns_hold_every_token_once_and_in_order(seed: int) -> None:
    random = np.random.default_rng(seed)
    texts = [str(integer) for integer in random.integers(0, 5, 40)]
    kept = [text for text in texts if random.random() < 0.8]
    found = align(tokens(*texts), tokens(*kept))
    assert [place for place in found.a if place >= 0] == list(range(len(texts)))
    assert [place for place in found.b if place >= 0] == list(range(len(kept)))
    for x, y in zip(found.a, found.b, strict=True):
        assert max(x, y) >= 0
        assert min(x, y) < 0 or texts[x] == kept[y]


def test_values_are_spread_over_columns() -> None:
    spreaded = spread(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([-1, 0, -1, 1]))
    nan = np.nan
    np.testing.assert_array_equal(spreaded, [[nan, 1, nan, 2], [nan, 3, nan, 4]])


@pytest.mark.parametrize("with_output", [0, 1])
def test_rows_are_matched_by_relative_depth(with_output: int) -> None:
    deep, shallow = np.zeros(12 + with_output), np.zeros(6 + with_output)
    assert matched_rows(deep, 12, 12).tolist() == list(range(12 + with_output))
    rows = matched_rows(shallow, 6, 12).tolist()
    assert len(rows) == len(deep)
    assert rows[::2] == list(range(6 + with_output))
    assert rows == sorted(rows)


def test_a_column_without_a_token_has_a_nearest_one() -> None:
    columns = np.array([-1, 0, 1, -1, -1, 2])
    assert [nearest_token(columns, column) for column in (0, 1, 3, 4, 99)] == [0, 0, 1, 2, 2]


@pytest.mark.parametrize("text", ["<s>", "[CLS]", "<|begin_of_text|>", "<｜begin▁of▁sentence｜>"])
def test_special_tokens_look_special(text: str) -> None:
    assert is_special(text)


@pytest.mark.parametrize("text", ["", "<", "<>", " the", "[", "a>", "<b"])
def test_words_do_not(text: str) -> None:
    assert not is_special(text)
