"""The explorer in a real pseudo-terminal: what it leaves behind, and what it survives."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from depthtui.data.run_settings import ModelSpec
from depthtui.ramps import MAGNITUDE_GLYPHS
from depthtui.settings import Settings
from depthtui.tui import app
from depthtui.tui.signals import ending_signals
from tests.tui.terminal import PATIENCE, Terminal

FILLED = "Curves Evidence"
ASKS_FOR_SHADE, LIGHT = b"\x1b]11;?\x1b\\\x1b[?2031h", b"48;2;251;251;248"


@pytest.fixture
def open_terminal(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def start(*arguments: str) -> Terminal:
        opened.append(Terminal(tmp_path, *arguments))
        return opened[-1]

    yield start
    for terminal in opened:
        terminal.close()


@pytest.fixture
def explorer(open_terminal: Callable[..., Terminal]) -> Terminal:
    terminal = open_terminal("tests.tui.fake_explorer")
    terminal.until(lambda: FILLED in terminal.text)
    return terminal


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    """An explorer at its main screen, where every test leaves it; `q` ends it."""
    terminal = Terminal(tmp_path_factory.mktemp("lasting"), "tests.tui.fake_explorer")
    try:
        terminal.until(lambda: FILLED in terminal.text)
        yield terminal
        quit_by_key(terminal)
    finally:
        terminal.close()


def quit_by_key(terminal: Terminal, key: bytes = b"q") -> None:
    """Quit, and see that the terminal is given back."""
    terminal.type(key)
    assert terminal.end() == 0
    terminal.assert_restored()


def test_ctrl_c_gives_the_terminal_back(explorer: Terminal) -> None:
    quit_by_key(explorer, b"\x03")


def test_quitting_spares_the_last_collections(monkeypatch: pytest.MonkeyPatch) -> None:
    frozen: list[bool] = []
    monkeypatch.setattr(app.DepthApp, "run", lambda self: 0)
    monkeypatch.setattr(app.gc, "freeze", lambda: frozen.append(True))
    assert app.main(ModelSpec(), Settings()) == 0
    assert frozen


OFTEN_SENT = ("SIGTERM",)
SELDOM_SENT = (
    "SIGHUP",
    "SIGINT",
    "SIGQUIT",
    "SIGABRT",
    "SIGUSR1",
    "SIGUSR2",
    "SIGALRM",
    "SIGIO",
    "SIGPROF",
    "SIGPWR",
    "SIGRTMAX",
    "SIGRTMIN",
    "SIGSTKFLT",
    "SIGSYS",
    "SIGTRAP",
    "SIGVTALRM",
    "SIGXCPU",
)


@pytest.mark.parametrize(
    "name", [*OFTEN_SENT, *(pytest.param(name, marks=pytest.mark.by_hand) for name in SELDOM_SENT)]
)
def test_signals_give_the_terminal_back(explorer: Terminal, name: str) -> None:
    number = signal.Signals[name]
    explorer.process.send_signal(number)
    assert explorer.end() == 128 + number
    explorer.assert_restored()
    assert "Traceback" not in explorer.sent.decode("utf-8", "replace")


def test_a_signal_ends_a_busy_explorer_and_gives_the_terminal_back(
    open_terminal: Callable[..., Terminal],
) -> None:
    terminal = open_terminal("tests.tui.fake_explorer", "busy")
    terminal.until(lambda: FILLED in terminal.text)
    terminal.type(b"%")
    terminal.until(lambda: b"busy" in terminal.sent)
    terminal.process.send_signal(signal.SIGTERM)
    assert terminal.end() == 128 + signal.SIGTERM
    terminal.assert_restored()


@pytest.mark.parametrize(
    "stage",
    [
        pytest.param("load", marks=pytest.mark.by_hand),
        "compose",
        pytest.param("mount", marks=pytest.mark.by_hand),
        "open",
    ],
)
def test_a_signal_while_it_starts_gives_the_terminal_back(
    open_terminal: Callable[..., Terminal], stage: str
) -> None:
    number = signal.SIGUSR1
    terminal = open_terminal("tests.tui.fake_explorer", "signal", str(int(number)), stage)
    assert terminal.end() == 128 + number
    terminal.assert_restored()
    assert "Traceback" not in terminal.sent.decode("utf-8", "replace")


def test_every_signal_that_ends_a_process_is_caught() -> None:
    code = "from depthtui.tui.signals import ending_signals; print(*ending_signals())"
    # A shell that ignores SIGHUP: what nohup does.
    ignoring = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", sys.executable, "-c", code]
    caught = {int(number) for number in subprocess.check_output(ignoring, text=True).split()}
    named = {signal.Signals[name] for name in (*OFTEN_SENT, *SELDOM_SENT)}
    left = signal.valid_signals() - caught - named
    assert named - caught == {signal.SIGHUP}
    assert {signal.Signals(number).name for number in left} == {
        *("SIGKILL", "SIGSTOP"),
        *("SIGBUS", "SIGFPE", "SIGILL", "SIGSEGV"),
        *("SIGCHLD", "SIGCONT", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGURG", "SIGWINCH"),
        *("SIGPIPE", "SIGXFSZ"),
    }


def test_signals_that_a_mac_discards_end_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    # SIGINFO is not there on Linux.
    monkeypatch.setattr(signal, "SIGINFO", signal.SIGUSR2, raising=False)
    assert ending_signals().isdisjoint({signal.SIGIO, signal.SIGINFO})
    assert signal.SIGUSR1 in ending_signals()


def leave_help(terminal: Terminal) -> None:
    """See that keys have an effect, and return to the main screen."""
    terminal.type(b"?")
    terminal.until(lambda: "words of a key" in terminal.text)
    terminal.type(b"\x1b")
    terminal.until(lambda: "words of a key" not in terminal.text)


def test_without_colours_and_with_no_language_all_is_still_to_be_told_apart(
    tmp_path: Path,
) -> None:
    terminal = Terminal(
        tmp_path, "tests.tui.fake_explorer", environment={"NO_COLOR": "1", "LC_ALL": "C"}
    )
    try:
        terminal.until(lambda: FILLED in terminal.text)
        terminal.settle()
        colours = set(re.findall(rb"[34]8;2;(\d+);(\d+);(\d+)", terminal.sent))
        assert colours
        assert all(len(set(colour)) == 1 for colour in colours), "all are greys"
        heatmap = [line for line in terminal.text.split("\n") if "▸" in line]
        # The ramp is one of glyphs.
        assert any(set(MAGNITUDE_GLYPHS[1:]) & set(line) for line in heatmap)
    finally:
        terminal.close()


def test_an_error_is_told_and_the_session_goes_on(open_terminal: Callable[..., Terminal]) -> None:
    terminal = open_terminal("tests.tui.fake_explorer", "crash")
    terminal.until(lambda: FILLED in terminal.text)
    terminal.type(b"%")
    terminal.until(lambda: "planned" in terminal.text)
    assert "planned [/]" in terminal.log.read_text()
    leave_help(terminal)
    quit_by_key(terminal)


def test_what_cannot_go_on_gives_the_terminal_back_and_prints_one_line(
    open_terminal: Callable[..., Terminal],
) -> None:
    terminal = open_terminal("tests.tui.fake_explorer", "loop")
    terminal.until(lambda: FILLED in terminal.text)
    terminal.type(b"%")
    assert terminal.end() == 1
    terminal.assert_restored()
    rest = terminal.sent.decode("utf-8", "replace").rpartition("\x1b[?1049l")[2]
    assert "planned [/]" in rest
    assert "depthtui.log" in rest
    assert "Traceback" not in rest
    assert "\x1b[2J" not in rest


def test_a_terminal_that_is_gone_without_a_signal_ends_it(explorer: Terminal) -> None:
    """As when a connection breaks: reading on would take a whole core for ever."""
    for end in (explorer.master, explorer.slave):
        os.close(end)
    assert explorer.process.wait(PATIENCE) is not None
    explorer.master, explorer.slave = os.openpty()


def test_mouse_bytes_that_are_no_text_are_survived(lasting: Terminal) -> None:
    # X10 reports at column 200: two bytes that are not UTF-8, as after a reattach of tmux.
    lasting.type(b"\x1b[M \xe8\xc9\x1b[M#\xe8\xc9")
    lasting.type(b"\xff\xfe")
    # A character without its end, a key beyond Unicode, a mouse that is nowhere.
    lasting.type(b"\xc3\x1b[99999999;1u\x1b[<0;-4;-9M\x1b[<200;99999;99999M")
    lasting.settle()
    leave_help(lasting)


def test_late_answers_press_no_key_and_an_old_mouse_is_asked_for_the_new_coding(
    lasting: Terminal,
) -> None:
    lasting.settle()
    before, asked = lasting.text, lasting.sent.count(b"\x1b[?1006h")
    for answer in (b"[<32;NaN;NaNM", b"]11;rgb:1e1e/1e1e/2e2e\x1b\\", b"[?62;22c", b"[?997;1n"):
        lasting.type(b"\x1b" + answer)
    lasting.settle()
    assert lasting.text == before
    lasting.type(b"\x1b[M !!")
    lasting.until(lambda: lasting.sent.count(b"\x1b[?1006h") > asked)
    leave_help(lasting)


@pytest.mark.parametrize(
    ("key", "end"),
    [
        pytest.param(b"p", b"", id="prompt, one line", marks=pytest.mark.by_hand),
        pytest.param(b"p", b"\n", id="prompt, many lines", marks=pytest.mark.by_hand),
    ],
)
def test_a_paste_of_a_megabyte_is_survived(explorer: Terminal, key: bytes, end: bytes) -> None:
    explorer.type(key)
    explorer.settle()
    words = (b"twelve or so words that go on and on, " + end) * 26_000
    explorer.type(b"\x1b[200~" + words + b"\x1b[201~")
    explorer.until(lambda: "too long" in explorer.text)
    explorer.type(b"\x1b")
    explorer.until(lambda: FILLED in explorer.text)
    leave_help(explorer)
    quit_by_key(explorer)


HOSTILE_WORDS = b"rain \x1b[31m x\x1bq\x1bx\x1b[A\r\x03\x1b]52;c;eA==\x07 "


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(b"", id="main screen"),
        pytest.param(b"/", id="search", marks=pytest.mark.by_hand),
        pytest.param(b"p", id="prompt", marks=pytest.mark.by_hand),
        pytest.param(b"m", id="models", marks=pytest.mark.by_hand),
        pytest.param(b"?", id="help", marks=pytest.mark.by_hand),
    ],
)
def test_a_hostile_paste_presses_no_key(explorer: Terminal, key: bytes) -> None:
    explorer.type(key)
    explorer.settle()
    process = psutil.Process(explorer.process.pid)
    memory = process.memory_info().rss
    # The end comes in parts.
    explorer.type(b"\x1b[200~" + HOSTILE_WORDS * 25_000 + b"\x1b[2")
    explorer.type(b"01~")
    explorer.until(lambda: ("too long" if key == b"p" else "dropped") in explorer.text)
    assert process.memory_info().rss < memory + 30_000_000
    explorer.type(b"\x1b")
    explorer.settle()
    leave_help(explorer)
    quit_by_key(explorer)


@pytest.mark.by_hand
def test_a_paste_without_an_end_gives_the_keyboard_back(explorer: Terminal) -> None:
    explorer.type(b"\x1b[200~" + HOSTILE_WORDS * 4_000)
    explorer.until(lambda: "dropped" in explorer.text)
    leave_help(explorer)
    quit_by_key(explorer)


def test_the_shell_gets_the_terminal_and_gives_it_back(lasting: Terminal) -> None:
    lasting.settle()
    before = lasting.text
    lasting.type(b"\x1a")
    _, status = os.waitpid(lasting.process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    lasting.settle()
    lasting.assert_restored()
    lasting.stream.feed(b"\x1b[2J")
    lasting.process.send_signal(signal.SIGCONT)
    lasting.until(lambda: lasting.text == before)
    leave_help(lasting)


def test_an_editor_gets_the_terminal_and_gives_it_back(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text('welcome = false\ntheme = "auto"\n')
    editor = 'sh -c \'stty -a; read line; echo "$line" > "$0"\''
    terminal = Terminal(
        tmp_path, "tests.tui.fake_explorer", environment={"VISUAL": "", "EDITOR": editor}
    )
    try:
        terminal.until(lambda: FILLED in terminal.text)
        # The terminal says that it is light, and is asked again behind the editor.
        assert terminal.sent.count(ASKS_FOR_SHADE) == 1
        terminal.type(b"\x1b]11;rgb:ffff/ffff/ffff\x1b\\")
        terminal.until(lambda: LIGHT in terminal.sent)
        terminal.type(b"p")
        terminal.until(lambda: "ctrl+e editor" in terminal.text)
        terminal.type(b"\x05")
        terminal.until(lambda: " icanon" in terminal.text)
        terminal.assert_restored()
        assert terminal.sent.rfind(b"\x1b[?2031l") > terminal.sent.rfind(ASKS_FOR_SHADE)
        # Not the end of the explorer, which the editor shares the terminal with.
        terminal.process.send_signal(signal.SIGINT)
        terminal.type(b"Rain fell on Norwich all night.\n")
        terminal.until(lambda: "6 tokens" in terminal.text)
        assert terminal.sent.count(ASKS_FOR_SHADE) == 2
        terminal.type(b"\x1b")
        terminal.until(lambda: "Leave without what you typed" in terminal.text)
        terminal.type(b"y")
        terminal.until(lambda: "ctrl+e editor" not in terminal.text)
        quit_by_key(terminal)
    finally:
        terminal.close()


def test_a_stop_without_notice_leaves_a_screen_to_be_drawn_again(lasting: Terminal) -> None:
    lasting.settle()
    before, threads = lasting.text, psutil.Process(lasting.process.pid).num_threads()
    lasting.process.send_signal(signal.SIGSTOP)
    os.waitpid(lasting.process.pid, os.WUNTRACED)
    lasting.stream.feed(b"\x1b[2J")
    lasting.process.send_signal(signal.SIGCONT)
    lasting.until(lambda: lasting.text == before)
    assert psutil.Process(lasting.process.pid).num_threads() == threads
    leave_help(lasting)


@pytest.mark.parametrize(("key", "back"), [(b"", b""), (b"?", b"\x1b")], ids=["main", "dialog"])
def test_a_window_resized_to_and_fro_is_drawn_afresh(
    lasting: Terminal, key: bytes, back: bytes
) -> None:
    """Its two signals come as one where they come at once, and the size is as before."""
    lasting.type(key)
    lasting.settle()
    before = lasting.text
    lasting.screen.resize(20, 120)
    assert lasting.text != before
    lasting.resize(120, 40)
    lasting.until(lambda: lasting.text == before)
    lasting.type(back)
    lasting.until(lambda: FILLED in lasting.text)
    leave_help(lasting)


def test_hostile_tokens_send_no_escapes_of_their_own(
    open_terminal: Callable[..., Terminal],
) -> None:
    terminal = open_terminal("tests.tui.fake_explorer", "hostile")
    terminal.until(lambda: FILLED in terminal.text)
    terminal.type(b"G$" + b"h" * 30)
    terminal.type(b"?")
    terminal.until(lambda: "words of a key" in terminal.text)
    body = terminal.sent.decode("utf-8", "replace").partition("\x1b[?1049h")[2]
    for forbidden in ("\x1b]0;", "\x1b]8;;http://example.invalid", "\x1bP", "\x1bc", "\x1b]52"):
        assert forbidden not in body
    assert "\x1b[?1049l" not in body


def test_the_first_frame_waits_for_textual_alone() -> None:
    code = """if True:
        import sys
        from depthtui.data.run_settings import ModelSpec
        from depthtui.settings import Settings
        from depthtui.tui.app import DepthApp

        class FirstFrame(DepthApp):
            def _open(self) -> None:
                self.loaded = set(sys.modules)
                self.exit()

        app = FirstFrame(ModelSpec(), Settings())
        app.run(headless=True)
        print(*app.loaded)
    """
    loaded = set(subprocess.check_output([sys.executable, "-c", code], text=True).split())
    assert "depthtui.tui.app" in loaded
    later = {"depthtui.data.protocol", "depthtui.metrics", "depthtui.tui.panes", "numpy", "tomlkit"}
    assert later & loaded == set()


def test_the_screens_do_not_wait_for_torch() -> None:
    code = (
        "import sys; import depthtui.tui.app, depthtui.tui.screens.main_screen;"
        "print([m for m in ('torch', 'transformers', 'accelerate') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.by_hand
def test_the_real_thing_ends_in_a_filled_screen_and_quits_in_mid_run(
    open_terminal: Callable[..., Terminal], tmp_path: Path
) -> None:
    from tests.tiny_models import tiny_folder

    folder = tiny_folder(tmp_path)
    terminal = open_terminal(
        "depthtui", "--model", str(folder), "--device", "cpu", "--cache-dir", str(tmp_path / "c")
    )
    # Keys and sizes in mid-load. None opens a field: an escape behind it might stop the load.
    terminal.until(lambda: "Opening" in terminal.text)
    for size in ((80, 24), (60, 18), (200, 60), (120, 40)):
        terminal.type(b"jkr\t")
        terminal.resize(*size)
    terminal.until(lambda: "ready" in terminal.text and FILLED in terminal.text)
    terminal.type(b"s")
    terminal.until(lambda: "halted" in terminal.text)
    for number in range(40):
        terminal.resize(60 + 7 * number, 18 + 2 * number)
    terminal.resize(120, 40)
    terminal.until(lambda: "halted" in terminal.text)
    # The first asks, since a run is under way.
    terminal.type(b"q")
    terminal.until(lambda: "q quits" in terminal.text)
    terminal.type(b"q")
    assert terminal.end() == 0
    terminal.assert_restored()


@pytest.mark.by_hand
def test_an_engine_that_is_killed_is_said_and_none_outlives_its_explorer(
    open_terminal: Callable[..., Terminal], tmp_path: Path
) -> None:
    from tests.tiny_models import tiny_folder

    terminal = open_terminal(
        "depthtui", "--model", str(tiny_folder(tmp_path)), "--cache-dir", str(tmp_path / "c")
    )
    explorer = psutil.Process(terminal.process.pid)
    terminal.until(lambda: "ready" in terminal.text and FILLED in terminal.text)
    for engine in explorer.children():
        engine.kill()
    terminal.until(lambda: "SIGKILL" in terminal.text)
    terminal.type(b"r")
    terminal.until(lambda: "ready" in terminal.text and "SIGKILL" not in terminal.text)
    (engine,) = explorer.children()
    terminal.process.kill()
    terminal.process.wait()
    assert psutil.wait_procs([engine], timeout=30)[1] == []
