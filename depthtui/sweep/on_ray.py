"""A sweep on a Ray cluster: one task per cell, every prompt sent to the driver when it is done.

Nodes share no disk: a task receives its prompts as JSON and sends back the bytes of records'
files. When a node dies, the missing prompts of its cells are sent out again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from depthtui.data.trust import TrustedModels
from depthtui.engine.factory import Storage, make_engine
from depthtui.errors import DepthError, first_line
from depthtui.installing import install_extra
from depthtui.settings import default_cache_dir, models_dir
from depthtui.sizes import format_size
from depthtui.sweep.cell_orders import Message, Results, order_bytes, run_order
from depthtui.sweep.folder import Notify, SweepFolder
from depthtui.sweep.in_process import Watcher
from depthtui.sweep.plan import Cell, SweepPlan
from depthtui.sweep.state import Outcome, Shard, SweepState
from depthtui.sweep.work import SweepEngine, TokenCounts


@dataclass(frozen=True)
class NodeNeeds:
    """The resources that Ray reserves for each cell.

    Attributes:
        cpus: number of cores.
        gpus: number of GPUs; may be a fraction.
        memory: bytes of memory; 0 reserves none.
    """

    cpus: float = 1
    gpus: float = 0
    memory: int = 0

    def options(self) -> dict[str, Any]:
        """The needs as options of a Ray task."""
        memory = {"memory": self.memory} if self.memory else {}
        return {"num_cpus": self.cpus, "num_gpus": self.gpus, **memory}

    def __str__(self) -> str:
        parts = [f"{self.cpus:g} CPU", f"{self.gpus:g} GPU" if self.gpus else ""]
        parts.append(f"{format_size(self.memory)} of memory" if self.memory else "")
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True)
class NodeEngine:
    """Makes an engine on a node; Ray sends these fields.

    Attributes:
        cache_dir: folder of converted models; empty for the node's own default.
        trusts_code: whether Python code that comes with models may run.
    """

    cache_dir: str = ""
    trusts_code: bool = False

    def __call__(self) -> SweepEngine:
        """The engine, which keeps no results: the driver does."""
        folder = Path(self.cache_dir) if self.cache_dir else default_cache_dir()
        storage = Storage(folder, models_dir(folder), save_results=False)
        trusted = TrustedModels(every=self.trusts_code)
        return make_engine(storage, _ignore, _ignore, trusted=trusted)


def connect(address: str) -> None:
    """Join a running Ray cluster; `auto` finds this machine's cluster.

    Raises:
        DepthError: Ray is not installed, or there is no such cluster.
    """
    try:
        import ray
    except ImportError:
        raise DepthError(
            "--ray needs the library ray.", f"Install it: {install_extra('ray')}"
        ) from None
    if ray.is_initialized():
        return
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise DepthError(
            f"There is no Ray cluster to join ({first_line(error)}).",
            "Start one with `ray start --head`, or name it: --ray HOST:PORT.",
        ) from None


def run_on_ray(
    plan: SweepPlan,
    folder: SweepFolder,
    make_engine: Callable[[], SweepEngine],
    needs: NodeNeeds,
    watcher: Watcher,
    notify: Notify,
    shard: Shard | None = None,
    datasets: Path | None = None,
) -> Outcome:
    """Run the missing prompts on the cluster that `connect` joined.

    Records are not compared with the weights that the nodes have: a report names cells whose
    prompts ran with different weights.

    Args:
        plan: the plan to run.
        folder: folder of the records, on the driver.
        make_engine: makes an engine on a node; a function that Ray can send.
        needs: resources for each cell.
        watcher: sees prompts end.
        notify: gets messages for people, a failure at once.
        shard: which part of the plan to run; None for all of it.
        datasets: the folder of data sets on the driver (see `prompts.datasets.rows`).

    Raises:
        DepthError: a task's prompts cannot be read, or the folder cannot be written or holds files
            of others.
    """
    folder.claim()
    state = SweepState(plan, folder, notify, shard or Shard(), datasets)
    return _RayDriver(state, make_engine, needs, watcher, notify).run()


@dataclass(eq=False)
class _RayDriver:
    state: SweepState
    make_engine: Callable[[], SweepEngine]
    needs: NodeNeeds
    watcher: Watcher
    notify: Notify
    _running: dict[Any, Cell] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        import ray

        self._ray: Any = ray

    def run(self) -> Outcome:
        state = self.state
        state.folder.save_failures([])
        for model in state.plan.models:
            counts = state.folder.token_counts(model, None)
            state.find_records(model, TokenCounts(counts, state.plan.run.chat_template), None)
        self.watcher.sweep_begins(state)
        results = Results(state, self.watcher, self.notify, "node")
        self._warn_of_needs()
        for cell in state.missing_items:
            self._send(cell)
        try:
            while self._running:
                self._receive(results)
        except BaseException:
            for stream in self._running:
                self._ray.cancel(stream)
            state.outcome()
            raise
        return state.outcome()

    def _warn_of_needs(self) -> None:
        """Warn where no node is large enough: Ray would wait for one for ever."""
        if self.state.missing_items and not _fits(self.needs, self._ray.nodes()):
            self.notify(f"No node of the cluster has {self.needs} now: the sweep waits for one.")

    def _send(self, cell: Cell) -> None:
        task = self._ray.remote(_run_cell).options(
            num_returns="streaming", max_retries=0, name=cell.task.title, **self.needs.options()
        )
        order = order_bytes(self.state, cell, self.state.missing_numbers(cell))
        self._running[task.remote(self.make_engine, order)] = cell

    def _receive(self, results: Results) -> None:
        """Handle one message, of any cell that has sent one."""
        (stream,), _ = self._ray.wait(list(self._running), num_returns=1)
        cell = self._running[stream]
        try:
            kind, data = self._ray.get(next(stream))
        except StopIteration:
            del self._running[stream]
        except self._ray.exceptions.RayTaskError as error:
            del self._running[stream]
            results.fail(cell, f"On its node: {first_line(error.cause)}.")
        except self._ray.exceptions.RayError as error:
            del self._running[stream]
            if results.is_tried_again(cell, type(error).__name__):
                self._send(cell)
                return
        else:
            results.receive(cell, kind, data)
            return
        self.watcher.cell_ends(cell)


def _fits(needs: NodeNeeds, nodes: list[dict[str, Any]]) -> bool:
    """Whether one of Ray's nodes, busy or not, has the resources for a cell."""
    resources = {"CPU": needs.cpus, "GPU": needs.gpus, "memory": needs.memory}
    return any(
        node["Alive"]
        and all(node["Resources"].get(name, 0) >= amount for name, amount in resources.items())
        for node in nodes
    )


def _run_cell(make_engine: Callable[[], SweepEngine], order: bytes) -> Iterator[Message]:
    """On a node: run the prompts of an order."""
    yield from run_order(make_engine, order, _bug)


def _ignore(event: object) -> None:
    """Drop an event: a node shows no progress."""


def _bug(error: Exception) -> str:
    return f"Something unexpected went wrong on its node ({type(error).__name__}: {error})."
