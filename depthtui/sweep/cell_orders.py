"""Cells that other processes run: prompts go out as JSON, and records and failures come back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from depthtui.data.plain import from_plain, to_plain
from depthtui.data.run import Prompt
from depthtui.data.run_settings import RunSettings
from depthtui.errors import DepthError
from depthtui.sweep.folder import Failure
from depthtui.sweep.plan import Cell
from depthtui.sweep.records import Record, record_bytes
from depthtui.sweep.state import SweepState
from depthtui.sweep.work import SweepEngine, TokenCounts, run_cell

Message = tuple[str, bytes]
"""A message to the driver: `counts`, `record`, `failure` or `unloaded`, and JSON."""


@dataclass(frozen=True)
class CellOrder:
    """A cell to run: its prompts, and the numbers of the prompts to run."""

    cell: Cell
    settings: RunSettings
    prompts: list[Prompt]
    numbers: list[int]


def order_bytes(state: SweepState, cell: Cell, numbers: Sequence[int]) -> bytes:
    """The order of some of a cell's prompts."""
    return _json(CellOrder(cell, state.plan.run, state.prompts_for(cell), list(numbers)))


def run_order(
    make_engine: Callable[[], SweepEngine], data: bytes, on_bug: Callable[[Exception], str]
) -> Iterator[Message]:
    """Load the order's model, run its prompts, and yield each result at once.

    Args:
        make_engine: makes the engine, or returns an existing one.
        data: an order from `order_bytes`.
        on_bug: puts an unexpected failure into words.
    """
    order = from_plain(CellOrder, json.loads(data))
    cell, settings, numbers = order.cell, order.settings, set(order.numbers)
    try:
        engine = make_engine()
        info = engine.load(cell.model)
        counts = TokenCounts({}, settings.chat_template, engine)
    except DepthError as error:
        yield "unloaded", _json(Failure.of(cell, None, str(error)))
        return
    except Exception as error:
        yield "unloaded", _json(Failure.of(cell, None, on_bug(error)))
        return
    n_sent = 0
    for step in run_cell(
        engine, cell, settings, order.prompts, counts, lambda item: item.number in numbers, on_bug
    ):
        if isinstance(step, Record):
            yield "record", record_bytes(step)
        elif isinstance(step, Failure):
            yield "failure", _json(step)
        elif len(counts.lengths) > n_sent:
            n_sent = len(counts.lengths)
            body = {"fingerprint": info.fingerprint, "counts": dict(counts.lengths)}
            yield "counts", _json(body)


def failure_in(data: bytes) -> Failure:
    """The failure in a message."""
    return from_plain(Failure, json.loads(data))


def _json(value: Any) -> bytes:
    return json.dumps(to_plain(value)).encode()
