"""Layers and parts of layers by number, in words, and in the notation of the command line."""

from __future__ import annotations

import pytest

from depthtui.data.pieces import (
    NumberedParts,
    coarsest,
    layers_named,
    names_parts,
    piece_mark,
    piece_words,
    pieces_in,
    pieces_of_skips,
    pieces_words,
    read_pieces,
)
from depthtui.data.run_settings import Skip
from depthtui.options import WrongValue


@pytest.mark.parametrize(
    ("text", "piece", "numbers"),
    [
        ("3,5-7", "layer", [3, 5, 6, 7]),
        ("20a, 22-24m,7", "part", [14, 15, 40, 45, 47, 49]),
        ("0-8/4m", "part", [1, 9, 17]),
        ("/4a", "part", [0, 8, 16, 24, 32]),
        ("7a,7m", "part", [14, 15]),
    ],
)
def test_entries_name_layers_attentions_or_mlps(text: str, piece: str, numbers: list[int]) -> None:
    assert pieces_in(read_pieces(text), 20) == (piece, numbers)
    assert names_parts(text) == (piece == "part")


@pytest.mark.parametrize("text", ["", "a", "3,m", "7-5a", "3am", "3x", "a3", ","])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(WrongValue, match="20a,22-24m"):
        read_pieces(text)


def test_layers_are_named_without_their_parts() -> None:
    assert layers_named("20a,22-24m,7") == "20,22-24,7"
    assert layers_named("") == ""


def test_both_parts_of_layers_are_layers() -> None:
    assert coarsest("part", [15, 14, 2, 3]) == ("layer", [1, 7])
    assert coarsest("part", [14, 15, 2]) == ("part", [2, 14, 15])
    assert coarsest("part", [1, 2]) == ("part", [1, 2])
    assert coarsest("layer", [7, 1]) == ("layer", [1, 7])


def test_what_a_run_leaves_out_as_pieces() -> None:
    assert pieces_of_skips([Skip(1), Skip(7)]) == ("layer", [1, 7])
    parts = pieces_of_skips([Skip(1), Skip(2, "attention"), Skip(7, "mlp")])
    assert parts == ("part", [2, 3, 4, 15])


def test_words() -> None:
    assert piece_words(15, "part") == "MLP of layer 7"
    assert piece_words(15, "layer") == "layer 15"
    assert [piece_mark(number, "part") for number in (14, 15)] == ["7a", "7m"]
    assert pieces_words([9, 20, 21], "layer") == "3 layers (9, 20-21)"
    assert pieces_words([6, 14, 16, 15], "part") == "4 parts (attention 3, 7-8; MLP 7)"
    parts = NumberedParts.of([6, 14])
    assert parts.others(8).words == "8 MLPs and 6 attentions"
