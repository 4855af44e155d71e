"""Layers, or their parts, as numbers from 0 on: pieces that are left out together.

Part 2l is the attention of layer l, part 2l + 1 its MLP; head H l + h is head h of layer l.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from depthtui.data.model import PART_TITLES
from depthtui.data.run_settings import Skip
from depthtui.data.selection import layers_in, numbers_text, read_layers
from depthtui.data.sentence import plural
from depthtui.options import WrongValue

Piece: TypeAlias = Literal["layer", "part", "head"]
"""A kind of pieces: whole layers, the attention and the MLP of each, or its attention heads."""

PER_LAYER: Mapping[Piece, int] = {"layer": 1, "part": 2}
"""The number of pieces of a layer; that of its heads is the model's."""

PARTS = ("attention", "mlp")
"""The parts of a layer, in the order of their numbers."""

_MARKS = {"attention": "a", "mlp": "m"}
_ENTRY = re.compile(r"(.*?)([am]?)")


def part_of(part: int) -> Skip:
    """The part of a layer that has a number."""
    return Skip(part // len(PARTS), PARTS[part % len(PARTS)])


def parts_of(layers: Iterable[int]) -> list[int]:
    """The numbers of both parts of some layers."""
    return [len(PARTS) * layer + place for layer in layers for place in range(len(PARTS))]


def pieces_of_skips(skipped: Collection[Skip]) -> tuple[Piece, list[int]]:
    """The pieces that a run leaves out: layers where it leaves out nothing but whole ones."""
    if all(skip.part == "layer" for skip in skipped):
        return "layer", [skip.layer for skip in skipped]
    parts = [
        part
        for skip in skipped
        for part in parts_of([skip.layer])
        if skip.part in ("layer", part_of(part).part)
    ]
    return "part", parts


def coarsest(piece: Piece, pieces: Collection[int]) -> tuple[Piece, list[int]]:
    """The same pieces, as layers where they are both parts of each of some layers."""
    numbers = sorted(pieces)
    if piece == "part":
        layers = sorted({part_of(part).layer for part in numbers})
        if numbers == parts_of(layers):
            return "layer", layers
    return piece, numbers


@dataclass(frozen=True)
class NumberedParts:
    """Some attentions and MLPs, by the numbers of their layers, in order."""

    attention: tuple[int, ...] = ()
    mlp: tuple[int, ...] = ()

    @classmethod
    def of(cls, pieces: Collection[int]) -> NumberedParts:
        """The attentions and MLPs among some pieces."""
        parts = [part_of(piece) for piece in sorted(pieces)]
        return cls(*(tuple(each.layer for each in parts if each.part == name) for name in PARTS))

    @property
    def words(self) -> str:
        """How many of each there are, such as `29 MLPs and 21 attentions`."""
        counts = ((len(self.mlp), "MLP"), (len(self.attention), "attention"))
        return " and ".join(plural(count, name) for count, name in counts)

    @property
    def numbers(self) -> str:
        """Their layers, such as `attention 3, 20-22; MLP 7`."""
        layers = {"attention": self.attention, "mlp": self.mlp}
        return "; ".join(
            f"{PART_TITLES[part]} {numbers_text(numbers)}"
            for part, numbers in layers.items()
            if numbers
        )

    def others(self, n_layers: int) -> NumberedParts:
        """All other parts of a model of so many layers."""
        return NumberedParts(
            *(
                tuple(layer for layer in range(n_layers) if layer not in layers)
                for layers in (self.attention, self.mlp)
            )
        )

    @property
    def at_zero(self) -> str:
        """What a written model without them is, and what that saves."""
        return (
            f"The last projections of these parts are zero: {self.numbers}. transformers computes "
            "the zeros, so that the folder saves neither memory nor time there."
        )

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers of which there is a part."""
        return tuple(sorted({*self.attention, *self.mlp}))


NO_PARTS = NumberedParts()


def piece_words(number: int, piece: Piece) -> str:
    """A piece in words, such as `layer 7` or `attention of layer 7`."""
    if piece == "layer":
        return f"layer {number}"
    part = part_of(number)
    return f"{PART_TITLES[part.part]} of layer {part.layer}"


def piece_mark(number: int, piece: Piece, heads: int = 1) -> str:
    """A piece as `read_pieces` reads it, such as `7` or `7a`; of `heads` of a layer, as `7.3`."""
    if piece == "layer":
        return str(number)
    if piece == "head":
        return f"{number // heads}.{number % heads}"
    part = part_of(number)
    return f"{part.layer}{_MARKS[part.part]}"


def count_words(count: int, piece: Piece) -> str:
    """A number of pieces in words, such as `3 layers`."""
    return plural(count, piece)


def pieces_words(pieces: Sequence[int], piece: Piece) -> str:
    """Pieces by count and number: `3 layers (9, 20-21)`, `2 parts (attention 3; MLP 20)`."""
    is_layer = piece == "layer"
    numbers = numbers_text(pieces) if is_layer else NumberedParts.of(pieces).numbers
    return f"{count_words(len(pieces), piece)} ({numbers})"


def read_pieces(value: Any) -> str:
    """Layers and parts such as `20a,22-24m,7`, checked and without spaces.

    An entry is one of `read_layers`; with `a` behind it, it is of attentions, with `m` of MLPs.

    Raises:
        WrongValue: the value has no pieces in this notation.
    """
    entries = [entry for entry in re.sub(r"\s", "", str(value)).split(",") if entry]
    try:
        for entry in entries or [""]:
            read_layers(_split(entry)[0])
    except WrongValue:
        raise WrongValue(
            "layers such as 0-5,20, or parts such as 20a,22-24m (attention, MLP)"
        ) from None
    return ",".join(entries)


def layers_named(text: str) -> str:
    """The layers of a text from `read_pieces`, as `read_layers` returns them."""
    return ",".join(_split(entry)[0] for entry in text.split(","))


def names_parts(text: str) -> bool:
    """Whether a text from `read_pieces` names attentions or MLPs."""
    return any(_split(entry)[1] for entry in text.split(","))


def pieces_in(text: str, n_layers: int) -> tuple[Piece, list[int]]:
    """The pieces, in order, of a text from `read_pieces`; layers where it names no part."""
    if not names_parts(text):
        return "layer", layers_in(text, n_layers)
    parts: set[int] = set()
    for layers, mark in map(_split, text.split(",")):
        chosen = parts_of(layers_in(layers, n_layers))
        parts.update(part for part in chosen if mark in ("", _MARKS[part_of(part).part]))
    return "part", sorted(parts)


def _split(entry: str) -> tuple[str, str]:
    """An entry's layers, and its mark or nothing."""
    match = _ENTRY.fullmatch(entry)
    assert match is not None
    return match[1], match[2]
