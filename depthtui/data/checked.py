"""Whether dataclasses that were read from a file hold what they declare."""

from __future__ import annotations

import dataclasses
import functools
import types
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

Value = TypeVar("Value")


def checked(value: Value) -> Value:
    """The dataclass, its fields seen to be of the types that they declare, however deep.

    Raises:
        TypeError: one is not; it is named.
    """
    kind: Any = type(value)
    for name, hint in _hints(kind).items():
        if not _is(getattr(value, name), hint):
            raise TypeError(f"{name} of {kind.__name__} is of another type")
    return value


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _is(value: Any, hint: Any) -> bool:
    origin, parts = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin in (Union, types.UnionType):
        return any(_is(value, part) for part in parts)
    if origin is Literal:
        return value in parts
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if parts[1:] == (...,):
            return all(_is(item, parts[0]) for item in value)
        return len(value) == len(parts) and all(map(_is, value, parts))
    if origin is list:
        return isinstance(value, list) and all(_is(item, parts[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(
            _is(key, parts[0]) and _is(item, parts[1]) for key, item in value.items()
        )
    if dataclasses.is_dataclass(hint):
        return isinstance(value, hint) and checked(value) is value  # type: ignore[arg-type]
    if hint in (int, float):
        # JSON has one kind of number, and Python's bool is an int.
        number = int if hint is int else (int, float)
        return isinstance(value, number) and not isinstance(value, bool)
    return value is None if hint is type(None) else isinstance(value, origin or hint)
