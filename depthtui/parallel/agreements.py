"""Agreements of ranks, so that each runs the same layers on the same rows in the same order.

Every agreement is made here: by rank 0, by the least value of all ranks, or by all of them. A
process that computes alone agrees at once. All ranks make the same agreements in the same order;
an agreement that another rank does not make ends the group.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from depthtui.errors import DepthError
from depthtui.parallel.ending import end_group, end_unless_met_by_all
from depthtui.parallel.group import RankGroup, joined

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

Plain = TypeVar("Plain")

_HEADER = 3
"""Numbers sent before bytes: the agreement's mark, whether there are bytes, and how many."""


def first_rank_bytes(
    agreement: str, make: Callable[[], bytes | None], patient: bool = False
) -> bytes | None:
    """Bytes that rank 0 makes, on every rank.

    Args:
        agreement: names the agreement; the same on every rank.
        make: makes the bytes, on rank 0 alone.
        patient: whether `make` may take long, or waits for a person.

    Raises:
        DepthError: rank 0 could not make them.
    """
    group = joined()
    if group is None:
        return make()
    process_group = group.patient_group if patient else group.work_group
    problem: Exception | None = None
    data: bytes | None = None
    if group.rank == 0:
        try:
            data = make()
        except Exception as error:
            problem = error
    error_words = None if problem is None else str(problem).encode()
    words = _broadcast(group, process_group, f"problem with {agreement}", error_words)
    if problem is not None:
        raise problem
    if words is not None:
        raise DepthError(words.decode())
    return _broadcast(group, process_group, agreement, data)


def first_rank(agreement: str, make: Callable[[], Plain], patient: bool = False) -> Plain:
    """A JSON value that rank 0 makes, on every rank.

    Raises:
        DepthError: rank 0 could not make it.
    """
    if joined() is None:
        return make()
    data = first_rank_bytes(agreement, lambda: json.dumps(make()).encode(), patient)
    assert data is not None
    value: Plain = json.loads(data)
    return value


def least(agreement: str, value: int) -> int:
    """The least of a whole number over all ranks."""
    group = joined()
    return value if group is None else min(_gather(group, agreement, value))


def any_rank(agreement: str, value: bool) -> bool:
    """Whether a value is true on any rank."""
    group = joined()
    return value if group is None else max(_gather(group, agreement, int(value))) == 1


def every_rank(agreement: str, value: bool) -> bool:
    """Whether a value is true on every rank."""
    group = joined()
    return value if group is None else min(_gather(group, agreement, int(value))) == 1


@contextmanager
def all_or_none(agreement: str) -> Iterator[None]:
    """Work without collectives: unless every rank succeeds, every rank raises.

    Raises:
        DepthError: the work failed here, or on another rank.
    """
    group = joined()
    if group is None:
        yield
        return
    problem: Exception | None = None
    try:
        yield
    except Exception as error:
        problem = error
    failed = _gather(group, agreement, int(problem is not None), patient=True)
    if not any(failed):
        return
    source = failed.index(1)
    error_words = str(problem).encode() if group.rank == source else None
    words = _broadcast(group, group.patient_group, agreement, error_words, source)
    if problem is not None:
        raise problem
    assert words is not None
    raise DepthError(f"Rank {source} could not go on: {words.decode()}")


def first_rank_first(agreement: str, work: Callable[[], Plain]) -> Plain:
    """Do work on rank 0 before the other ranks do it, such as a download that they then find.

    Raises:
        DepthError: rank 0 or this one could not do it.
    """
    group = joined()
    if group is None:
        return work()
    results: list[Plain] = []
    first_rank_bytes(agreement, lambda: results.append(work()), patient=True)
    with all_or_none(agreement):
        if group.rank:
            results.append(work())
    return results[0]


@functools.cache
def _mark(agreement: str) -> int:
    return int.from_bytes(hashlib.sha256(agreement.encode()).digest()[:6], "big")


def _broadcast(
    group: RankGroup,
    process_group: ProcessGroup,
    agreement: str,
    data: bytes | None,
    source: int = 0,
) -> bytes | None:
    """Send bytes of one rank to all ranks."""
    import torch
    from torch import distributed

    source_rank = distributed.get_global_rank(process_group, source)
    is_source = group.rank == source
    header = torch.zeros(_HEADER, dtype=torch.int64)
    if is_source:
        header[:] = torch.tensor([_mark(agreement), int(data is not None), len(data or b"")])
    _over_a_connection(lambda: distributed.broadcast(header, source_rank, process_group))
    mark, is_there, size = header.tolist()
    if mark != _mark(agreement):
        _part(agreement)
    if not is_there:
        return None
    if not size:
        return b""
    content = torch.empty(size, dtype=torch.uint8)
    if is_source:
        content = torch.frombuffer(bytearray(data or b""), dtype=torch.uint8)
    _over_a_connection(lambda: distributed.broadcast(content, source_rank, process_group))
    return data if is_source else content.numpy().tobytes()


def _gather(group: RankGroup, agreement: str, value: int, patient: bool = False) -> list[int]:
    """Gather a whole number of every rank, in the order of ranks."""
    import torch
    from torch import distributed

    own_pair = torch.tensor([_mark(agreement), value], dtype=torch.int64)
    numbers = torch.empty(2 * group.size, dtype=torch.int64)
    process_group = group.patient_group if patient else group.work_group
    _over_a_connection(lambda: distributed.all_gather_into_tensor(numbers, own_pair, process_group))
    pairs = numbers.view(group.size, 2).tolist()
    if any(mark != _mark(agreement) for mark, _ in pairs):
        _part(agreement)
    return [number for _, number in pairs]


def _over_a_connection(work: Callable[[], object]) -> None:
    """Run a collective; a failure ends the group."""
    try:
        work()
    except RuntimeError as error:
        end_unless_met_by_all(error)
        raise


def _part(agreement: str) -> None:
    end_group(f"The ranks have parted: one of them does not agree on {agreement}.")
