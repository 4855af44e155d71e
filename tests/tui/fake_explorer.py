"""The explorer on a scripted engine in a real terminal: `python -m tests.tui.fake_explorer`.

`crash` as an argument makes `!` raise, `loop` makes it raise without end, `welcome` begins as a
first start does; the rest is the explorer as it is.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from depthtui import cli
from depthtui.data.run import Prompt
from depthtui.data.run_settings import ModelSpec
from depthtui.settings import Settings
from depthtui.tui import app as app_module
from depthtui.tui.app import DepthApp
from tests.builders.engines import FakeEngine
from tests.hostile import HOSTILE


class Fragile(DepthApp):
    """Raises on `!`; without end where `loop` was asked for."""

    BINDINGS = [("exclamation_mark", "crash", "crash")]  # noqa: RUF012

    def action_crash(self) -> None:
        if "loop" in sys.argv:
            self.set_interval(0.001, self._raise)
        self._raise()

    def _raise(self) -> None:
        raise RuntimeError("planned [/] \x1b[2J")


def main() -> int:
    folder = Path(tempfile.mkdtemp())

    def make(spec: ModelSpec, settings: Settings, welcomes: bool, **wiring: Any) -> DepthApp:
        kind = Fragile if {"crash", "loop"} & set(sys.argv) else DepthApp
        welcomes = welcomes and "welcome" in sys.argv
        return kind(spec, settings, FakeEngine, folder / "settings.toml", welcomes, **wiring)

    if "hostile" in sys.argv:
        everything = " ".join(text for text in HOSTILE.values() if text)
        DepthApp.first_prompt = lambda app: Prompt(everything)  # type: ignore[method-assign]
    app_module.DepthApp = make  # type: ignore[assignment, misc]
    return cli.main(["--cache-dir", str(folder)])


if __name__ == "__main__":
    sys.exit(main())
