"""Panes drawn alone on a screen of a chosen size."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import replace
from typing import Any

from rich.style import Style
from textual.app import App, ComposeResult
from textual.pilot import Pilot
from textual.strip import Strip
from textual.widget import Widget

from depthtui.data.depth import DepthEstimate
from depthtui.data.run import RunResult
from depthtui.data.run_settings import SummarySettings
from depthtui.depth.reading import Reading, reading_of
from depthtui.tui.panes.pane import Pane
from depthtui.tui.panes.view import View


def with_depths(reading: Reading, *depths: DepthEstimate) -> Reading:
    """A reading whose rules find these depths."""
    other = copy(reading)
    vars(other)["depths"] = depths
    return other


def summary_of(result: RunResult, **settings: float) -> Reading | None:
    return reading_of([result], SummarySettings(**settings))  # type: ignore[arg-type]


def show(
    pane: Pane,
    result: RunResult | None,
    reading: Reading | None = None,
    other_result: RunResult | None = None,
    other_reading: Reading | None = None,
    **changes: Any,
) -> None:
    """Draw these as a screen has a pane draw a run that may have grown."""
    view = replace(pane.view, result=result, reading=reading, other_result=other_result, **changes)
    # Not the view that was shown before, so that all of it is drawn again.
    pane.view = View()
    pane.show(replace(view, other_reading=other_reading))


def change(pane: Pane, **changes: Any) -> None:
    """Draw the same with some other fields of the view, or attributes of the pane."""
    of_view = {name: value for name, value in changes.items() if hasattr(pane.view, name)}
    for name in changes.keys() - of_view.keys():
        setattr(pane, name, changes[name])
    pane.show(replace(pane.view, **of_view))


class Frame(App[None]):
    """One widget and nothing else."""

    def __init__(self, widget: Widget, theme: str = "textual-dark") -> None:
        super().__init__()
        self.widget = widget
        self.first_theme = theme
        self.heard: list[object] = []

    def compose(self) -> ComposeResult:
        self.theme = self.first_theme
        yield self.widget

    def on_cursor_moved(self, message: object) -> None:
        self.heard.append(message)


@asynccontextmanager
async def framed(
    widget: Widget, size: tuple[int, int] = (60, 24), theme: str = "textual-dark"
) -> AsyncIterator[Pilot[None]]:
    """The widget on a screen of `size`; its frame takes two lines and four columns of it."""
    app = Frame(widget, theme)
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        yield pilot


def strips(widget: Widget) -> list[Strip]:
    return [widget.render_line(y) for y in range(widget.size.height)]


def lines(widget: Widget) -> list[str]:
    return [strip.text for strip in strips(widget)]


def cells(strip: Strip) -> Iterator[tuple[str, Style]]:
    """One character and its style for each cell; wide characters count twice."""
    for text, style, _ in strip:
        for char in text:
            yield char, style or Style.null()


def cell(widget: Widget, x: int, y: int) -> tuple[str, Style]:
    return list(cells(widget.render_line(y)))[x]


def line_with(widget: Widget, text: str) -> int:
    """The first line that holds a text."""
    return next(y for y, line in enumerate(lines(widget)) if text in line)
