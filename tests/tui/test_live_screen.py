"""The screens that follow a run: what the first frames say."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.strip import Strip

from depthtui.tui.panes.status_line import StatusLine
from tests.builders.engines import FakeEngine
from tests.tui.app_helpers import DrawnAtOnce, explore


async def test_the_first_frame_names_the_model_that_is_to_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    render = StatusLine.render_line

    def spied(line: StatusLine, y: int) -> Strip:
        strip = render(line, y)
        shown.append(strip.text)
        return strip

    monkeypatch.setattr(StatusLine, "render_line", spied)
    engine = FakeEngine(lambda spec: iter(()))
    async with explore(tmp_path, lambda: engine, wait=False, kind=DrawnAtOnce) as it:
        await it.until(lambda: shown, "a frame")
    assert "demo" in shown[0]
    assert not [text for text in shown if "no model" in text]
