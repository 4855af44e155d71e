"""Ranks end with the launcher that started them, and with no other process."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import sys

import pytest

from depthtui.parallel import group
from tests.parallel.two_ranks import environment, free_port

LAUNCHER = """
import subprocess, sys
rank = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdin=subprocess.PIPE)
if sys.argv[2:]:
    rank.wait()
"""
"""Starts a rank; ends at once without a second argument."""

RANK = """
import signal
from depthtui.engine.rank_process import as_rank
def work():
    print("at work", flush=True)
    signal.pause()
as_rank(work, print)
"""
"""Joins no group, like a rank at start-up."""

ONCE_ALONE = "import sys; sys.stdin.read()"
"""Waits until the launcher has ended, which has the other end of the pipe."""


def launch(*arguments: str, **place: str) -> subprocess.Popen[str]:
    """A launcher, with its rank 0, in a process group of their own."""
    return subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, *arguments],
        env=environment(0, 2, free_port()) | {"TORCHELASTIC_RUN_ID": "one"} | place,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def words_at_the_end(launcher: subprocess.Popen[str]) -> str:
    """What launcher and rank have printed until both have ended."""
    try:
        return launcher.communicate(timeout=10)[0]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(launcher.pid, signal.SIGKILL)


def test_a_rank_that_has_not_joined_ends_with_its_launcher() -> None:
    launcher = launch(RANK, "stay")
    assert launcher.stdout is not None
    assert launcher.stdout.readline() == "at work\n"
    launcher.kill()
    assert "The launcher of the ranks has ended." in words_at_the_end(launcher)


def test_a_launcher_that_ended_before_the_rank_looked_is_missed() -> None:
    launcher = launch(ONCE_ALONE + RANK, TORCHELASTIC_USE_AGENT_STORE="True")
    assert "The launcher of the ranks has ended." in words_at_the_end(launcher)


def test_the_end_of_a_shell_ends_no_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getppid", lambda: 1)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "one")
    assert group.launcher_has_ended()
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    assert not group.launcher_has_ended()


def test_an_engine_without_its_explorer_fails_for_the_launcher_to_end_the_other_ranks() -> None:
    """Rank 0 has called nobody off: the other ranks wait for its calls."""
    command = [sys.executable, "-m", "depthtui.service.worker"]
    place = environment(0, 2, free_port())
    engine = subprocess.run(
        command, env=place, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False
    )
    assert engine.returncode == 1


def test_a_rank_waits_for_no_store_of_a_launcher_that_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from torch import distributed

    def unreachable() -> None:
        attempts.append("made")
        assert len(attempts) == 1, "a second attempt"
        raise distributed.DistNetworkError

    attempts: list[str] = []
    monkeypatch.setattr(group, "_store", functools.cache(unreachable))
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    with pytest.raises(distributed.DistNetworkError):
        group.is_called_off()
