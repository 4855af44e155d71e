"""A metric of one prompt, reduced to the few numbers that pooling needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, Self, TypeAlias

import numpy as np

from depthtui.data.arrays import MetricResult, Shape
from depthtui.data.run import RunResult
from depthtui.metrics.token_blocks import block_means

ByLayer: TypeAlias = Annotated[np.ndarray, Shape("L", dtype=np.float64)]
"""A number for each layer."""

ByDepth: TypeAlias = Annotated[np.ndarray, Shape("L+1", dtype=np.float64)]
"""A number for each depth, the last one the output's."""

BlocksByLayer: TypeAlias = Annotated[np.ndarray, Shape("B", "L", dtype=np.float64)] | None
"""A number for each layer in each block of tokens; None for several prompts together."""

BlocksByDepth: TypeAlias = Annotated[np.ndarray, Shape("B", "L+1", dtype=np.float64)] | None
"""A number for each depth in each block of tokens; None for several prompts together."""


@dataclass(frozen=True, kw_only=True)
class Reduced:
    """A metric of one prompt, reduced to the few numbers that pooling needs.

    Subclasses are dataclasses of arrays, numbers, texts and tuples, which a sweep's record stores
    unchanged. Means are float64, over the tokens that count. Some have a second field with the
    means over each block of these tokens (see `metrics.token_blocks`): where prompts are few, an
    interval is over blocks.

    Attributes:
        tokens: how many tokens count; the weight of a mean.
        means_of: by field, the array that it is the mean of, where the array has another name.
        pools: by field, the function that pools the values of several prompts, where it is not
            that of `pooled`.
        block_fields: by mean over tokens, the field with its means over blocks of them.
    """

    means_of: ClassVar[Mapping[str, str]] = {}
    pools: ClassVar[Mapping[str, Callable[[Sequence[Any]], Any]]] = {}
    block_fields: ClassVar[Mapping[str, str]] = {}

    tokens: int

    @classmethod
    def of(cls, result: object, **others: Any) -> Self:
        """Reduce a metric's result to its attributes, arrays in float64, and other fields."""
        names = {field.name for field in fields(cls)} - others.keys()
        values = {name: getattr(result, name) for name in names}
        arrays = {
            name: value.astype(np.float64)
            for name, value in values.items()
            if isinstance(value, np.ndarray)
        }
        return cls(**{**values, **arrays, **others})

    @classmethod
    def over(
        cls, result: MetricResult, run: RunResult, tokens: slice, **others: Any
    ) -> Self | None:
        """The means of a metric's arrays over some tokens, and other fields; None without a token.

        Fields that are not means over tokens are as in `of`.
        """
        shapes = result.shapes()
        arrays = {field.name: cls.means_of.get(field.name, field.name) for field in fields(cls)}
        token_arrays = {
            name: getattr(result, array)[..., tokens]
            for name, array in arrays.items()
            if array in shapes and shapes[array].is_over_tokens
        }
        count = next(iter(token_arrays.values())).shape[-1]
        if not count:
            return None
        # A mean of one row is a number.
        means = {name: token_mean(values)[()] for name, values in token_arrays.items()}
        blocks = {
            name: block_means(token_arrays[mean])
            for mean, name in cls.block_fields.items()
            if mean in token_arrays and mean not in others
        }
        return cls.of(result, **{"tokens": count, **means, **blocks, **others})

    def over_blocks(self, mean: str) -> np.ndarray | None:
        """A mean over each block of tokens; None where it is not known."""
        name = self.block_fields.get(mean)
        return None if name is None else getattr(self, name)

    @classmethod
    def pooled(cls, reduced: Sequence[Self]) -> Self:
        """Pool several prompts.

        Whole numbers are counts, which are added up; other numbers are means, weighted by tokens.
        Other values are the first prompt's. Values that are None are left out. Blocks are not
        pooled.
        """
        if len(reduced) == 1:
            return reduced[0]
        return cls(**{field.name: cls._pooled(field.name, reduced) for field in fields(cls)})

    @classmethod
    def _pooled(cls, name: str, reduced: Sequence[Self]) -> Any:
        parts = [part for part in reduced if getattr(part, name) is not None]
        values = [getattr(part, name) for part in parts]
        if not values or name in cls.block_fields.values():
            return None
        if name in cls.pools:
            return cls.pools[name](values)
        first = values[0]
        if isinstance(first, Reduced):
            return first.pooled(values)
        if not isinstance(first, int | float | np.ndarray):
            return first
        if isinstance(first, float):
            return weighted_mean((getattr(part, name), part.tokens) for part in parts)
        if isinstance(first, int) or first.dtype.kind == "i":
            return sum(values)
        return np.average(values, axis=0, weights=[part.tokens for part in parts])


def largest(values: Sequence[Any]) -> Any:
    """The largest value; for arrays, element by element."""
    return np.max(values, axis=0)


def token_mean(values: np.ndarray) -> np.ndarray:
    """The mean of `[..., tokens]` over the tokens, in float64."""
    return np.asarray(values.mean(axis=-1, dtype=np.float64))


def weighted_mean(values: Iterable[tuple[float, float]]) -> float:
    """The weighted mean of pairs of value and weight; NaN where no value is finite."""
    pairs = [(value, weight) for value, weight in values if np.isfinite(value) and weight > 0]
    if not pairs:
        return float("nan")
    return float(np.average([value for value, _ in pairs], weights=[weight for _, weight in pairs]))
