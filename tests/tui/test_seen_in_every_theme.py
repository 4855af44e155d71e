"""Boxes, edges and marks of forms stand out from what is behind them, in every theme."""

from __future__ import annotations

import pytest
from rich.color import ColorSystem
from rich.segment import Segment
from textual.app import App, ComposeResult
from textual.widget import Widget
from textual.widgets import RadioSet
from textual.widgets.selection_list import Selection

from depthtui import ramps
from depthtui.tui.app import DepthApp
from depthtui.tui.draw.styles import has_few_colours
from depthtui.tui.panes.safe_input import SafeInput
from depthtui.tui.screens.dialogs.choice_field import ChoiceField
from depthtui.tui.screens.dialogs.dialog import Dialog
from depthtui.tui.screens.dialogs.safe_text_area import SafeTextArea
from depthtui.tui.screens.dialogs.toggles import Checkbox, RadioButton, SelectionList
from depthtui.tui.themes import THEMES

LEGIBLE = 0.3
"""The least difference in OKLab lightness at which text is legible."""


class EveryField(Dialog[None]):
    """A form with a widget of each kind."""

    def body(self) -> ComposeResult:
        yield Checkbox("off", False, id="off", compact=True)
        yield Checkbox("on", True, id="on", compact=True)
        with RadioSet(id="radios", compact=True):
            yield RadioButton("chosen", True, id="chosen")
            yield RadioButton("other", id="other")
        yield SelectionList(Selection("one", "one", True), Selection("two", "two"), id="list")
        yield ChoiceField({1: "one", 2: "two"}, 1, id="choice")
        yield SafeInput("typed", id="typed", compact=True)
        yield SafeInput(placeholder="words", id="empty", compact=True)
        yield SafeTextArea("text", id="text", compact=True)


class Forms(App[None]):
    """An app with the explorer's themes and the style sheet of its forms."""

    CSS_PATH = DepthApp.CSS_PATH

    def on_mount(self) -> None:
        for theme in THEMES:
            self.register_theme(theme)
        self.set_class(has_few_colours(self), "-few-colours")


MARKS = {
    "off": ["[ ]"],
    "on": ["[X]"],
    "chosen": ["●"],
    "other": ["○"],
    "list": ["[X]", "[ ]"],
    "choice": ["●", "○"],
    "text": ["╭", "│", "╯"],
}
"""The marks of each widget, by its id."""

FIELDS = ("typed", "empty")
"""The fields with an underline."""

IDS = (*MARKS, *FIELDS)


def drawn(widget: Widget) -> list[Segment]:
    """All that a widget draws, its edges included."""
    strips = widget.render_lines(widget.outer_size.region)
    return [segment for strip in strips for segment in strip]


def contrast(segment: Segment, system: ColorSystem) -> float:
    """The difference in lightness of text and what is behind it; 1 for the terminal's own text."""
    assert segment.style is not None
    before, behind = segment.style.color, segment.style.bgcolor
    if before is None or before.is_default:
        return 1.0
    assert behind is not None
    light, other = (
        ramps.lightness(tuple(colour.downgrade(system).get_truecolor(foreground=is_text)))
        for colour, is_text in ((before, True), (behind, False))
    )
    return abs(light - other)


@pytest.mark.parametrize("system", ["truecolor", "standard"])
async def test_boxes_edges_and_marks_stand_out(
    monkeypatch: pytest.MonkeyPatch, system: str
) -> None:
    monkeypatch.setattr("textual.constants.COLOR_SYSTEM", system)
    shown_as, unseen = ColorSystem[system.upper()], set()
    app, dialog = Forms(), EveryField()
    async with app.run_test() as pilot:
        await app.push_screen(dialog)
        for theme in app.available_themes:
            app.theme = theme
            await pilot.pause()
            segments = {name: drawn(dialog.query_one(f"#{name}")) for name in IDS}
            for name, marks in MARKS.items():
                for mark in marks:
                    found = [segment for segment in segments[name] if mark in segment.text]
                    assert found, (name, mark)
                    if min(contrast(segment, shown_as) for segment in found) < LEGIBLE:
                        unseen.add((theme, name))
            for name in FIELDS:
                assert all(segment.style and segment.style.underline for segment in segments[name])
                if contrast(segments[name][-1], shown_as) < LEGIBLE:
                    unseen.add((theme, name))
    # In 16 colours, all text of this theme is grey on grey.
    grey = {("atom-one-dark", name) for name in IDS} if system == "standard" else set()
    assert unseen <= grey
