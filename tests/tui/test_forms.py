"""Forms that are drawn from options: fields, mistakes, choices by key and by mouse."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from textual.widgets import Static

from depthtui.data.run_settings import RunSettings
from depthtui.options import Option, options_of
from depthtui.tui.screens.dialogs.choice_field import ChoiceField
from depthtui.tui.screens.dialogs.form import Form
from depthtui.tui.screens.dialogs.help_screen import HelpScreen
from tests.hostile import HOSTILE
from tests.tui.app_helpers import Explored

FIELDS = {
    "part": Option(
        "The part.", choices=("layer", "mlp"), words=("layer", "MLP"), default="layer", label="part"
    ),
    "on": Option("Whether it is on.", kind=bool, default=False, label="on"),
    "share": Option("A share.", kind=float, default=0.5, most=1, label="share"),
    "layers": options_of(RunSettings)["layers"],
}
VALUES = {"part": "layer", "on": False, "share": 0.5, "layers": ""}


async def show(it: Explored, closed: Mapping[str, str] | None = None) -> tuple[Form, list[Any]]:
    """Open the form; returns it and what it is dismissed with."""
    form, taken = Form(FIELDS, VALUES, closed), list[Any]()
    it.app.push_screen(form, taken.append)
    await it.until(lambda: it.app.screen is form)
    await it.pilot.pause()
    return form, taken


def told(form: Form) -> str:
    return str(form.query_one("#note", Static).content)


async def test_keys_fill_in_every_field(it: Explored) -> None:
    form, taken = await show(it)
    assert told(form) == "The part."
    await it.press("right", "down", "space", "down")
    assert told(form) == "A share. A number from 0 to 1."
    await it.press(*"0.25", "down", *"0-3", "enter")
    assert taken == [{"part": "mlp", "on": True, "share": 0.25, "layers": "0-3"}]


async def test_letters_that_move_are_typed_into_no_number(it: Explored) -> None:
    _, taken = await show(it)
    await it.press("j", "j", "k", "j", *"0.25", "j", "k", "enter")
    assert taken == [VALUES | {"share": 0.25}]


async def test_what_is_empty_is_the_default(it: Explored) -> None:
    form, taken = await show(it)
    form.field("share").value = ""
    await it.press("f5")
    assert taken == [VALUES]


async def test_a_mistake_is_named_and_stays_to_be_corrected(it: Explored) -> None:
    form, taken = await show(it)
    form.field("share").value = "2"
    form.field("layers").value = "x"
    await it.press("enter")
    assert form.focused is form.field("share")
    assert told(form) == "Share must be a number from 0 to 1."
    assert form.field("share").value == "2"
    # The last line is about the field with the focus.
    await it.press("down")
    assert told(form).startswith("Layers must be layers such as")
    await it.press("escape", "y")
    assert taken == [None]


async def test_the_mouse_chooses_the_words_under_it(it: Explored) -> None:
    form, taken = await show(it)
    part = form.query_one("#part", ChoiceField)
    await it.pilot.click(part, offset=(len("● layer   ○ M"), 0))
    assert part.value == "mlp"
    await it.pilot.click(part, offset=(2, 0))
    assert part.value == "layer"
    await it.pilot.click(part, offset=(40, 0))
    assert part.value == "layer"
    await it.pilot.click("#take")
    assert taken == [VALUES]


async def test_a_field_that_is_closed_says_why_and_is_passed_by(it: Explored) -> None:
    why = HOSTILE["colour"]
    form, taken = await show(it, {"part": why, "layers": "no"})
    assert form.focused is form.field("on")
    form.field("part").value = "mlp"
    await it.press("up", "up", "enter")
    assert taken == [VALUES]
    assert "\x1b" not in it.screen_text()


async def test_a_click_turns_a_tab(it: Explored) -> None:
    await it.press("question_mark", "tab")
    await it.until(lambda: it.app.screen.query("#tabs"))
    await it.pilot.click("#tabs", offset=(2, 0))
    await it.until(lambda: isinstance(it.app.screen, HelpScreen))
