"""A sweep on several GPUs of this machine: a process for each, which sees that GPU alone.

A process receives orders over a socket and sends back the bytes of records' files. It keeps its
model from cell to cell. When it dies, the missing prompts of its cell are sent out again.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from depthtui.data.model import ModelInfo
from depthtui.data.plain import from_plain, to_plain
from depthtui.data.protocol import Event, Notice
from depthtui.data.run import Prompt, RunResult
from depthtui.data.run_settings import ModelSpec, RunSettings, Writing
from depthtui.data.trust import TrustedModels
from depthtui.engine.factory import Storage, make_engine
from depthtui.log import log_bug
from depthtui.settings import datasets_dir
from depthtui.sweep.cell_orders import failure_in, order_bytes, run_order
from depthtui.sweep.folder import Failure, Notify, SweepFolder
from depthtui.sweep.in_process import Watcher, fail_model, find_on_disk
from depthtui.sweep.plan import Cell, SweepPlan
from depthtui.sweep.records import DamagedRecord, Record, read_record
from depthtui.sweep.state import Outcome, Shard, SweepState
from depthtui.sweep.work import SweepEngine

ATTEMPTS = 3
"""How often a cell is sent out before it counts as failed; only a lost process counts."""

_GRACE = 2.0
"""Seconds for a process to exit after it has closed its socket."""


@dataclass(frozen=True)
class GpuEngine:
    """Makes the engine of a process, which receives these fields as JSON.

    Attributes:
        storage: where models and results are saved.
        trusts_code: whether Python code that comes with models may run.
    """

    storage: Storage
    trusts_code: bool

    def __call__(self, emit: Callable[[Event], None], notify: Notify) -> SweepEngine:
        """Make the engine."""
        trusted = TrustedModels(every=self.trusts_code)
        return make_engine(self.storage, emit, notify, log_bug, trusted)


def run_on_gpus(
    plan: SweepPlan,
    folder: SweepFolder,
    gpus: Sequence[str],
    engine: GpuEngine,
    watcher: Watcher,
    notify: Notify,
    shard: Shard | None = None,
    module: str = __name__,
) -> Outcome:
    """Run the missing prompts, a cell on each GPU at a time.

    Where there are fewer cells than GPUs, a cell is run in parts.

    Args:
        plan: the plan to run; its models name no device.
        folder: folder of the records.
        gpus: as `CUDA_VISIBLE_DEVICES` names them.
        engine: makes the engine of each process.
        watcher: sees prompts end.
        notify: gets messages for people, a failure at once.
        shard: which part of the plan to run; None for all of it.
        module: the module that a process runs; it calls `serve`.

    Raises:
        DepthError: a task's prompts cannot be read, or the folder cannot be written or holds files
            of others.
    """
    folder.claim()
    models = engine.storage.models_dir
    state = SweepState(plan, folder, notify, shard or Shard(), datasets_dir(models.parent))
    state.folder.save_failures([])
    for model in plan.models:
        problem = find_on_disk(state, model, models, watcher.emit)
        if problem:
            fail_model(state, watcher, model, problem)
    watcher.sweep_begins(state)
    setting = json.dumps(to_plain(engine), default=str)
    driver = _GpuDriver(state, watcher, notify, lambda gpu: _Worker(gpu, module, setting))
    try:
        driver.run(gpus)
    except KeyboardInterrupt:
        state.outcome()
        raise
    return state.outcome()


@dataclass(frozen=True)
class _CellPart:
    """Some prompts of a cell, by their numbers."""

    cell: Cell
    numbers: tuple[int, ...]


def _parts(state: SweepState, n_gpus: int) -> list[_CellPart]:
    """The missing prompts in parts of equal work: a part per cell, or more for idle GPUs."""
    n_parts = -(-n_gpus // max(len(state.missing_items), 1))
    parts = [
        _CellPart(cell, tuple(state.missing_numbers(cell)[place::n_parts]))
        for cell in state.missing_items
        for place in range(n_parts)
    ]
    return [part for part in parts if part.numbers]


class _Worker:
    """A process on one GPU.

    Attributes:
        gpu: the GPU.
        connection: to the process.
        part: the part that it runs; None where no part is left.
        model: model of its last order.
    """

    def __init__(self, gpu: str, module: str, setting: str) -> None:
        self.gpu = gpu
        self.part: _CellPart | None = None
        self.model: ModelSpec | None = None
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                # -P: no module of the folder that depthtui was started in is imported.
                [sys.executable, "-P", "-m", module, str(theirs.fileno()), setting],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                # Ctrl-c goes only to the process that writes the records.
                start_new_session=True,
                env={**os.environ, "CUDA_VISIBLE_DEVICES": gpu},
            )
        self.connection = Connection(ours.detach())

    def send(self, part: _CellPart, order: bytes) -> None:
        """Send a part to the process; a dead process is noticed at the next read from it."""
        self.part, self.model = part, part.cell.model
        with suppress(OSError):
            self.connection.send_bytes(order)

    def end(self) -> str:
        """End the process, and return how it ended."""
        self.connection.close()
        with suppress(subprocess.TimeoutExpired):
            # A process with a part would continue it, so it is killed at once.
            if self.part is None:
                self._process.wait(_GRACE)
        self._process.kill()
        code = self._process.wait()
        return f"killed by signal {-code}" if code < 0 else f"exit status {code}"

    def death(self) -> str:
        """How the process ended, after it closed its socket."""
        self.part = None
        return self.end()


@dataclass(eq=False)
class _GpuDriver:
    state: SweepState
    watcher: Watcher
    notify: Notify
    start: Callable[[str], _Worker]
    _waiting: list[_CellPart] = field(default_factory=list, init=False)
    _workers: list[_Worker] = field(default_factory=list, init=False)
    _notices: set[str] = field(default_factory=set, init=False)
    _losses: Counter[Cell] = field(default_factory=Counter, init=False)
    _ended: float = field(default_factory=time.perf_counter, init=False)

    def run(self, gpus: Sequence[str]) -> None:
        self._waiting = _parts(self.state, len(gpus))
        try:
            for gpu in gpus[: len(self._waiting)]:
                self._begin(gpu)
            while busy := [worker for worker in self._workers if worker.part]:
                ready = wait([worker.connection for worker in busy])
                for worker in busy:
                    if worker.connection in ready:
                        self._receive(worker)
        finally:
            for worker in self._workers:
                worker.end()

    def _begin(self, gpu: str) -> None:
        worker = self.start(gpu)
        self._workers.append(worker)
        self._send_next(worker)

    def _send_next(self, worker: _Worker) -> None:
        """Send a process the next part, of the model that it has loaded where there is one."""
        worker.part = None
        if self._waiting:
            same = (part for part in self._waiting if part.cell.model == worker.model)
            part = next(same, self._waiting[0])
            self._waiting.remove(part)
            worker.send(part, order_bytes(self.state, part.cell, part.numbers))

    def _receive(self, worker: _Worker) -> None:
        assert worker.part is not None
        cell = worker.part.cell
        try:
            kind, _, data = worker.connection.recv_bytes().partition(b" ")
        except (EOFError, OSError):
            self._lose(worker, worker.part)
            return
        match kind:
            case b"done":
                self._send_next(worker)
                self._end_cell(cell)
            case b"notice":
                self._notify_once(data.decode())
            case b"unloaded":
                problem = failure_in(data).message
                self._waiting = [part for part in self._waiting if part.cell.model != cell.model]
                fail_model(self.state, self.watcher, cell.model, problem)
            case b"counts":
                self._keep_counts(cell, json.loads(data))
            case b"record":
                self._keep_record(cell, data)
            case _:
                self._fail(cell, failure_in(data))

    def _keep_counts(self, cell: Cell, body: dict[str, Any]) -> None:
        """Keep the lengths of prompts that a process has counted."""
        folder, fingerprint = self.state.folder, body["fingerprint"]
        counts = folder.token_counts(cell.model, fingerprint) | body["counts"]
        folder.save_token_counts(cell.model, fingerprint, counts)

    def _keep_record(self, cell: Cell, data: bytes) -> None:
        """Keep a record, from the bytes of its file."""
        try:
            record = read_record(data)
        except DamagedRecord as error:
            self._fail(cell, Failure.of(cell, None, f"A record did not arrive: {error}."))
            return
        self.state.save(cell, record)
        self._end_prompt(cell, record)

    def _fail(self, cell: Cell, failure: Failure) -> None:
        """Keep a failure of a cell, or of a prompt of it."""
        self.state.fail(failure)
        self._end_prompt(cell, None)

    def _end_prompt(self, cell: Cell, record: Record | None) -> None:
        # Time from the end of one prompt to the end of the next, on any process.
        now = time.perf_counter()
        self.watcher.prompt_ends(cell, record, now - self._ended)
        self._ended = now

    def _lose(self, worker: _Worker, part: _CellPart) -> None:
        self._workers.remove(worker)
        cell, missing, death = part.cell, self.state.missing_numbers(part.cell), worker.death()
        self._losses[cell] += 1
        if self._losses[cell] < ATTEMPTS:
            lost = f"Its process was lost ({death}); what it lacks is sent out again."
            self.notify(str(Failure.of(cell, None, lost)))
            numbers = tuple(number for number in part.numbers if number in missing)
            self._waiting.insert(0, _CellPart(cell, numbers))
        else:
            lost = f"Its process was lost {ATTEMPTS} times ({death})."
            self._fail(cell, Failure.of(cell, None, lost))
        self._end_cell(cell)
        if self._waiting:
            self._begin(worker.gpu)

    def _end_cell(self, cell: Cell) -> None:
        """Report the end of a cell, unless a part of it waits or runs."""
        running = [worker.part for worker in self._workers if worker.part]
        if not any(part.cell == cell for part in (*self._waiting, *running)):
            self.watcher.cell_ends(cell)

    def _notify_once(self, message: str) -> None:
        if message not in self._notices:
            self._notices.add(message)
            self.notify(message)


class _KeptEngine:
    """An engine that keeps its model loaded where the next order is of the same model."""

    def __init__(self, engine: SweepEngine) -> None:
        self._engine = engine
        self._loaded: tuple[ModelSpec, ModelInfo] | None = None

    def load(self, spec: ModelSpec) -> ModelInfo:
        if self._loaded is None or self._loaded[0] != spec:
            self._loaded = None
            self._loaded = spec, self._engine.load(spec)
        return self._loaded[1]

    def count_tokens(self, prompt: Prompt, chat_template: bool = False) -> int:
        return self._engine.count_tokens(prompt, chat_template)

    def run(
        self, prompt: Prompt, settings: RunSettings, *, write: Writing | None = None
    ) -> RunResult:
        return self._engine.run(prompt, settings, write=write)


def serve(
    connection: Connection, make: Callable[[Callable[[Event], None], Notify], SweepEngine]
) -> None:
    """In a process of one GPU: run every order, until the driver has gone.

    Args:
        connection: connection to the driver.
        make: makes the engine from a handler of its events and one of notices about the cache.
    """

    def notify(message: str) -> None:
        connection.send_bytes(b"notice " + message.encode())

    def emit(event: Event) -> None:
        if isinstance(event, Notice):
            notify(event.message)

    kept_engine: list[_KeptEngine] = []

    def engine() -> SweepEngine:
        if not kept_engine:
            kept_engine.append(_KeptEngine(make(emit, notify)))
        return kept_engine[0]

    with suppress(EOFError, OSError):
        while True:
            for kind, data in run_order(engine, connection.recv_bytes(), log_bug):
                connection.send_bytes(kind.encode() + b" " + data)
            connection.send_bytes(b"done ")


if __name__ == "__main__":
    made = from_plain(GpuEngine, json.loads(sys.argv[2]), readers={Path: Path})
    serve(Connection(int(sys.argv[1])), made)
