"""Hostile text in prompts, vocabularies, names and errors never reaches the terminal raw."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from textual.app import App, ComposeResult

from depthtui.data.protocol import Event, ModelLoaded, Notice
from depthtui.data.run import Prompt
from depthtui.data.run_settings import ModelSpec
from depthtui.token_text import printable_chars
from depthtui.tui.screens.dialogs.prompt_picker import PromptPicker
from depthtui.tui.screens.dialogs.safe_text_area import SafeTextArea
from tests.builders.engines import FakeEngine
from tests.builders.models import model_info
from tests.hostile import HOSTILE
from tests.tui.app_helpers import Explored, explore

UNSAFE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def test_stand_ins_keep_the_length_and_nothing_else_that_is_unsafe() -> None:
    for text in HOSTILE.values():
        shown = printable_chars(text.replace("\n", " ").replace("\t", " "))
        assert len(shown) == len(text)
        assert not UNSAFE.search(shown)


async def test_a_text_box_draws_a_stand_in_and_keeps_the_text() -> None:
    class Box(App[None]):
        def compose(self) -> ComposeResult:
            yield SafeTextArea()

    async with Box().run_test(size=(60, 12)) as pilot:
        box = pilot.app.query_one(SafeTextArea)
        for text in ("a\x1b[2Jb", "a\u202eb\u200bc", "a\x9b2Jb", "\x07\x00", "a\ud800b"):
            box.text = text
            await pilot.pause()
            assert box.render_line(0).text.strip().startswith(printable_chars(text))
            assert box.text == text


async def test_toasts_are_no_markup(it: Explored) -> None:
    it.engine.say(Notice("[bold]loud[/] [/ [@click=app.quit]x[/]"))
    await it.until(lambda: "[bold]loud[/] [/ [@click=app.quit]x[/]" in it.screen_text())


async def test_every_screen_shows_hostile_texts_safely(tmp_path: Path) -> None:
    everything = " ".join(text for text in HOSTILE.values() if text)

    def load(spec: ModelSpec) -> Iterator[Event]:
        yield ModelLoaded(model_info(spec, name=everything[:200], device="[/]\x1b[2J"))

    async with explore(tmp_path, lambda: FakeEngine(load=load), (200, 60)) as it:
        it.app.explorer.run(Prompt(everything, task="[/]\x1b[31m", level="[bold]"))
        await it.until(lambda: len(it.session.results) == 2)
        await it.ready()
        it.engine.say(Notice(everything[:300]))
        await it.until(it.toasts)
        for key in ("", "p", "b", "m", "L", "u", "e", "question_mark", "z", "tab"):
            if key:
                await it.press(key)
            text = it.screen_text()
            assert not UNSAFE.search(text), key
            if it.app.screen is not it.main:
                await it.press("escape")
        it.engine.die(1, everything[:300])
        await it.until(lambda: it.status.state == "gone")
        await it.pilot.pause()
        assert not UNSAFE.search(it.screen_text())
        assert it.app.error is None


async def test_every_token_can_be_under_the_cursor(it: Explored) -> None:
    texts = [text for text in HOSTILE.values() if text]
    it.app.explorer.run(Prompt(" ".join(texts)))
    await it.until(lambda: len(it.session.results) == 2)
    await it.ready()
    tokens = it.main.shown_result().tokens.texts
    for token in range(0, len(tokens), 11):
        it.main.go(token % 30, token)
        await it.pilot.pause()
    it.main.copy_value()
    assert not UNSAFE.search(it.screen_text())


async def test_an_empty_prompt_is_refused_in_words(it: Explored) -> None:
    await it.press("p", until=PromptPicker)
    await it.press("delete", "f5")
    await it.until(it.toasts)
    assert "the text is empty" in it.toasts()[0]
    assert it.session.current.prompt.text
    assert len(it.session.runs) == 1
