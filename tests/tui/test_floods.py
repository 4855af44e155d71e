"""Engines that send or print without pause: keys and signals go ahead of their events."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from textual.widgets._toast import ToastHolder

from depthtui.data.protocol import Event, Memory, Notice, Progress, SweepProgress
from depthtui.tui.explorer_app import MOST_TOASTS
from depthtui.tui.panes.progress_pane import MOST_STAGES, ProgressPane
from tests.tui.app_helpers import Explored, explore
from tests.tui.terminal import Terminal

FLOODS = {
    "notice": "notice",
    "long notice": "of many words",
    "failed": "failure",
    "progress": "step",
    "code": "No, leave it closed",
    "stderr": "the log is long",
}
"""The floods of `tests.tui.evil_engine`, and words on the screen once they come."""


def quit_by_keys(terminal: Terminal) -> int:
    """Close a question where there is one, and quit; returns the status to be expected."""
    terminal.type(b"\x1b")
    terminal.settle(0.3, 0.3)
    terminal.type(b"q")
    return 0


def interrupt_twice(terminal: Terminal) -> int:
    terminal.type(b"\x03")
    terminal.type(b"\x03")
    return 0


def end_by(name: str) -> Callable[[Terminal], int]:
    """Send a signal; the status to be expected is the shell's for it."""

    def send(terminal: Terminal) -> int:
        number = signal.Signals[name]
        terminal.process.send_signal(number)
        return 128 + number

    return send


WAYS = {
    "q": quit_by_keys,
    "ctrl-c": interrupt_twice,
    "SIGTERM": end_by("SIGTERM"),
    "SIGHUP": end_by("SIGHUP"),
}
OFTEN = {
    ("notice", "SIGTERM"),
    ("long notice", "q"),
    ("failed", "ctrl-c"),
    ("code", "q"),
    ("stderr", "SIGHUP"),
}


@pytest.fixture
def flooded(tmp_path: Path, flood: str) -> Iterator[Terminal]:
    """An explorer whose engine floods it."""
    command = f"{sys.executable} -m tests.tui.evil_engine {flood}"
    arguments = ("--cache-dir", str(tmp_path / "cache"), "--engine-command", command)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    terminal = Terminal(tmp_path, "depthtui", *arguments, environment={"TMPDIR": str(temporary)})
    yield terminal
    terminal.close()


@pytest.mark.parametrize(
    ("flood", "way"),
    [
        pytest.param(flood, way, marks=() if (flood, way) in OFTEN else pytest.mark.by_hand)
        for flood in FLOODS
        for way in WAYS
    ],
)
def test_a_flood_can_be_quit(flooded: Terminal, flood: str, way: str, tmp_path: Path) -> None:
    flooded.until(lambda: FLOODS[flood] in flooded.text)
    engines = psutil.Process(flooded.process.pid).children(recursive=True)
    temporary = tmp_path / "temporary"
    assert not list(temporary.iterdir())
    status = WAYS[way](flooded)
    assert flooded.end() == status
    flooded.assert_restored()
    assert engines
    assert not psutil.wait_procs(engines, timeout=10)[1]
    assert not list(temporary.iterdir())


async def test_what_the_next_event_makes_superfluous_is_left_out(it: Explored) -> None:
    handled: list[Event] = []
    it.app.explorer.handle = handled.append  # type: ignore[method-assign]
    events = [
        *(Progress("Loading", step, 9, "steps") for step in range(9)),
        *(Progress("Warming", step, 9, "steps") for step in range(9)),
        Notice("one"),
        Notice("two"),
        Notice("two"),
        *(SweepProgress(1, step, 9, 1.0, "") for step in range(9)),
        *(SweepProgress(2, step, 9, 1.0, "") for step in range(9)),
        *(Memory(step, 9) for step in range(9)),
        Progress("Warming", 9, 9, "steps"),
    ]
    it.engine.say(*events)
    await it.until(lambda: events[-1] in handled)
    assert handled == [
        *(events[8], events[17]),
        *(Notice("one"), Notice("two")),
        *(SweepProgress(1, 8, 9, 1.0, ""), SweepProgress(2, 8, 9, 1.0, "")),
        *(Memory(8, 9), Progress("Warming", 9, 9, "steps")),
    ]


async def test_toasts_are_few_and_the_list_of_messages_has_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with explore(tmp_path) as it:
        it.engine.say(*(Notice(f"notice {number}") for number in range(50)))
        await it.until(lambda: len(it.app.messages) == 50)
        await it.until(lambda: len(it.app.screen.query(ToastHolder)) == MOST_TOASTS)
        assert it.toasts() == [f"notice {number}" for number in range(MOST_TOASTS)]
        # Those that were there for long enough go first.
        monkeypatch.setattr("depthtui.tui.explorer_app.LEAST_TOAST_SECONDS", 0.0)
        it.engine.say(Notice("another"), Notice("notice 5"))
        await it.until(lambda: it.toasts()[-1] == "notice 5")
        left = [f"notice {number}" for number in range(1, MOST_TOASTS) if number != 5]
        assert it.toasts() == [*left, "another", "notice 5"]
        await it.until(lambda: len(it.app.screen.query(ToastHolder)) == MOST_TOASTS)


async def test_stages_without_end_take_no_memory(it: Explored) -> None:
    pane = it.main.query_one(ProgressPane)
    for number in range(3 * MOST_STAGES):
        pane.advance(Progress(f"step {number}", 0, 0, ""))
    assert len(pane._stages) == MOST_STAGES
