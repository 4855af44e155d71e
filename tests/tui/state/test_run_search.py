"""Where words are in a run, and which bookmark is next."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from depthtui.data.lens import AffineLens, LogitLens
from depthtui.data.remarks import Bookmark, Remarks
from depthtui.data.run import PromptTokens, RunResult
from depthtui.tui.state.run_search import Search
from tests.builders.lenses import random_lens
from tests.builders.results import run

TEXTS = ["The", " river", " was", " high", " and", " The", " river"]


def result() -> RunResult:
    found = run(layers=3, tokens=len(TEXTS), top_k=2)
    lens = found.get(LogitLens)
    assert lens is not None
    lens.top_ids[...] = 0
    lens.vocabulary = {0: " the", 1: " Paris", 2: "paris"}
    lens.top_ids[2, 4, 1] = 1
    lens.top_ids[3, 1, 0] = 1
    lens.top_ids[3, 0, 0] = 2
    tokens = PromptTokens(np.arange(len(TEXTS)), TEXTS, len(TEXTS))
    return replace(found, tokens=tokens)


@pytest.mark.parametrize(
    ("words", "tokens"),
    [
        ("river", [1, 6]),
        ("the river", [0, 5]),
        ("The river", [0, 5]),
        ("er was", [1]),
        ("River", []),
        ("", []),
        ("river was high and the river", [1]),
    ],
)
def test_words_in_tokens(words: str, tokens: list[int]) -> None:
    places = Search(words, "tokens").places(result())
    assert places == [(None, token) for token in tokens]


@pytest.mark.parametrize(
    ("words", "places"),
    [("Paris", [(2, 4), (3, 1)]), ("paris", [(2, 4), (3, 0), (3, 1)]), ("London", [])],
)
def test_words_in_the_lens_begin_at_the_lowest_layer(
    words: str, places: list[tuple[int, int]]
) -> None:
    assert Search(words, "lens").places(result()) == places


def test_a_search_goes_round() -> None:
    search = Search("paris", "lens")
    assert search.begin(result(), token=6) == (2, 4)
    assert [search.step(result(), 1) for _ in range(3)] == [(3, 0), (3, 1), (2, 4)]
    assert search.step(result(), -1) == (3, 1)
    assert Search("London", "lens").begin(result(), 0) is None


@pytest.mark.parametrize(("token", "first"), [(0, 1), (1, 1), (2, 6), (6, 6)])
def test_tokens_are_searched_from_the_cursor_on(token: int, first: int) -> None:
    assert Search("river", "tokens").begin(result(), token) == (None, first)


def test_behind_the_last_match_a_search_begins_anew() -> None:
    assert Search("high", "tokens").begin(result(), 5) == (None, 3)


def test_bookmarks_are_in_order_and_go_round() -> None:
    remarks = Remarks().with_bookmark(Bookmark(3, 1)).with_bookmark(Bookmark(1, 2, "a"))
    remarks = remarks.with_bookmark(Bookmark(1, 0))
    places = [(1, 0), (1, 2), (3, 1)]
    assert [(mark.token, mark.layer) for mark in remarks.bookmarks] == places
    found = remarks.after(layer=0, token=0)
    seen = []
    for _ in range(4):
        assert found is not None
        seen.append((found.token, found.layer))
        found = remarks.after(found.layer, found.token)
    assert seen == [*places, places[0]]
    assert remarks.after(2, 1, -1) == Bookmark(1, 0)
    assert remarks.at(2, 1) == Bookmark(1, 2, "a")
    assert remarks.with_bookmark(Bookmark(1, 2, "b")).at(2, 1) == Bookmark(1, 2, "b")
    assert not remarks.without_bookmark(0, 1).at(0, 1)
    assert Remarks().after(0, 0) is None
    assert not Remarks("  \n")


def test_words_are_looked_for_in_the_chosen_lens() -> None:
    read = result()
    lens = random_lens(AffineLens, read, np.random.default_rng(0))
    lens.top_ids[...] = 0
    lens.vocabulary = {0: " the", 1: " Paris"}
    lens.top_ids[1, 5, 0] = 1
    read.put("affine_lens", lens)
    search = Search("Paris", "lens")
    assert search.places(read, "affine") == [(1, 5)]
    assert search.begin(read, 0, "affine") == search.step(read, 1, "affine") == (1, 5)
    assert search.places(read, "jacobian") == []
    assert search.places(read) == [(2, 4), (3, 1)]
