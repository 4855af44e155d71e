"""Results made of arrays with declared shapes."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, ClassVar, Self, get_type_hints

import numpy as np


@dataclass(frozen=True, init=False)
class Shape:
    """The declared shape of an array: `Annotated[np.ndarray, Shape("L+1", "T")]`.

    L is the number of layers, T the number of tokens, k the number of tokens that the lens lists;
    M the pieces that are left out, layers or parts of them; H the most heads of any layer, K the
    most experts that a router chooses for a token, O the options of a question, V the lengths of
    passes that are timed, R the rounds of times.

    Attributes:
        sides: lengths of the axes, such as `L`, `L+1`, `T`, `T-1`, `k` or `H`; `8` is itself.
        dtype: dtype of the values.
    """

    sides: tuple[str, ...]
    dtype: type[np.generic] = np.float32

    def __init__(self, *sides: str, dtype: type[np.generic] = np.float32) -> None:
        object.__setattr__(self, "sides", sides)
        object.__setattr__(self, "dtype", dtype)

    @property
    def is_over_tokens(self) -> bool:
        """Whether the last axis is tokens, all of them or all that another one predicts."""
        return self.sides[-1] in ("T", "T-1")

    def of(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """The shape where the letters have these sizes."""
        return tuple(_side(side, sizes) for side in self.sides)

    def fits(self, shape: tuple[int, ...], sizes: dict[str, int]) -> bool:
        """Whether an array of this shape has these sizes.

        A letter that is not in `sizes` gets its size from the first array with such an axis.
        """
        return len(shape) == len(self.sides) and all(
            sizes.setdefault(letter, int(letter) if letter.isdigit() else size) == size
            for letter, size in self._measured(shape)
        )

    def _measured(self, shape: tuple[int, ...]) -> Iterator[tuple[str, int]]:
        """The letters' sizes in an array of this shape; for a digit, the length of its axis."""
        for side, length in zip(self.sides, shape, strict=True):
            letter = side[:1]
            yield letter, length if letter.isdigit() else length - _side(side, {letter: 0})

    @property
    def unknown_value(self) -> float:
        """The value of unknown entries: NaN, -1 for integers, false."""
        return {"f": np.nan, "i": -1}.get(np.dtype(self.dtype).kind, 0)

    def unknown(self, sizes: Mapping[str, int]) -> np.ndarray:
        """An array of unknown values."""
        return np.full(self.of(sizes), self.unknown_value, self.dtype)

    def widened(self, array: np.ndarray, letter: str, count: int) -> np.ndarray:
        """The array with at least `count` entries along a letter's axes, new ones unknown."""
        widths = [
            (0, max(0, count - length) if side == letter else 0)
            for side, length in zip(self.sides, array.shape, strict=True)
        ]
        return np.pad(array, widths, constant_values=self.unknown_value)


def _side(side: str, sizes: Mapping[str, int]) -> int:
    name, sign, offset = side[:1], side[1:2], side[2:]
    if name.isdigit():
        return int(name)
    return sizes[name] + (int(sign + offset) if sign else 0)


class MetricResult:
    """The result of a metric on one prompt; subclasses are dataclasses.

    Each array is annotated with its `Shape`.

    Attributes:
        noise: names of the arrays that contain only rounding errors.
        per_layer: how many of the M pieces a layer has; 0 where the model decides.
    """

    noise: ClassVar[tuple[str, ...]] = ()
    per_layer: ClassVar[int] = 1

    @classmethod
    def kinds(cls) -> Iterator[type[MetricResult]]:
        """All subclasses that are dataclasses."""
        for kind in cls.__subclasses__():
            if is_dataclass(kind):
                yield kind
            yield from kind.kinds()

    @classmethod
    @functools.cache
    def shapes(cls) -> Mapping[str, Shape]:
        """The declared shape of each array."""
        hints = get_type_hints(cls, include_extras=True)
        return {
            field.name: mark
            for field in fields(cls)  # type: ignore[arg-type]
            for mark in getattr(hints[field.name], "__metadata__", ())
            if isinstance(mark, Shape)
        }

    @classmethod
    def sizes(cls, layers: int, tokens: int, top_k: int = 0) -> dict[str, int]:
        """The sizes L, M, T and k; without M where the model decides."""
        pieces = {"M": cls.per_layer * layers} if cls.per_layer else {}
        return {"L": layers, **pieces, "T": tokens, "k": top_k}

    def unfit(self, layers: int, tokens: int, top_k: int) -> list[str]:
        """Names of its arrays that do not have their declared shapes for L, T and k."""
        lengths = self.sizes(layers, tokens, top_k)
        shapes = self.shapes().items()
        return [
            name for name, shape in shapes if not shape.fits(getattr(self, name).shape, lengths)
        ]

    @classmethod
    def unknown(
        cls, layers: int, tokens: int, top_k: int = 0, *, pieces: int = 0, **others: Any
    ) -> Self:
        """A result whose arrays are all unknown, with no entries for heads, experts and the like.

        Args:
            layers, tokens, top_k: L, T and k.
            pieces: M, where the model decides.
            others: the fields that are not arrays and have no default.
        """
        none_yet = dict.fromkeys("HKOVR", 0)
        sizes = {"M": pieces, **cls.sizes(layers, tokens, top_k), **none_yet}
        arrays = {name: shape.unknown(sizes) for name, shape in cls.shapes().items()}
        return cls(**arrays, **others)

    @property
    def is_known(self) -> np.ndarray:
        """Whether each of the parts in which the result is computed is known."""
        return np.ones(1, np.bool_)

    @property
    def is_whole(self) -> bool:
        """Whether every part has been computed."""
        return bool(self.is_known.all())

    def copied(self) -> Self:
        """A copy to fill in further, since other code may keep a reference to this one."""
        return copy.deepcopy(self)

    def widened(self, letter: str, count: int) -> Self:
        """A copy whose arrays have at least `count` entries along a letter's axes."""
        result = copy.copy(self)
        for name, shape in self.shapes().items():
            setattr(result, name, shape.widened(getattr(self, name), letter, count))
        return result

    def without_tokens(self) -> Self:
        """A copy of no token."""
        result = copy.copy(self)
        for name, shape in self.shapes().items():
            if "T" in shape.sides:
                place = (*[slice(None)] * shape.sides.index("T"), slice(0))
                setattr(result, name, getattr(self, name)[place])
        return result

    def with_tokens(self, first: int, part: Self) -> Self:
        """A copy that has a part's values at the tokens from `first` on.

        Arrays that have no tokens are the part's.
        """
        result = copy.copy(self)
        for name, shape in self.shapes().items():
            values = getattr(part, name)
            if "T" in shape.sides:
                axis = shape.sides.index("T")
                stop = first + values.shape[axis]
                array = shape.widened(getattr(self, name), "T", stop)
                array[(*[slice(None)] * axis, slice(first, stop))] = values
                values = array
            setattr(result, name, values)
        return result

    def put(self, first: int, rows: Self, from_token: int = 0) -> None:
        """Fill in the rows from `first` on, at the tokens from `from_token` on."""
        for name, values in arrays_of(rows):
            count, tokens = values.shape[:2]
            place = slice(first, first + count), slice(from_token, from_token + tokens)
            getattr(self, name)[place] = values


def arrays_of(value: Any) -> Iterator[tuple[str, np.ndarray]]:
    """The names and arrays of a dataclass."""
    for field in fields(value):
        array = getattr(value, field.name)
        if isinstance(array, np.ndarray):
            yield field.name, array
