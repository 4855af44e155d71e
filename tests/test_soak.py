"""A short soak of the explorer on a scripted engine, and what a soak notices."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from tests.tools import soak
from tests.tools.soak import Cell, Soak, _differing, _read_events, events, rests
from tests.tui.terminal import Terminal

FAKE = ("tests.tui.fake_explorer",)


def test_events_are_the_same_for_the_same_seed_and_in_a_file(tmp_path: Path) -> None:
    file, some = tmp_path / "events", list(islice(events(3), 500))
    file.write_text(repr(some))
    assert some == list(islice(events(3), 500)) == _read_events(file)
    assert list(islice(events(3), 50)) != list(islice(events(4), 50))


@pytest.mark.by_hand
def test_a_hundred_random_events_do_no_harm(tmp_path: Path) -> None:
    tally = Soak(tmp_path, FAKE).run(islice(events(1), 100))
    assert tally.wrong == []
    assert tally.events == 100
    assert tally.checks > 0


def test_a_soak_notices_an_error_and_leaves_what_was_typed(tmp_path: Path) -> None:
    tally = Soak(tmp_path, (*FAKE, "crash"), pace=0.3).run(["j", "%", "k", "p", "x"])
    assert ["planned" in wrong for wrong in tally.wrong] == [True]


@pytest.mark.by_hand
def test_a_soak_notices_that_nothing_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(soak, "LONGEST_WAIT", 0.5)
    monkeypatch.setattr(soak, "GIVE_UP", 0.1)
    monkeypatch.setattr(soak, "EVENTS_A_QUESTION", 1)
    # The first question may come before the key has been handled.
    tally = Soak(tmp_path, (*FAKE, "busy")).run(["%", "j", "j"])
    assert "no answer" in tally.wrong[0]
    assert tally.lives > 1


BUSY = """
import subprocess, sys
print("at work", flush=True)
work = "import time\\nwhile time.process_time() < 0.6: pass"
subprocess.run([sys.executable, "-c", work])
print("it is done", flush=True)
sys.stdin.read()
"""


def test_an_engine_that_works_in_silence_does_not_rest(tmp_path: Path) -> None:
    (tmp_path / "busy.py").write_text(BUSY)
    terminal = Terminal(tmp_path, "busy", cwd=tmp_path)
    terminal.until(lambda: "at work" in terminal.text)
    assert rests(terminal)
    assert "it is done" in terminal.text
    terminal.close()


def test_a_toast_that_goes_or_moves_and_a_cursor_that_blinks_are_no_difference() -> None:
    def cells(*lines: str, colour: str = "white") -> list[list[Cell]]:
        found: list[list[Cell]] = [[(char, colour) for char in line] for line in lines]
        return found

    before, after = cells("abc▌ hi", "abcdefg"), cells("abcdefg", "abcdefg")
    assert _differing(before, after) == []
    before[1][2] = ("c", "black")
    assert _differing(before, after) == []
    before[0][1] = ("x", "white")
    assert _differing(before, after) == [0, 1]
    # One that moves down where another has gone.
    assert _differing(cells("abc▌ hi"), cells("abc▌   ")) == []
    assert _differing(cells("▌ hi abc"), cells("▌    abc")) == [0]


@pytest.mark.by_hand
@pytest.mark.parametrize("seed", range(3))
def test_a_thousand_random_events_on_the_tiny_model(tmp_path: Path, seed: int) -> None:
    from tests.tiny_models import tiny_folder

    model = ("--model", str(tiny_folder(tmp_path)), "--cache-dir", str(tmp_path / "cache"))
    tally = Soak(tmp_path, ("depthtui", *model)).run(islice(events(seed), 1000))
    assert tally.wrong == []
