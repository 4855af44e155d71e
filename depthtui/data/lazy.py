"""Values that an object computes once, when they are first used."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from threading import RLock
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from depthtui.errors import DepthError

if TYPE_CHECKING:
    lazy_value = cached_property
else:

    class lazy_value(cached_property):  # noqa: N801
        """A `cached_property` without a lock.

        Before Python 3.12, one lock serves all objects of a class: a thread that computes the value
        of one object would block the interface's thread, which needs that of another.
        """

        def __get__(self, instance: object, owner: type | None = None) -> Any:
            if instance is None:
                return self
            values = vars(instance)
            if self.attrname not in values:
                values[self.attrname] = self.func(instance)
            return values[self.attrname]


_Item = TypeVar("_Item")
_Key = TypeVar("_Key")
_Made = TypeVar("_Made", bound=Collection[Any])


_MAKING = RLock()
"""The lock of all lists below: one is made of another."""


class _MadeOnce(Generic[_Made]):
    """A list that is made once, whichever threads look at it first.

    Otherwise two threads would load a plug-in twice, and two lists would have different values.
    """

    def __init__(self, make: Callable[[], _Made]) -> None:
        self._make = make
        self._is_making = False

    @lazy_value
    def _items(self) -> _Made:
        with _MAKING:
            if "_items" not in vars(self):
                if self._is_making:
                    raise DepthError("a list of depthtui's values is looked at while it is made")
                self._is_making = True
                try:
                    vars(self)["_items"] = self._make()
                finally:
                    self._is_making = False
            items: _Made = vars(self)["_items"]
            return items

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items)

    def __repr__(self) -> str:
        return repr(self._items)


class LazyTuple(_MadeOnce[tuple[_Item, ...]], Sequence[_Item]):
    """A tuple whose items are made at the first look."""

    def __init__(self, make: Callable[[], Iterable[_Item]]) -> None:
        super().__init__(lambda: tuple(make()))

    @overload
    def __getitem__(self, place: int) -> _Item: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[_Item, ...]: ...

    def __getitem__(self, place: int | slice) -> _Item | tuple[_Item, ...]:
        return self._items[place]


class LazyDict(_MadeOnce[Mapping[_Key, _Item]], Mapping[_Key, _Item]):
    """A mapping whose items are made at the first look."""

    def __getitem__(self, key: _Key) -> _Item:
        return self._items[key]
