"""A paste is text, whatever it holds and wherever it goes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from textual.events import Key
from textual.widgets import Input, OptionList, TextArea

from depthtui.data.protocol import Command, CountTokens
from depthtui.tui.screens.dialogs.open_dialog import OpenDialog
from depthtui.tui.state.pasted import (
    CONTROLS_DROPPED,
    FIRST_LINE_ONLY,
    LINE_CUT,
    LONGEST_LINE,
    LONGEST_TEXT,
    NO_FIELD,
    TOO_LONG,
    pasted_line,
    pasted_text,
)
from depthtui.tui.textual_patches.input_parser import TolerantParser
from tests.hostile import HOSTILE
from tests.tui.app_helpers import Explored, explore

MEGABYTE = ("rain \x1b[31m x\x1bq\x1bx\x1b[A\x03\x1b]52;c;eA==\x07 " * 40_000)[:1_000_000]

FIELDS = {
    "p": 3,
    "m": 5,
    "v": 1,
    "u": 2,
    "L": 6,
    "M": 3,
    "e": 2,
    "comma": 2,
    "comma tab": 1,
    "comma tab tab": 1,
    "question_mark": 1,
    "question_mark shift+tab": 1,
    "ctrl+p": 1,
    "slash": 1,
    "b": 1,
    "b tab": 2,
    "b R": 2,
    "b S": 1,
    "b S n": 9,
    "": 0,
    "enter": 0,
    "x": 0,
    "w": 0,
}
"""Keys from the main screen to every place, and the number of fields there."""

OFTEN = ("p", "m", "comma", "question_mark shift+tab", "ctrl+p", "slash", "b R", "", "w")
"""Places whose fields are of different classes; every other by hand."""

CPU_SECONDS = 1.0
"""The most for a paste and three keys behind it; a shared machine is slower than people's."""


def paste(it: Explored, text: str, *keys: str) -> None:
    """Send a paste as a terminal does, and keys behind it, all at once."""
    for message in TolerantParser().feed(f"\x1b[200~{text}\x1b[201~"):
        it.app.post_message(message)
    for key in keys:
        it.app.post_message(Key(key, key if len(key) == 1 else None))


def has_handled_keys(field: Input | TextArea) -> bool:
    """Whether home, delete and ü were handled; a field of numbers accepts no letter."""
    if isinstance(field, TextArea):
        return "ü" in field.text
    return field.value.startswith("ü") if field.type == "text" else field.cursor_position == 0


def work_of(it: Explored) -> list[Command]:
    """What the engine was asked for, but for the number of a prompt's tokens."""
    return [command for command in it.engine.commands if not isinstance(command, CountTokens)]


@pytest.mark.parametrize(
    "place",
    [
        place if place in OFTEN else pytest.param(place, marks=pytest.mark.by_hand)
        for place in FIELDS
    ],
)
async def test_a_megabyte_of_keys_is_text_in_every_field(tmp_path: Path, place: str) -> None:
    async with explore(tmp_path) as it:
        await it.press(*place.split())
        screen, work = it.app.screen, work_of(it)
        fields = [*screen.query(Input), *screen.query(TextArea)]
        fields = [field for field in fields if field.focusable][: FIELDS[place]]
        assert len(fields) == FIELDS[place]
        for field in fields:
            field.focus()
            await it.until(lambda field=field: screen.focused is field)
            began = time.thread_time()
            paste(it, MEGABYTE, "home", "delete", "ü")
            await it.until(lambda field=field: has_handled_keys(field), str(field))
            assert time.thread_time() - began < CPU_SECONDS
            assert screen.focused is field
            if isinstance(field, Input):
                assert field.value.isprintable()
                assert len(field.value) <= LONGEST_LINE
        if not fields:
            paste(it, MEGABYTE)
            await it.until(lambda: it.toasts()[-1:] == [NO_FIELD])
        assert it.app.screen is screen
        assert work_of(it) == work


async def test_a_paste_is_told_once(it: Explored) -> None:
    await it.press("p")
    area = it.app.screen.query_one("#text", TextArea)
    for _ in range(5):
        paste(it, "two\r\x1bwords\x07\r\n")
    paste(it, "x" * LONGEST_TEXT, "z")
    await it.until(lambda: area.text == "two\nwords\n" * 5 + "z")
    await it.until(lambda: TOO_LONG in it.toasts())
    assert it.toasts() == [CONTROLS_DROPPED, TOO_LONG]


async def test_a_paste_on_a_list_goes_to_its_field(it: Explored) -> None:
    await it.press("m")
    dialog = it.app.screen
    assert isinstance(dialog, OpenDialog)
    dialog.query_one(OptionList).focus()
    await it.until(lambda: dialog.listing.has_focus)
    paste(it, "/models/", *"one")
    await it.until(lambda: dialog.typed == "/models/one")


async def test_a_copied_token_is_harmless_where_it_is_pasted(it: Explored) -> None:
    it.app.copy_to_clipboard("tok\x1b]52;c;eA==\x07en\nq")
    assert "\x1b" in it.app.clipboard
    await it.press("slash", "ctrl+v")
    assert it.app.focused.value == "tok]52;c;eA==en"  # type: ignore[union-attr]


async def test_a_copied_text_is_pasted_only_where_there_is_room(it: Explored) -> None:
    await it.press("p")
    area = it.app.screen.query_one("#text", TextArea)
    area.text = ""
    it.app.copy_to_clipboard("rain " * (LONGEST_TEXT // 5 - 1))
    await it.press("ctrl+v", "ctrl+v", "z", until=lambda: "z" in area.text)
    assert len(area.text) == LONGEST_TEXT - 4


def test_pasted_text_has_no_control_characters() -> None:
    for text in HOSTILE.values():
        harmless, sentences = pasted_text(text, LONGEST_TEXT)
        kept = set(text) - set(map(chr, [*range(0x20), *range(0x7F, 0xA0)])) | set("\t\n")
        assert set(harmless) <= kept
        assert set(text) & kept - set("\t\n") <= set(harmless)
        is_plain = text.replace("\r\n", "\n").replace("\r", "\n") == harmless
        assert sentences == (() if is_plain else (CONTROLS_DROPPED,))
        line, _ = pasted_line(text, LONGEST_LINE)
        assert len(line.splitlines()) < 2


def test_a_line_is_the_first_one_and_has_an_end() -> None:
    assert pasted_line("\r\none\r\n", 9) == ("one", ())
    assert pasted_line("one\rtwo", 9) == ("one", (FIRST_LINE_ONLY,))
    assert pasted_line("one\x1b\ntwo", 2) == ("on", (CONTROLS_DROPPED, FIRST_LINE_ONLY, LINE_CUT))
    assert pasted_line("one", -1) == ("", (LINE_CUT,))
    assert pasted_line("\n", 9) == ("", ())


def test_a_text_is_taken_whole_or_not_at_all() -> None:
    assert pasted_text("one\r\ntwo\r", 8) == ("one\ntwo\n", ())
    assert pasted_text("one\r\ntwo\r", 7) == ("", (TOO_LONG,))
