"""The group of ranks that this process is one of, if any.

A launcher such as torchrun starts the ranks and gives each its number. torch.distributed joins them
and transformers cuts the weights; this module has the groups, numbers and store that all must know.
"""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from depthtui.errors import DepthError

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

TIMEOUT = timedelta(seconds=float(os.environ.get("DEPTHTUI_RANKS_TIMEOUT", 100)))
"""How long a rank waits for the others within a piece of work."""

PATIENCE = timedelta(days=1)
"""How long a rank waits between two pieces of work, while another reads, writes or downloads."""

_NAMED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""The environment variables that give a process its place in the group."""

_PARENT = os.getppid()
"""The process that started this one, or its heir where it has ended already."""


@dataclass(frozen=True)
class RankGroup:
    """Ranks that compute one model together.

    Attributes:
        rank: the number of this process, from 0.
        size: the number of ranks.
        work_group: the process group for agreements within a piece of work, beside those of the
            model.
        patient_group: the process group for agreements between two pieces of work.
        sends_calls: whether rank 0 sends its calls to the others; else every rank makes its own.
        store: short texts that all ranks share at once; None where the user joined the ranks.
    """

    rank: int
    size: int
    work_group: ProcessGroup
    patient_group: ProcessGroup
    sends_calls: bool = False
    store: Any = None


_joined: RankGroup | None = None
_leads = False


def joined() -> RankGroup | None:
    """The group that this process has joined; None where it computes alone."""
    return _joined


def ranks_started() -> int:
    """The number of ranks that a launcher has started; 1 without one."""
    return int(os.environ["WORLD_SIZE"]) if _is_launched() else 1


def rank_started() -> int:
    """This process's number among the started ranks, from 0."""
    return int(os.environ["RANK"]) if _is_launched() else 0


def ranks_here() -> int:
    """The number of ranks on this machine, which share its memory."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", ranks_started()))


def is_first() -> bool:
    """Whether this process prints and writes: it computes alone, or is rank 0."""
    return _joined is None or _joined.rank == 0


def attempt() -> int:
    """How often the ranks have started again."""
    return int(os.environ.get("DEPTHTUI_ATTEMPT", 0))


def lead() -> None:
    """Let rank 0 of the started ranks send its calls to the others from now on."""
    global _leads
    _leads = True


def is_led() -> bool:
    """Whether rank 0 sends its calls to the others."""
    return _leads


def call_off() -> None:
    """Tell the other ranks that there is nothing to join for; rank 0 ends soon."""
    from torch import distributed

    store = _store()
    store.set("begin", "no")
    # The process that serves the store must not end before all have read it.
    with contextlib.suppress(distributed.DistError):
        read_keys = [f"read {rank}" for rank in range(1, ranks_started())]
        store.wait(read_keys, timedelta(seconds=30))


def is_called_off() -> bool:
    """Wait until rank 0 joins or calls off; return whether it called off.

    Raises:
        torch.distributed.DistNetworkError: the launcher's store is gone.
    """
    from torch import distributed

    while True:
        try:
            store = _store()
            while not store.check(["begin"]):
                time.sleep(0.05)
            is_off: bool = store.get("begin") == b"no"
            store.set(f"read {rank_started()}", "")
            return is_off
        except distributed.DistNetworkError:
            if _is_served_by_launcher():
                raise
            # Rank 0 has started again, and with it the store that it serves.
            _store.cache_clear()


def launcher_has_ended() -> bool:
    """Whether torchrun, which started this rank, is gone: it can end no rank any more."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        # The parent may be any process, such as a shell that ranks may outlive.
        return False
    return os.getppid() != _PARENT or not _launcher_was_there()


def _is_launched() -> bool:
    return all(os.environ.get(name) for name in _NAMED)


@functools.cache
def _launcher_was_there() -> bool:
    """Whether torchrun was there at the first call, by the store that it serves.

    A parent that ended before this process looked at it has been replaced by another.
    """
    if not _is_served_by_launcher():
        return True
    address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    try:
        socket.create_connection(address, timeout=5).close()
    except OSError as error:
        # A slow network is no refusal.
        return not isinstance(error, ConnectionRefusedError)
    return True


def _is_served_by_launcher() -> bool:
    """Whether torchrun serves the store, rather than rank 0."""
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE", "").lower() == "true"


def join() -> RankGroup:
    """Join the ranks that a launcher has started.

    Raises:
        DepthError: they do not find each other.
    """
    global _joined
    if _joined is not None:
        return _joined
    import torch
    from torch import distributed

    rank, size = rank_started(), ranks_started()
    try:
        store = _store()
        if rank == 0:
            store.set("begin", "yes")
        kind = "cuda" if torch.cuda.is_available() else "cpu"
        if kind == "cuda":
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
        distributed.init_process_group(
            "nccl" if kind == "cuda" else "gloo",
            store=distributed.PrefixStore("model", store),  # type: ignore[attr-defined]
            rank=rank,
            world_size=size,
            timeout=TIMEOUT,
        )
        work_group = distributed.new_group(backend="gloo", timeout=TIMEOUT)
        patient_group = distributed.new_group(backend="gloo", timeout=PATIENCE)
    except (RuntimeError, OSError, ValueError) as error:
        raise DepthError(
            f"The {size} ranks do not find each other ({str(error).splitlines()[0]}).",
            "Start them with torchrun, which tells each its place.",
        ) from error
    _joined = RankGroup(rank, size, work_group, patient_group, _leads, store)
    return _joined


@functools.cache
def _store() -> Any:
    """The store at the launcher's address, which torchrun or else rank 0 serves."""
    from torch import distributed

    rank, size = rank_started(), ranks_started()
    store = distributed.TCPStore(  # type: ignore[attr-defined]
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        size,
        is_master=rank == 0 and not _is_served_by_launcher(),
        timeout=timedelta(minutes=10),
        multi_tenant=True,
    )
    restarts = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return distributed.PrefixStore(f"depthtui {restarts} {attempt()}", store)  # type: ignore[attr-defined]


def leave() -> None:
    """Leave the group and compute alone again."""
    global _joined, _leads
    group, _joined, _leads = _joined, None, False
    if group is not None:
        from torch import distributed

        for process_group in (group.work_group, group.patient_group):
            distributed.destroy_process_group(process_group)


@contextmanager
def joined_by(model: Any) -> Iterator[None]:
    """Join the ranks over which a user has sharded a model, for a while; each must call this."""
    global _joined
    mesh = None if _joined is not None else mesh_of(model)
    if mesh is None:
        yield
        return
    from torch import distributed

    ranks = sorted(mesh.mesh.flatten().tolist())
    work_group, patient_group = (
        distributed.new_group(
            ranks, backend="gloo", timeout=timeout, use_local_synchronization=True
        )
        for timeout in (TIMEOUT, PATIENCE)
    )
    _joined = RankGroup(ranks.index(distributed.get_rank()), len(ranks), work_group, patient_group)
    try:
        yield
    finally:
        leave()


def rank_of(model: Any) -> int:
    """The number of this process among the ranks that share a model; 0 where it is whole."""
    mesh = mesh_of(model)
    return 0 if mesh is None else int(mesh.get_local_rank())


def mesh_of(model: Any) -> Any:
    """The mesh of devices over which a model's weights are sharded; None where they are whole."""
    meshes = (getattr(weight, "device_mesh", None) for weight in model.parameters())
    return next((mesh for mesh in meshes if mesh is not None), None)
