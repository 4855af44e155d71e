"""The explorer's end of the engine process, with children that misbehave and the real one."""

from __future__ import annotations

import fcntl
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
from textual.message import Message

from depthtui.data.protocol import (
    LONGEST_WORDS,
    Configure,
    CountTokens,
    EngineReady,
    Notice,
    Progress,
)
from depthtui.data.run import Prompt
from depthtui.data.run_settings import ModelSpec
from depthtui.settings import Settings
from depthtui.tui import process_logs
from depthtui.tui.engine_client import LOCAL_COMMAND, MOST_UNHANDLED, EngineClient
from depthtui.tui.messages import EngineDied, EngineEvent
from depthtui.tui.process_logs import last_line_of
from depthtui.tui.state.session import RunState
from tests.tui.app_helpers import explore

PATIENCE = 120.0
ODD = (sys.executable, "-m", "tests.tui.odd_engine")


@pytest.fixture(autouse=True)
def _modules_of_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a child import these tests, which are not installed."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))


class Child:
    """A client and what it posts."""

    def __init__(self, command: Sequence[str] = ODD) -> None:
        self.client = EngineClient(command)
        self.messages: queue.Queue[Any] = queue.Queue()
        self.client.start(self.messages.put)

    def tell(self, what: str) -> None:
        self.client.send(Configure(what, "", 0))

    def next(self) -> Message:
        """The next message, but for one that tells of a slow start."""
        message = self.messages.get(timeout=PATIENCE)
        is_wait = isinstance(message, EngineEvent) and isinstance(message.event, Progress)
        return self.messages.get(timeout=PATIENCE) if is_wait else message

    def died(self) -> EngineDied:
        message = self.next()
        assert isinstance(message, EngineDied)
        return message


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.fixture
def child() -> Iterator[Child]:
    child = Child()
    yield child
    child.client.kill()


def said(message: Message) -> str:
    assert isinstance(message, EngineEvent)
    assert isinstance(message.event, Notice)
    return message.event.message


def test_events_come_up(child: Child) -> None:
    child.tell("say")
    child.tell("say")
    assert [said(child.next()), said(child.next())] == ["hello", "hello"]


def test_words_are_cut_to_what_a_screen_has_room_for(child: Child) -> None:
    child.tell("say much")
    assert len(said(child.next())) == LONGEST_WORDS + 1


def test_what_the_child_prints_goes_to_the_log(
    child: Child, capfd: pytest.CaptureFixture[str]
) -> None:
    child.tell("print")
    assert said(child.next()) == "printed"
    child.client.log.wait_for_end()
    assert child.client.log.last_line() == "CUDA error: [/]"
    assert capfd.readouterr() == ("", "")


def test_an_exit_is_a_death_with_its_status_and_last_words(child: Child, temporary: Path) -> None:
    child.tell("print")
    child.next()
    child.tell("exit")
    death = child.died().death
    assert (death.code, death.last_line) == (3, "CUDA error: [/]")
    assert "status 3" in death.reason
    log = Path(death.log)
    assert last_line_of(log.read_text()) == death.last_line
    assert log.stat().st_mode & 0o777 == 0o600
    assert list(temporary.iterdir()) == [log]


def test_a_log_that_tells_nothing_of_a_death_is_not_kept(child: Child, temporary: Path) -> None:
    child.tell("exit")
    assert child.died().death.log == ""
    assert not list(temporary.iterdir())


def test_a_long_log_keeps_its_end(
    child: Child, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_logs, "LONGEST_LOG", 10_000)
    child.tell("babble")
    child.next()
    assert not list(temporary.iterdir())
    child.tell("print")
    child.next()
    child.tell("exit")
    death = child.died().death
    assert death.last_line == "CUDA error: [/]"
    assert Path(death.log).stat().st_size == 10_000


@pytest.mark.skipif(not hasattr(fcntl, "F_SETPIPE_SZ"), reason="pipes have one size here")
def test_a_process_prints_a_megabyte_before_it_waits_for_the_reader() -> None:
    descriptor = process_logs.ProcessLog().open()
    os.set_blocking(descriptor, False)
    assert os.write(descriptor, bytes(1 << 20)) == 1 << 20
    os.close(descriptor)


def test_what_a_dead_engine_has_started_is_ended(child: Child) -> None:
    child.tell("orphan")
    orphan = psutil.Process(int(said(child.next())))
    child.tell("exit")
    child.died()
    # It was killed, and may take a moment to end.
    until(lambda: not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE)


def test_a_death_is_posted_where_a_process_of_another_user_is_left(
    child: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(group: int, number: int) -> None:
        raise PermissionError

    with monkeypatch.context() as patched:
        patched.setattr(os, "killpg", refuse)
        child.tell("exit")
        assert child.died().death.code == 3


def test_events_wait_while_the_app_has_many_to_handle(child: Child) -> None:
    child.tell("count")
    handled: list[str] = []
    while len(handled) < 2 * MOST_UNHANDLED:
        until(lambda: child.client._may_post._waiters)
        waiting = [child.messages.get() for _ in range(MOST_UNHANDLED)]
        assert child.messages.empty()
        handled += [each.event.message for each in waiting if isinstance(each.event, Notice)]
        waiting[-1].was_handled()
    assert handled == [str(number) for number in range(len(handled))]


def test_a_kill_ends_what_waits_for_the_app(child: Child) -> None:
    child.tell("count")
    until(lambda: child.client._may_post._waiters)
    child.client.kill()
    child.client._reader.join(PATIENCE)
    assert not child.client._reader.is_alive()
    assert child.messages.qsize() == MOST_UNHANDLED


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_a_kill_from_outside_is_a_death_by_signal(child: Child) -> None:
    child.tell("print")
    child.next()
    os.kill(child.client.pid, signal.SIGKILL)
    death = child.died().death
    assert death.code == -signal.SIGKILL
    assert "memory" in death.reason
    assert death.log == ""


@pytest.mark.parametrize("what", ["garbage", "close"])
def test_a_child_that_talks_nonsense_or_hangs_up_is_ended(
    child: Child, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("depthtui.tui.engine_client.DEATH_GRACE", 0.01)
    child.tell(what)
    assert child.died().death.code == -signal.SIGKILL


def test_our_own_kill_is_at_once_and_silent(child: Child) -> None:
    child.tell("say")
    child.next()
    child.tell("deaf")
    process = child.client._process
    child.client.kill()
    assert process.wait(30) == -signal.SIGKILL
    assert child.messages.empty()


def test_sending_never_blocks_on_a_child_that_does_not_read(child: Child) -> None:
    """Far more than a pipe holds is sent while the child reads none of it."""
    child.tell("say")
    child.next()
    os.kill(child.client.pid, signal.SIGSTOP)
    os.waitpid(child.client.pid, os.WUNTRACED)
    sender = threading.Thread(target=send_much, args=(child,), daemon=True)
    sender.start()
    sender.join(PATIENCE)
    assert not sender.is_alive()
    assert child.messages.empty()
    os.kill(child.client.pid, signal.SIGCONT)
    assert [said(child.next()) for _ in range(2)] == ["hello", "hello"]


def send_much(child: Child) -> None:
    child.tell("say")
    for _ in range(50):
        child.tell("x" * 100_000)
    child.tell("say")


def test_a_log_that_cannot_be_written_is_done_without(child: Child, temporary: Path) -> None:
    temporary.rmdir()
    child.tell("print")
    child.next()
    child.tell("exit")
    death = child.died().death
    assert (death.last_line, death.log) == ("CUDA error: [/]", "")


def test_the_real_engine_answers_and_runs_nothing_of_the_folder_that_it_starts_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strangers, mark = tmp_path / "strangers", tmp_path / "mark"
    strangers.mkdir()
    for name in ("depthtui", "torch", "json"):
        (strangers / f"{name}.py").write_text(f"open({str(mark)!r}, 'w')")
    monkeypatch.chdir(strangers)
    child = Child(LOCAL_COMMAND)
    child.client.send(Configure("", str(tmp_path), 0, threads=1))
    child.client.send(CountTokens(Prompt("three small words"), False))
    kinds = []
    while EngineReady not in kinds:
        message = child.next()
        assert isinstance(message, EngineEvent), child.client.log.last_line()
        kinds.append(type(message.event))
    child.client.kill()
    assert not mark.exists()


@pytest.mark.by_hand
async def test_the_explorer_runs_a_real_model_and_outlives_its_engine(tmp_path: Path) -> None:
    from tests.tiny_models import tiny_folder

    folder = tiny_folder(tmp_path)
    clients: list[EngineClient] = []

    def make() -> EngineClient:
        clients.append(EngineClient())
        return clients[-1]

    settings = Settings(cache_dir=tmp_path / "cache")
    spec = ModelSpec(str(folder), device="cpu")
    async with explore(tmp_path, make, settings=settings, spec=spec, wait=False) as it:

        async def until(state: str) -> None:
            for _ in range(30):
                try:
                    return await it.until(lambda: it.status and it.status.state == state)
                except AssertionError:
                    continue
            raise AssertionError(f"never {state}: {clients[-1].log.last_line()}")

        await until("ready")
        run = it.session.current
        assert run.state is RunState.FINISHED
        assert run.result.model.n_layers == 4
        assert run.result.model.name in it.screen_text()
        await it.press("s")
        await until("halted")
        await it.press("space", until=lambda: it.session.current.layers_done == 2)
        os.kill(clients[-1].pid, signal.SIGKILL)
        await until("gone")
        assert [run.state for run in it.session.runs] == [RunState.FINISHED, RunState.STOPPED]
        assert it.session.current.layers_done == 2
        await it.press("r")
        await until("ready")
        assert len(clients) == 2
        assert it.session.current.state is RunState.FINISHED
