"""Values that an object computes once, when they are first used."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

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
