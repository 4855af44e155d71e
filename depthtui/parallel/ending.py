"""How ranks end: together, with a sentence, and without losing computed results.

A rank that cannot continue writes the reason into the group's store, which all others read twice a
second. They would wait for it in vain: they save their results, and end or start again. A rank that
is killed writes nothing; its launcher ends the others by a signal, or their wait for it fails. A
launcher that is killed signals nothing; each rank looks for it as often, from its start.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from depthtui.errors import ENDS, GroupEnds, named_line
from depthtui.log import log_bug
from depthtui.parallel.group import attempt, joined, launcher_has_ended, rank_started

SAVED = "What was finished is saved."

LOST = f"A rank of the model has ended, or does not answer. {SAVED}"
STOPPED = f"The ranks were stopped by ctrl-c. {SAVED}"
LAUNCHER_ENDED = f"The launcher of the ranks has ended. {SAVED}"
TOLD_TO_END = f"The ranks were told to end, as they are where one of them dies. {SAVED}"

_SECONDS_BETWEEN_LOOKS = 0.5
_GRACE = 5.0
"""Seconds that a rank has to end by itself, which a rank that waits for a GPU cannot do."""

_SECONDS_TO_MEET = 10.0
"""How long a rank that met an error waits for the others to meet it too."""

_MOST_ATTEMPTS = 4
"""How often the ranks start again; each time the model is loaded again."""

_DIVISOR = "DEPTHTUI_PARTS"
_WORDS_OF_LOSS = ("gloo/transport", "nccl", "connection closed", "connection reset", "broken pipe")
"""Words of torch.distributed's errors when another rank is unreachable, which have no class."""


class _Ending:
    """The reason why this process ends, if any, and the functions that save its results."""

    def __init__(self) -> None:
        self.why: GroupEnds | None = None
        self.saves: list[Callable[[], object]] = []
        self.failures = 0
        self.lock = threading.Lock()
        self.interrupted = False
        self.steered = 0
        self.restarts = False


_ending = _Ending()


def divisor() -> int:
    """The divisor of the parts of the work, above 1 once the ranks have started again."""
    return int(os.environ.get(_DIVISOR, 1))


def end_group(words: str, divisor: int = 0, by_ctrl_c: bool = False) -> NoReturn:
    """End all ranks, or let them start again with parts divided by `divisor`.

    Raises:
        GroupEnds: always.
    """
    group = joined()
    if _ending.why is None and group is not None and group.store is not None:
        with contextlib.suppress(RuntimeError):
            group.store.set("ended", json.dumps([words, divisor, by_ctrl_c]))
    raise _note_end(GroupEnds(words, divisor, by_ctrl_c))


def start_again_smaller(error: BaseException, factor: int = 4) -> None:
    """Let the ranks start again where the memory ran out on one; do nothing without a group.

    A rank cannot retry a part of the work by itself: the others have moved on.

    Args:
        error: the out-of-memory error.
        factor: by how much parts get smaller; 0 where they are the smallest already.

    Raises:
        GroupEnds: always in a group.
    """
    group = joined()
    if group is None:
        return
    if not _ending.restarts or not factor or attempt() == _MOST_ATTEMPTS:
        smallest = " in small parts too" if attempt() else ""
        end_group(
            f"The memory ran out on rank {group.rank}{smallest}. {SAVED} Use more ranks, fewer "
            "metrics or a shorter prompt."
        )
    smaller = divisor() * factor
    words = f"The memory ran out on rank {group.rank}: the ranks start again, in smaller parts."
    try:
        end_group(words, smaller)
    except GroupEnds as end:
        raise end from error


def end_unless_met_by_all(error: Exception) -> None:
    """End the ranks where one of them alone met an unexpected error.

    Raises:
        GroupEnds: one rank did, or the connection between ranks failed.
    """
    if _ending.why is not None:
        raise _ending.why
    group = joined()
    if group is None or group.store is None:
        return
    log_bug(error)
    if _is_loss(error):
        # The lost rank may have written the reason; the launcher may end this one too.
        time.sleep(2 * _SECONDS_BETWEEN_LOOKS)
        end_group(LOST)
    _ending.failures += 1
    error_key = f"error {_ending.failures}"
    rank_keys = [f"{error_key} {rank}" for rank in range(group.size)]
    group.store.set(rank_keys[group.rank], "met")
    end = time.monotonic() + _SECONDS_TO_MEET
    while time.monotonic() < end:
        if group.store.check(rank_keys):
            return
        time.sleep(0.05)
    end_group(f"Rank {group.rank} met an error ({named_line(error)}). {SAVED}")


def _is_loss(error: Exception) -> bool:
    """Whether an error is a failure of the connection between ranks."""
    import torch

    words = str(error).lower()
    return isinstance(error, torch.distributed.DistError) or (
        isinstance(error, RuntimeError) and any(word in words for word in _WORDS_OF_LOSS)
    )


@contextmanager
def saving(save: Callable[[], object]) -> Iterator[None]:
    """Call `save` if the ranks end within the block, to save the results so far."""
    if joined() is None:
        yield
        return
    _ending.saves.append(save)
    try:
        yield
    except ENDS:
        _save_all()
        raise
    finally:
        with contextlib.suppress(ValueError):
            _ending.saves.remove(save)


def _save_all() -> None:
    """Save all results, once."""
    with _ending.lock:
        while _ending.saves:
            # A result that cannot be saved must not stop the process from ending.
            with contextlib.suppress(Exception):
                _ending.saves.pop()()


def _note_end(end: GroupEnds) -> GroupEnds:
    """Note a reason to end; return the first one noted."""
    _ending.why = _ending.why or end
    return _ending.why


def interrupted() -> bool:
    """Whether ctrl-c was pressed at this rank, so that work stops at the next checkpoint."""
    return _ending.interrupted


def forget_interrupt() -> bool:
    """Whether ctrl-c was pressed at this rank; forget it."""
    was_interrupted, _ending.interrupted = _ending.interrupted, False
    return was_interrupted


def are_in_step() -> bool:
    """Whether all ranks reach the same checkpoints now.

    A rank 0 that sends calls to the others waits, loads and downloads alone between calls.
    """
    group = joined()
    return group is not None and (not group.sends_calls or _ending.steered > 0)


@contextmanager
def steered() -> Iterator[None]:
    """Work whose checkpoints all ranks reach: ctrl-c stops it there."""
    _ending.steered += 1
    try:
        yield
    finally:
        _ending.steered -= 1


def handles_ctrl_c() -> bool:
    """Whether ctrl-c in this process only ends the group's work."""
    return signal.getsignal(signal.SIGINT) is _interrupt


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    if _ending.interrupted or not _ending.steered:
        raise KeyboardInterrupt
    _ending.interrupted = True


@contextmanager
def watched(
    report: Callable[[str], None],
    finish: Callable[[GroupEnds], NoReturn],
    restarts: bool = True,
) -> Iterator[None]:
    """Let the end of another rank end this one, during the block.

    Args:
        report: called with a sentence, at one of the ranks.
        finish: ends the process, or starts it again.
        restarts: whether the process can be started again.
    """
    _ending.restarts = restarts
    with _Watch(report, finish):
        try:
            yield
            return
        except KeyboardInterrupt:
            with contextlib.suppress(GroupEnds):
                end_group(STOPPED, by_ctrl_c=True)
        except GroupEnds:
            pass
        assert _ending.why is not None
        _report_once(report, _ending.why)
        finish(_ending.why)


def _report_once(report: Callable[[str], None], end: GroupEnds) -> None:
    """Call `report` with the reason, at the first rank that gets here."""
    group = joined()
    try:
        is_first = rank_started() == 0 if group is None else group.store.add("told", 1) == 1
    except RuntimeError:
        is_first = group is not None and group.rank <= 1
    if is_first:
        report(str(end))


class _Watch:
    """A thread that checks whether the group ends, and a handler of signals that end it."""

    def __init__(
        self, report: Callable[[str], None], finish: Callable[[GroupEnds], NoReturn]
    ) -> None:
        self._report = report
        self._finish = finish
        self._has_raised = False
        self._main = threading.get_ident()
        self._stopped = threading.Event()
        self._wake, self._woken = os.pipe()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> None:
        os.set_blocking(self._woken, False)
        self._fd_before = signal.set_wakeup_fd(self._woken, warn_on_full_buffer=False)
        for number, handler in ((signal.SIGTERM, self._end), (signal.SIGINT, _interrupt)):
            self._before[number] = signal.signal(number, handler)
        self._thread = threading.Thread(target=self._look, name="group", daemon=True)
        self._thread.start()

    def __exit__(self, *_error: object) -> None:
        self._stopped.set()
        os.write(self._woken, b"\0")
        # A thread that is still in torch as Python ends would abort the process.
        self._thread.join()
        signal.set_wakeup_fd(self._fd_before)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _end(self, _number: int, _frame: FrameType | None) -> None:
        if not self._has_raised:
            self._has_raised = True
            raise _note_end(GroupEnds(TOLD_TO_END))

    def _look(self) -> None:
        while not self._stopped.is_set():
            end = self._end_by_signal() or self._end_by_launcher() or self._end_by_store()
            if end is None or self._stopped.is_set():
                continue
            if _ending.why is None:
                self._bring_about(_note_end(end))
            else:
                # The main thread is ending already.
                self._end_without_main(_ending.why)
            return

    def _end_by_signal(self) -> GroupEnds | None:
        ready, _, _ = select.select([self._wake], [], [], _SECONDS_BETWEEN_LOOKS)
        signals = os.read(self._wake, 64) if ready else b""
        return GroupEnds(TOLD_TO_END) if signal.SIGTERM in signals else None

    def _end_by_launcher(self) -> GroupEnds | None:
        return GroupEnds(LAUNCHER_ENDED) if launcher_has_ended() else None

    def _end_by_store(self) -> GroupEnds | None:
        group = joined()
        try:
            if group is None or not group.store.check(["ended"]):
                return None
            return GroupEnds(*json.loads(group.store.get("ended")))
        except RuntimeError:
            # The process that served the store has ended.
            return GroupEnds(LOST)

    def _bring_about(self, end: GroupEnds) -> None:
        """End the process by the main thread, or without it."""
        signal.pthread_kill(self._main, signal.SIGTERM)
        self._end_without_main(end)

    def _end_without_main(self, end: GroupEnds) -> None:
        """End the process where the main thread waits in vain, such as for a GPU."""
        if not self._stopped.wait(_GRACE):
            _save_all()
            _report_once(self._report, end)
            self._finish(end)


def restart(end: GroupEnds) -> NoReturn:
    """Replace this process by its own command, run again with smaller parts."""
    os.environ[_DIVISOR] = str(end.divisor)
    os.environ["DEPTHTUI_ATTEMPT"] = str(attempt() + 1)
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
