"""The explorer on a scripted engine in a real terminal: `python -m tests.tui.fake_explorer`.

`crash` as an argument makes `%` raise, `loop` makes it raise without end, `busy` makes it write
`busy` and work without end, `welcome` begins as a first start does; with `live`, runs that follow
the first wait for `%`, which sends the events of a layer, and `@` sends 500 events within two
seconds. `signal NUMBER STAGE` sends itself a signal at `load`, `compose`, `mount` or `open`. The
rest is the explorer as it is.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from textual.app import ComposeResult

from depthtui import cli
from depthtui.data.protocol import Memory, Rows
from depthtui.data.run import Prompt
from depthtui.data.run_settings import ModelSpec
from depthtui.metrics.registry import OF_THE_PASS
from depthtui.settings import Settings
from depthtui.tui import app as app_module
from depthtui.tui.app import DepthApp
from depthtui.tui.state.engine_connection import EngineConnection
from tests.builders.engines import FakeEngine
from tests.hostile import HOSTILE

EVENTS, EVENT = 500, 0.004


class Fragile(DepthApp):
    """Raises on `%`; without end where `loop` was asked for."""

    BINDINGS = [("percent_sign", "crash", "crash")]  # noqa: RUF012

    def action_crash(self) -> None:
        if "loop" in sys.argv:
            self.set_interval(0.001, self._raise)
        self._raise()

    def _raise(self) -> None:
        raise RuntimeError("planned [/] \x1b[2J")


class Busy(DepthApp):
    """Works without end on `%`."""

    BINDINGS = [("percent_sign", "work", "work")]  # noqa: RUF012

    def action_work(self) -> None:
        os.write(1, b"busy")
        while True:
            pass


class Live(DepthApp):
    """Hears of a run when it is told to, but for the first one."""

    BINDINGS = [  # noqa: RUF012
        ("percent_sign", "advance", "advance"),
        ("at", "burst", "burst"),
    ]
    fake: FakeEngine
    _memory = 0

    def start_engine(self) -> EngineConnection:
        engine = super().start_engine()
        assert isinstance(engine, FakeEngine)
        self.fake = engine
        return engine

    def action_advance(self) -> None:
        self.fake.manual = True
        for _ in OF_THE_PASS:
            self.fake.advance(until=Rows)

    def action_burst(self) -> None:
        self.set_interval(EVENT, self._repeat, repeat=EVENTS)

    def _repeat(self) -> None:
        # Another one each time: what looks the same is not drawn again.
        self._memory += 1_000_000
        self.fake.say(Memory(self._memory, 2_000_000))


class Signalled(DepthApp):
    """Gets a signal while it starts."""

    def _at(self, stage: str) -> None:
        number, chosen = sys.argv[sys.argv.index("signal") + 1 :]
        if stage == chosen:
            os.kill(os.getpid(), int(number))

    def on_load(self) -> None:
        self.call_later(self._at, "load")

    def compose(self) -> ComposeResult:
        self._at("compose")
        yield from super().compose()

    def on_mount(self) -> None:
        self._at("mount")

    def _open(self) -> None:
        self._at("open")
        super()._open()


def main() -> int:
    folder = Path(tempfile.mkdtemp())

    def make(spec: ModelSpec, settings: Settings, welcomes: bool, **wiring: Any) -> DepthApp:
        kinds = {"live": Live, "crash": Fragile, "loop": Fragile, "busy": Busy, "signal": Signalled}
        kind = next((kinds[word] for word in sys.argv if word in kinds), DepthApp)
        welcomes = welcomes and "welcome" in sys.argv
        return kind(spec, settings, FakeEngine, folder / "settings.toml", welcomes, **wiring)

    if "hostile" in sys.argv:
        everything = " ".join(text for text in HOSTILE.values() if text)
        DepthApp.first_prompt = lambda app: Prompt(everything)  # type: ignore[method-assign]
    app_module.DepthApp = make  # type: ignore[assignment, misc]
    return cli.main(["--cache-dir", str(folder)])


if __name__ == "__main__":
    sys.exit(main())
