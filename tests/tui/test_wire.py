"""What the explorer may send to its terminal, and how often it may paint."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tui.fake_explorer import EVENT, EVENTS
from tests.tui.wire import Wire, acts

BOUNDS = {
    (120, 40): {
        "start": 76_500,
        "layer key": 1_600,
        "token key": 1_500,
        "measure": 16_500,
        "help": 22_200,
        "close": 33_000,
        "run": 1_400,
        "layer of a run": 1_300,
    },
    (80, 24): {
        "start": 43_500,
        "layer key": 470,
        "token key": 270,
        "measure": 570,
        "help": 5_250,
        "close": 6_600,
        "run": 830,
        "layer of a run": 160,
    },
}
"""Bytes, some 15 % above what was measured; a first start paints the shipped run before its own."""

MOST_REPAINTS = 20
"""A second."""


@pytest.mark.parametrize("size", list(BOUNDS))
def test_bytes_on_the_wire(size: tuple[int, int], live: Wire) -> None:
    sent = {name: cost.bytes for name, cost in acts(live)}
    assert sent.keys() == BOUNDS[size].keys()
    assert {name: count for name, count in sent.items() if count > BOUNDS[size][name]} == {}


@pytest.mark.parametrize("size", [(120, 40)])
def test_a_flood_of_events_is_no_flood_of_frames(live: Wire) -> None:
    live.start()
    start = time.monotonic()
    cost = live.press(b"@")
    assert time.monotonic() - start > EVENT * EVENTS
    assert 1 < cost.frames <= MOST_REPAINTS * (time.monotonic() - start)


@pytest.fixture
def live(size: tuple[int, int], tmp_path: Path) -> Iterator[Wire]:
    wire = Wire(tmp_path, *size, mode="live")
    yield wire
    wire.close()
