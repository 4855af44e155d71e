"""Cells that other processes run: prompts go out as JSON, and records and failures come back."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from depthtui.data.plain import from_plain, to_plain
from depthtui.data.run import Prompt
from depthtui.data.run_settings import RunSettings
from depthtui.errors import DepthError
from depthtui.sweep.folder import Failure, Notify
from depthtui.sweep.in_process import Watcher
from depthtui.sweep.plan import Cell
from depthtui.sweep.records import DamagedRecord, Record, read_record, record_bytes
from depthtui.sweep.state import SweepState
from depthtui.sweep.work import SweepEngine, TokenCounts, run_cell

ATTEMPTS = 3
"""How often a cell is sent out before it counts as failed; only a lost process counts."""

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


class Results:
    """Handles the messages of several processes at once.

    Args:
        state: state of the sweep.
        watcher: sees prompts end.
        notify: gets a sentence for each lost process.
    """

    def __init__(self, state: SweepState, watcher: Watcher, notify: Notify) -> None:
        self._state = state
        self._watcher = watcher
        self._notify = notify
        self._losses: dict[Cell, int] = {}
        self._ended = time.perf_counter()

    def receive(self, cell: Cell, kind: str, data: bytes) -> None:
        """Keep the content of a message.

        Raises:
            DepthError: the folder cannot be written.
        """
        match kind:
            case "counts":
                body = json.loads(data)
                counts = self._state.folder.token_counts(cell.model, body["fingerprint"])
                counts |= body["counts"]
                self._state.folder.save_token_counts(cell.model, body["fingerprint"], counts)
            case "record":
                try:
                    record = read_record(data)
                except DamagedRecord as error:
                    self.fail(cell, f"A record did not arrive: {error}.")
                    return
                self._state.save(cell, record)
                self._end(cell, record)
            case _:
                self._state.fail(failure_in(data))
                self._end(cell, None)

    def is_tried_again(self, cell: Cell, why: str) -> bool:
        """Whether a cell whose process was lost is sent out again; otherwise it has failed."""
        losses = self._losses[cell] = self._losses.get(cell, 0) + 1
        if losses < ATTEMPTS:
            lost = f"Its process was lost ({why}); what it lacks is sent out again."
            self._notify(str(Failure.of(cell, None, lost)))
            return True
        self.fail(cell, f"Its process was lost {ATTEMPTS} times ({why}).")
        return False

    def fail(self, cell: Cell, problem: str) -> None:
        """Add a failure of a cell, or of a prompt of it whose number is unknown."""
        self._state.fail(Failure.of(cell, None, problem))
        self._end(cell, None)

    def _end(self, cell: Cell, record: Record | None) -> None:
        # Time from the end of one prompt to the end of the next, on any process.
        now = time.perf_counter()
        self._watcher.prompt_ends(cell, record, now - self._ended)
        self._ended = now


def failure_in(data: bytes) -> Failure:
    """The failure in a message."""
    return from_plain(Failure, json.loads(data))


def _json(value: Any) -> bytes:
    return json.dumps(to_plain(value)).encode()
