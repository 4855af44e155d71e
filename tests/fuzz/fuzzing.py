"""Random changes of real files, and how they are tried.

What reads them may end well or raise the errors that it declares: never another one, within
seconds and little memory, and without unpickling or running anything that they hold.
"""

from __future__ import annotations

import copy
import json
import pickle
import re
import resource
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

FEW = 40
"""Examples of each kind of file in an ordinary run."""

MANY = 1000
"""Examples by hand."""

examples = pytest.mark.parametrize(
    "count", [FEW, pytest.param(MANY, marks=pytest.mark.by_hand)], ids="{} examples".format
)
"""A test that takes `count` runs with few examples, and by hand with many."""

_MOST_SECONDS = 60
_MOST_MEMORY = 3 << 30


class Failure(BaseException):
    """Not to be caught by what is tested."""


class Bomb:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


PICKLE = pickle.dumps(Bomb(Path("exploded")))

PIECES = (
    b"",
    b"\0",
    b"\xff",
    b"\r",
    b"\n",
    b'"',
    b"\\",
    b"\\ud800",
    b"\\u0000",
    b"\x1b[2J",
    "\u202e".encode(),
    b"-1",
    b"0",
    b"1e999",
    b"NaN",
    b"-Infinity",
    b"true",
    b"null",
    b"{}",
    b"[]",
    b"[" * 3000,
    b'{"a":' * 3000,
    b"9" * 30,
    b"9" * 5000,
    b"0x" + b"f" * 5000,
    b"x" * 5000,
    b"../../../etc/passwd",
    b"~nosuchuser/x",
    b"/dev/zero",
    (2**63).to_bytes(8, "little"),
    (2**64 - 1).to_bytes(8, "little"),
    (2**31).to_bytes(4, "big"),
    PICKLE,
)
"""What has broken readers before."""

_ODD = (
    st.none()
    | st.booleans()
    | st.sampled_from([-1, 0, 1, 10**9, 10**30, 1e308, 0.5, "", "x", "x" * 5000, "\ud800", "\0"])
    | st.sampled_from([[], {}, [[]], {"": None}, ["x"], [None, 1], {"x": [1]}])
)


_VALUE = re.compile(rb"(?<=[=:,\[{]) *[^=:,\[\]{}\n]*")
"""What stands behind a sign of JSON or TOML, up to the next one."""


def with_each_piece(original: bytes) -> list[bytes]:
    """The original with one value replaced by each of `PIECES`, each time another value."""
    values = [found.span() for found in _VALUE.finditer(original)] or [(0, 1)]
    return [
        original[:start] + piece + original[end:]
        for place, piece in enumerate(PIECES)
        for start, end in (values[place * 7 % len(values)],)
    ]


def mutated(originals: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """One of the originals with a few values or places changed, doubled, cut out or cut off."""

    @st.composite
    def change(draw: st.DrawFn) -> bytes:
        data = draw(st.sampled_from(originals))
        for _ in range(draw(st.integers(1, 4))):
            values = [found.span() for found in _VALUE.finditer(data)]
            if values and draw(st.booleans()):
                start, end = draw(st.sampled_from(values))
                data = data[:start] + draw(st.sampled_from(PIECES)) + data[end:]
                continue
            start = draw(st.integers(0, len(data)))
            end = min(len(data), start + draw(st.sampled_from([0, 1, 4, 8, 40, 400])))
            how = draw(st.integers(0, 5))
            if how == 0:
                part = draw(st.binary(max_size=8))
            elif how == 1:
                part = data[start:end] * 2
            elif how == 2:
                return data[:start]
            else:
                part = draw(st.sampled_from(PIECES))
            data = data[:start] + part + data[end:]
        return data

    return change()


def mutated_json(originals: Sequence[Any]) -> st.SearchStrategy[Any]:
    """One of the originals, JSON values, with a few values replaced by others or left out."""

    @st.composite
    def change(draw: st.DrawFn) -> Any:
        value = json.loads(json.dumps(draw(st.sampled_from(originals))))
        for _ in range(draw(st.integers(1, 3))):
            if not isinstance(value, dict | list) or not value:
                return draw(_ODD)
            holder, key = value, draw(_keys(value))
            # What stands further up is as likely as the many numbers below it.
            while isinstance(holder[key], dict | list) and holder[key] and draw(st.booleans()):
                holder = holder[key]
                key = draw(_keys(holder))
            if draw(st.integers(0, 5)) == 0:
                del holder[key]
            else:
                # A copy: the next change may be within it.
                holder[key] = copy.deepcopy(draw(_ODD))
        return value

    return change()


def _keys(value: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(sorted(value) if isinstance(value, dict) else range(len(value)))


def fuzz(
    check: Callable[[Any], None],
    inputs: st.SearchStrategy[Any],
    count: int,
    first: Sequence[Any] = (),
) -> None:
    """Try a check on `count` inputs, always the same ones, each with little time and memory.

    Those of `first` come first, and count too.
    """

    @settings(
        max_examples=count - len(first),
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink) if count > FEW else (Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs)
    def one(value: Any) -> None:
        with _no_pickle(), _little_time(), _little_memory():
            check(value)

    for value in first:
        with _no_pickle(), _little_time(), _little_memory():
            check(value)
    one()
    assert not Path("exploded").exists()


@contextmanager
def _no_pickle() -> Iterator[None]:
    def refuse(*_: object, **__: object) -> None:
        raise Failure("something was unpickled")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pickle, "load", refuse)
        patch.setattr(pickle, "loads", refuse)
        patch.setattr(pickle, "Unpickler", refuse)
        yield


@contextmanager
def _little_time() -> Iterator[None]:
    def too_long(*_: object) -> None:
        raise Failure(f"it takes more than {_MOST_SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(_MOST_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _little_memory() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_AS)
    limit = psutil.Process().memory_info().vms + _MOST_MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
