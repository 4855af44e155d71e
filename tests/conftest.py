"""Fixtures that more than one folder of tests uses."""

from __future__ import annotations

import ast
import gc
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from typing import Any
from unittest.mock import patch

# Tests run side by side, each with one thread; torch reads this when it is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import pytest

from depthtui.models.demo import ensure_demo

# In the background a shell lets its jobs ignore these, and so would every process that a test
# starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
for name in ("SIGHUP", "SIGQUIT"):
    if hasattr(signal, name):
        signal.signal(getattr(signal, name), signal.SIG_DFL)

# Behind these, an explorer in 16 colours names the way to more of them.
for variable in ("TMUX", "SSH_CONNECTION"):
    os.environ.pop(variable, None)

# On a terminal that cannot draw, commands print lines alone.
os.environ["TERM"] = "xterm-256color"

# Byte code is kept, or each worker and each process that a test starts would compile it all anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


def pytest_xdist_auto_num_workers() -> int:
    """Two processes a core: a quarter of what the explorer's tests take is waiting."""
    return 2 * (os.cpu_count() or 1)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Import the tests, each worker beginning elsewhere: it finds what others have compiled."""
    worker = getattr(session.config, "workerinput", None)
    if worker is None:
        return
    paths = [Path(arg.partition("::")[0]) for arg in session.config.args]
    files = [file for path in paths for file in sorted(path.rglob("test_*.py"))]
    first = len(files) * int(worker["workerid"].removeprefix("gw")) // worker["workercount"]
    for file in files[first:] + files[:first]:
        with suppress(Exception, pytest.skip.Exception):  # Collecting it will say why.
            module = file.absolute().relative_to(session.config.rootpath).with_suffix("")
            import_module(".".join(module.parts))


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: pytest.Collector, obj: Any) -> list[pytest.Item] | None:
    """Make no cases that are run by hand alone, half of all, where none of them is chosen."""
    marks = getattr(obj, "pytestmark", None)
    if collector.config.option.markexpr != "not by_hand" or not isinstance(marks, list):
        return None
    if any(mark.name == "by_hand" for mark in marks):
        return []
    if any(mark.name == "parametrize" for mark in marks):
        obj.pytestmark = [*map(_without_those_by_hand, marks)]
    return None


def _without_those_by_hand(mark: pytest.Mark) -> pytest.Mark:
    if mark.name != "parametrize" or len(mark.args) < 2 or isinstance(mark.kwargs.get("ids"), list):
        return mark
    names, values = mark.args
    chosen = [
        value
        for value in values
        if not any(other.name == "by_hand" for other in getattr(value, "marks", ()))
    ]
    return pytest.mark.parametrize(names, chosen or values, **mark.kwargs).mark


SLOWEST = (
    *("tests/pictures/test_screens.py", "tests/metrics/test_planted.py", "tests/test_quality.py"),
    *("tests/test_placement.py", "tests/test_demo_model.py", "tests/parallel/test_two_ranks.py"),
    *("tests/tui/test_dialogs.py", "tests/tui/test_sessions.py", "tests/tui/test_terminal.py"),
    *("tests/tui/test_own_commands.py", "tests/tui/test_what_if.py", "tests/test_cli_prune.py"),
    *("tests/tui/test_pages.py", "tests/service/test_worker.py", "tests/test_plugins.py"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slowest files, and spread those of the explorer over the others.

    None of the slowest is what the last worker is left with. The explorer's tests wait where others
    compute: side by side they leave no core idle.
    """
    items.sort(key=lambda item: not item.nodeid.startswith(SLOWEST))
    explorers = [item for item in items if item.nodeid.startswith("tests/tui/test_")]
    others = [item for item in items if not item.nodeid.startswith("tests/tui/test_")]
    begins: dict[Path, float] = {}
    for group in (explorers, others):
        for place, item in enumerate(group):
            begins.setdefault(item.path, place / len(group))
    items.sort(key=lambda item: begins[item.path])


def pytest_collection_finish() -> None:
    """Collect seldom what is no longer used."""
    gc.set_threshold(100_000, 20, 50)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the slowest files where the slowest tests are printed (`--durations`)."""
    seconds: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                seconds[report.nodeid.partition("::")[0]] += report.duration
    slowest = seconds.most_common(terminalreporter.config.option.durations or 0)
    if slowest:
        terminalreporter.section("slowest files")
    for file, duration in slowest:
        terminalreporter.line(f"{duration:7.1f} s {file}")


@pytest.fixture(scope="module", autouse=True)
def spare_what_stays() -> None:
    """Spare the collector what the process has kept by then.

    Where memory ends it is called again and again, and traverses all that imports and tests keep.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def demo_folder() -> Path:
    """The demo model, in the model store that the app uses too when run from this checkout."""
    checkout = Path(__file__).parent.parent
    cache = os.environ.get("DEPTHTUI_CACHE_DIR") or checkout / "cache"
    return ensure_demo(Path(cache) / "models", lambda _: None)


@pytest.fixture(scope="session", autouse=True)
def few_timings() -> Iterator[None]:
    """Time each pass of a model once: only what is read of a time is tested."""
    with patch.multiple("depthtui.metrics.speed.compute", ROUNDS=1, STEPS=1):
        yield


@pytest.fixture(scope="module")
def short_texts() -> Iterator[None]:
    """Few and short texts on which the order of layers is searched for."""
    # Its import brings the engine, which most files of tests do without.
    from tests.parallel.two_ranks import SHORT_TEXTS

    with patch.multiple("depthtui.engine.layer_orders", **SHORT_TEXTS):
        yield


@pytest.fixture(scope="module")
def package() -> dict[str, ast.Module]:
    """The package's modules, parsed, by their paths.

    Kept no longer than a file of tests: a million objects, which each collection would traverse.
    """
    folder = Path(__file__).parent.parent / "depthtui"
    return {
        str(path.relative_to(folder)): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(folder.rglob("*.py"))
    }


@pytest.fixture
def reachable_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that answers whoever asks whether it is there: for models that are made up."""
    monkeypatch.setattr("depthtui.models.reach.reaches", lambda endpoint: True)


@pytest.fixture
def chance_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of random weights, which is at chance, can be pruned all the same."""
    monkeypatch.setattr("depthtui.engine.layer_choice.check_not_at_chance", lambda *_: None)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own, which the commands use."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("DEPTHTUI_CACHE_DIR", str(folder))
    return folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Everything that depthtui keeps is kept in a folder of the test's own."""
    monkeypatch.setenv("DEPTHTUI_CONFIG", str(tmp_path / "settings.toml"))
    monkeypatch.setenv("DEPTHTUI_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path
