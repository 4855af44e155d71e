"""Whether values that other packages make have the types that they are declared to have."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from dataclasses import fields, is_dataclass
from functools import cache
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

_HERE = __name__.partition(".")[0]

_NUMBERS: dict[Any, Any] = {int: Integral, float: Real}
"""NumPy's numbers are as good as Python's."""

_MODULE = re.compile(r"\b(\w+\.)+")


@cache
def hints_of(kind: Any) -> dict[str, Any]:
    """The declared types of the fields of a class."""
    return get_type_hints(kind)


def fits(value: Any, hint: Any) -> bool:
    """Whether a value has a declared type, and all in it too; iterators are not looked into."""
    origin, parts = get_origin(hint) or hint, get_args(hint)
    if origin is Any or isinstance(origin, TypeVar):
        return True
    if origin is Annotated:
        return fits(value, parts[0])
    if origin in (Union, UnionType):
        return any(fits(value, part) for part in parts)
    if origin is Literal:
        return isinstance(value, str) and value in parts
    if origin in _NUMBERS:
        return isinstance(value, _NUMBERS[origin]) and not isinstance(value, bool)
    if origin in (type, Callable):
        return isinstance(value, origin)
    return isinstance(value, origin or NoneType) and _inner_fit(value, origin, parts)


def _inner_fit(value: Any, kind: Any, parts: tuple[Any, ...]) -> bool:
    """Whether what is in a value of the right kind has the declared types."""
    if kind in (Collection, Iterable, Sequence) and not isinstance(value, list | tuple | Set):
        return False
    if kind is tuple and parts and parts[1:] != (...,):
        return len(value) == len(parts) and all(map(fits, value, parts))
    if isinstance(value, Mapping) and len(parts) > 1:
        key, item = parts
        return all(fits(name, key) and fits(value[name], item) for name in value)
    if isinstance(value, list | tuple | Set) and parts:
        return all(fits(item, parts[0]) for item in value)
    if isinstance(kind, type) and is_dataclass(kind) and kind.__module__.partition(".")[0] == _HERE:
        hints = hints_of(kind)
        names = [field.name for field in fields(kind)]
        return all(fits(getattr(value, name), hints[name]) for name in names)
    return True


def value_of(function: Any) -> Any:
    """The declared type of what a function returns, by the declared type of the function."""
    kinds = (hint for hint in (function, *get_args(function)) if get_origin(hint) is Callable)
    return get_args(next(kinds))[-1]


def type_words(hint: Any) -> str:
    """A declared type for a sentence, without the modules of its parts."""
    return hint.__name__ if isinstance(hint, type) else _MODULE.sub("", str(hint))
