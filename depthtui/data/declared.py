"""Checks of decoded values against their dataclasses: a sender may send any type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from depthtui.data.arrays import MetricResult, Shape
from depthtui.data.codec import CodecError
from depthtui.data.run import PromptTokens, RunResult

_KINDS = {"f": "f", "i": "iu", "u": "iu", "b": "b"}
"""NumPy kinds that an array may have, by the kind of its declared dtype."""


def check_declared(value: Any) -> None:
    """Check that the values of a dataclass, nested ones included, have the declared types.

    Raises:
        CodecError: a value has another type, or an array of a result has other sizes.
    """
    kind: Any = type(value)
    hints = _hints(kind)
    for field in fields(value):
        if not _fits(hints[field.name], getattr(value, field.name)):
            raise CodecError(f"{kind.__name__}.{field.name} is of another type")
    if isinstance(value, PromptTokens) and value.ids.shape != (len(value.texts),):
        raise CodecError("a prompt has other numbers of token ids and of texts")
    if isinstance(value, RunResult):
        check_sizes(value)


def _fits(hint: Any, value: Any) -> bool:
    origin, parts = get_origin(hint) or hint, get_args(hint)
    if origin is Annotated:
        marks = [mark for mark in parts if isinstance(mark, Shape)]
        return _fits(parts[0], value) and all(_has_sides(value, mark) for mark in marks)
    if origin in (Union, UnionType):
        return any(_fits(part, value) for part in parts)
    if origin is Literal:
        return any(type(value) is type(part) and value == part for part in parts)
    if origin is np.ndarray or isinstance(origin, TypeVar):
        return isinstance(value, np.ndarray) and value.dtype.kind in "biuf"
    if origin in (dict, Mapping):
        key, item = parts
        return isinstance(value, dict) and all(
            _fits(key, name) and _fits(item, element) for name, element in value.items()
        )
    if origin is list or parts[1:] == (...,):
        return isinstance(value, origin) and all(_fits(parts[0], item) for item in value)
    if origin is tuple:
        is_as_long = isinstance(value, tuple) and len(value) == len(parts)
        return is_as_long and all(map(_fits, parts, value))
    if origin is float:
        return type(value) in (int, float)
    if origin in (bool, int, str, NoneType):
        return type(value) is origin
    if is_dataclass(value) and isinstance(value, origin):
        check_declared(value)
        return True
    return False


def _has_sides(array: np.ndarray, shape: Shape) -> bool:
    is_kind = array.dtype.kind in _KINDS[np.dtype(shape.dtype).kind]
    return is_kind and array.ndim == len(shape.sides)


def check_sizes(result: RunResult) -> None:
    """Check that every array of a run has the run's numbers of layers and tokens.

    Raises:
        CodecError: one has others.
    """
    for part in result.measured.values():
        check_part(part, result)


def check_part(part: MetricResult, result: RunResult) -> None:
    """Check that every array of a metric has the numbers of layers and tokens of its run.

    Raises:
        CodecError: one has others.
    """
    sizes = result.model.n_layers, len(result.tokens), result.settings.lens_top_k
    for field in part.unfit(*sizes):
        raise CodecError(f"{type(part).__name__}.{field} is of another size")


@cache
def _hints(kind: type[Any]) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)
