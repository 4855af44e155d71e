"""What a terminal is sent around the explorer: title, progress, and a bell behind long work."""

from __future__ import annotations

import pytest

from depthtui.tui.state.long_work import LongWork
from depthtui.tui.state.session import Work
from depthtui.tui.state.status import Status
from tests.builders.models import model_info

MODEL = model_info()


def test_the_title_has_the_share_and_the_time_left_of_what_runs() -> None:
    work = LongWork(has_progress=True)
    ready = Status(model=MODEL, state="ready")
    title = f"\x1b]2;{MODEL.name} · depthtui\x07"
    assert work.follow(ready, 0.0, 30) == f"{title}\x1b]9;4;0\x07"
    counting = Status(model=MODEL, state="running", work=Work("kept", 30, 120, 40.0))
    sent = work.follow(counting, 1.0, 30)
    assert sent == f"\x1b]2;25% · about 40 s left · {MODEL.name} · depthtui\x07\x1b]9;4;1;25\x07"
    assert work.follow(counting, 2.0, 30) == ""
    sweep = Status(model=MODEL, state="sweeping", swept=(3, 12), sweep_seconds_left=600.0)
    assert "]2;25% · about 10 min left" in work.follow(sweep, 3.0, 30)
    assert work.end == "\x1b[23;2t\x1b]9;4;0\x07"


@pytest.mark.parametrize(
    ("seconds", "notify", "rings"), [(31.0, 30, True), (29.0, 30, False), (1e4, 0, False)]
)
def test_the_bell_rings_behind_what_took_long(seconds: float, notify: int, rings: bool) -> None:
    work = LongWork()
    work.follow(Status(state="running", layer=1, layers=4), 5.0, notify)
    assert work.follow(Status(state="ready"), 5.0 + seconds, notify).startswith("\x07") is rings


@pytest.mark.parametrize(
    ("variables", "has_progress"),
    [
        ({"TERM_PROGRAM": "ghostty"}, True),
        ({"WT_SESSION": "1"}, True),
        ({"TERM_PROGRAM": "ghostty", "TMUX": "1"}, False),
        ({"TERM_PROGRAM": "Apple_Terminal"}, False),
    ],
)
def test_progress_is_for_terminals_that_show_it(
    variables: dict[str, str], has_progress: bool
) -> None:
    assert LongWork.of(variables).has_progress is has_progress
    assert LongWork.of({"TERM": "linux"}) is None


def test_a_hostile_name_writes_no_sequence() -> None:
    sent = LongWork().follow(Status(state="loading", loads="a\x07\x1b]0;PWN\x07"), 0.0, 30)
    assert sent.count("\x1b") == sent.count("\x07") == 1
