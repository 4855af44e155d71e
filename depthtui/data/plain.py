"""Dataclasses as JSON values and back, strictly by the types that their fields declare.

    to_plain(Skip(3))                 {"layer": 3, "part": "layer"}
    from_plain(Skip, {"layer": 3})    Skip(layer=3, part="layer")
    from_plain(Skip, {"layer": "3"})  Misfit: layer must be a whole number

The pipe and the cache have `data/codec.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from functools import cache, partial
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from depthtui.data.arrays import Shape
from depthtui.errors import short_repr

Value = TypeVar("Value")
Readers = Mapping[Any, Callable[[Any], Any]]

_SCALARS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
_NUMBERS: dict[str, tuple[set[type], str]] = {
    "f": ({int, float, NoneType}, "numbers"),
    "i": ({int}, "whole numbers"),
    "b": ({bool}, "true and false"),
}
"""The JSON types of an array's items, by NumPy kind, and their names in words."""


IF_ANY = {"if_any": True}
"""Metadata of a field that `to_plain` leaves out where it is empty."""


class Misfit(ValueError):
    """A JSON value has another type than declared; the message names its place and the type."""


def to_plain(value: Any) -> Any:
    """JSON values: dataclasses as objects, arrays and tuples as lists, NaN and infinity as null."""
    if isinstance(value, np.ndarray | np.generic):
        return to_plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if is_dataclass(value):
        return {
            field.name: to_plain(getattr(value, field.name))
            for field in fields(value)
            if "if_any" not in field.metadata or getattr(value, field.name)
        }
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    return value


def from_plain(
    kind: type[Value],
    value: Any,
    *,
    readers: Readers | None = None,
    sizes: Mapping[str, int] | None = None,
) -> Value:
    """The value of a type from the JSON values that `to_plain` returns.

    Integers count as numbers; true and false do not. Null is None where the declared type
    allows None, otherwise NaN. Floating-point arrays become float64. A missing field has its
    default.

    Args:
        kind: a dataclass, or a list, tuple or dict of dataclasses.
        value: JSON values.
        readers: functions for fields of some types, called with the field's JSON value. A
            ValueError, TypeError, LookupError or AttributeError means that they cannot read it.
        sizes: sizes of letters in declared shapes, such as L. Every other letter has one size
            within a dataclass.

    Raises:
        Misfit: the value does not have this type.
    """
    return _PlainReader(readers or {}, dict(sizes or {})).read(kind, value, "")


@dataclass(frozen=True)
class _PlainReader:
    """Reads values by hints; `path` is a value's place, such as `.runs[2].prompt`."""

    readers: Readers
    sizes: dict[str, int]

    def read(self, hint: Any, value: Any, path: str) -> Any:
        """The value of a declared type."""
        origin, parts = get_origin(hint) or hint, get_args(hint)
        if hint in self.readers:
            return _converted(self.readers[hint], value, path)
        if hint is Any:
            return value
        if origin is Annotated:
            shape = next((mark for mark in parts if isinstance(mark, Shape)), None)
            if shape is not None:
                return self._shaped(shape, value, path)
            return self.read(parts[0], value, path)
        if origin in (Union, UnionType):
            (part,) = set(parts) - {NoneType}
            return None if value is None else self.read(part, value, path)
        if origin is Literal:
            is_choice = any(type(value) is type(part) and value == part for part in parts)
            _check(is_choice, path, " or ".join(map(repr, parts)))
            return value
        if origin in (list, tuple):
            return origin(self._items(origin, parts, value, path))
        if origin in (dict, Mapping):
            _check(isinstance(value, dict), path, "an object")
            pairs = ((key, item, f"{path}[{short_repr(key)}]") for key, item in value.items())
            key_kind, kind = parts
            return {
                self.read(key_kind, key, place): self.read(kind, item, place)
                for key, item, place in pairs
            }
        if is_dataclass(hint):
            return self._dataclass(hint, value, path)
        return _array(np.float64, value, path) if hint is np.ndarray else _scalar(hint, value, path)

    def _shaped(self, shape: Shape, value: Any, path: str) -> np.ndarray:
        array = _array(shape.dtype, value, path)
        is_fit = shape.fits(array.shape, self.sizes)
        _check(is_fit, path, f"an array of {' x '.join(shape.sides)}")
        return array

    def _items(self, origin: type, parts: tuple[Any, ...], value: Any, path: str) -> list[Any]:
        _check(isinstance(value, list), path, "a list")
        if origin is list or parts[1:] == (...,):
            parts = parts[:1] * len(value)
        _check(len(value) == len(parts), path, f"a list of {len(parts)}")
        pairs = enumerate(zip(parts, value, strict=True))
        return [self.read(part, item, f"{path}[{place}]") for place, (part, item) in pairs]

    def _dataclass(self, kind: Any, value: Any, path: str) -> Any:
        _check(isinstance(value, dict), path, "an object")
        hints, reader = _hints(kind), replace(self, sizes=dict(self.sizes))
        known_keys = {field.name for field in fields(kind)}
        unknown_keys = [name for name in value if name not in known_keys]
        if unknown_keys:
            raise Misfit(f"{_words(path)} has an unknown key, {short_repr(unknown_keys[0])}")
        values = {}
        for field in fields(kind):
            name, place = field.name, f"{path}.{field.name}"
            if name in value:
                values[name] = reader.read(hints[name], value[name], place)
            elif field.default is field.default_factory is MISSING:
                raise Misfit(f"{_words(place)} is missing")
        return _converted(lambda values: kind(**values), values, path)


def _scalar(kind: Any, value: Any, path: str) -> Any:
    accepted = (int, float, NoneType) if kind is float else (kind,)
    # isinstance() would accept a bool as an int.
    _check(type(value) in accepted, path, _SCALARS[kind])
    return math.nan if value is None else _converted(kind, value, path)


def _array(dtype: type[np.generic], value: Any, path: str) -> np.ndarray:
    kind = np.dtype(dtype).kind
    accepted, words = _NUMBERS[kind]
    _check(isinstance(value, list), path, f"a list of {words}")
    # Where nested lists differ in length, the items are lists.
    items = _converted(partial(np.array, dtype=object), value, path)
    _check({type(item) for item in items.ravel()} <= accepted, path, f"an array of {words}")
    return _converted(items.astype, np.float64 if kind == "f" else dtype, path)


def _converted(make: Callable[[Any], Any], value: Any, path: str) -> Any:
    try:
        return make(value)
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        raise Misfit(f"{_words(path)}: {error}") from error


def _check(is_fit: bool, path: str, expected: str) -> None:
    if not is_fit:
        raise Misfit(f"{_words(path)} must be {expected}")


def _words(path: str) -> str:
    return path.removeprefix(".") or "it"


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)
