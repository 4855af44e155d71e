"""Sizes of the parts of a computation: smaller where the memory ran out.

Kernels ask `at_once` how many rows, places or layers to compute together. Where the memory runs
out all the same, `in_smaller_parts` does the work again, and `at_once` returns half.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

from depthtui.models.out_of_memory import free_caches, is_out_of_memory
from depthtui.parallel.ending import divisor, start_again_smaller

Result = TypeVar("Result")


@dataclass
class _Parts:
    """One attempt at some work.

    Attributes:
        divisor: the number that every part's size is divided by.
        next_divisor: the smallest divisor that would halve a part; 0 where all parts are 1.
    """

    divisor: int = 1
    next_divisor: int = 0


_parts: ContextVar[_Parts | None] = ContextVar("parts", default=None)


def at_once(count: int, room: int, size: int) -> int:
    """How many of `count` things to compute together, each of `size`, in `room` for all.

    Room and size have the same unit, such as bytes or tokens. At least 1, at most `count`.
    """
    parts = _parts.get() or _Parts(divisor())
    fitting = max(1, min(count, room // (size * parts.divisor)))
    if fitting > 1:
        halving = room // (size * (fitting // 2 + 1)) + 1
        parts.next_divisor = min(parts.next_divisor or halving, halving)
    return fitting


def slices(count: int, size: int) -> Iterator[slice]:
    """The parts of `count` things, each of `size` but the last one, in order."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def in_smaller_parts(work: Callable[[], Result]) -> Result:
    """Do the work; where the memory runs out, do it again in parts half as large, down to one.

    Raises:
        Exception: what `work` raises; where the memory ran out, that of the smallest parts.
        GroupEnds: the memory ran out on one of several ranks, which start again.
    """
    part_divisor = divisor()
    while True:
        parts = _Parts(part_divisor)
        before = _parts.set(parts)
        try:
            return work()
        except Exception as error:
            if not ran_out(error, parts) or not parts.next_divisor:
                raise
        finally:
            _parts.reset(before)
        # Only after the error is freed: its frames hold tensors that the work made.
        free_caches()
        part_divisor = max(2 * part_divisor, parts.next_divisor)


def ran_out(error: BaseException, parts: _Parts | None = None) -> bool:
    """Whether an error means that the memory ran out.

    Raises:
        GroupEnds: the memory ran out on one of several ranks, which start again in smaller parts.
    """
    if not is_out_of_memory(error):
        return False
    parts = parts or _parts.get()
    if parts is None:
        start_again_smaller(error)
    else:
        smallest = not parts.next_divisor
        start_again_smaller(error, 0 if smallest else max(4, parts.next_divisor // parts.divisor))
    return True
