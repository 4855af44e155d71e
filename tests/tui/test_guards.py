"""What Textual lets through, in the explorer and apart from it."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.style import Style
from textual import events
from textual._wait import wait_for_idle
from textual.app import App, ComposeResult
from textual.command import CommandPalette
from textual.geometry import Size
from textual.screen import ModalScreen, Screen
from textual.widget import Widget
from textual.widgets import Footer, Input, OptionList, Static, TextArea

from depthtui.data.protocol import Progress
from depthtui.tui import guards
from depthtui.tui.screens.dialogs.dialog import Dialog
from tests.pictures.picture import take_picture
from tests.tui.app_helpers import Explored, explore

guards.install()

OPENS: dict[str, Callable[[Explored], object]] = {
    "models": lambda it: it.main.action_models(),
    "prompts": lambda it: it.main.action_prompts("tasks"),
    "runs": lambda it: it.main.action_session(),
    "compare": lambda it: it.main.action_compare(),
    "sweep": lambda it: it.main.action_sweep(),
    "generation": lambda it: it.main.action_generate(),
    "palette": lambda it: it.app.action_command_palette(),
}
"""What opens a screen."""


@pytest.mark.parametrize("name", OPENS)
async def test_a_screen_may_be_left_before_it_is_there(tmp_path: Path, name: str) -> None:
    async with explore(tmp_path) as it:
        for _ in range(3):
            OPENS[name](it)
            screen = it.app.screen
            assert screen is not it.main
            it.app.pop_screen()
            await it.until(lambda screen=screen: not screen.is_attached, "its end")
        assert it.app.screen is it.main
        await it.press("j")


@pytest.mark.parametrize("name", OPENS)
async def test_a_screen_may_be_opened_while_the_app_ends(tmp_path: Path, name: str) -> None:
    async with explore(tmp_path) as it:
        OPENS[name](it)
        it.app.exit()
        await it.until(lambda: not it.app._running, "the end")
    assert it.app.error is None


async def test_what_was_to_come_after_a_refresh_may_find_the_screen_gone(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        await it.press("S")
        screen = it.app.screen
        await it.press("S")
        await it.until(lambda: not screen.is_attached, "its end")
        screen._show_tabs()


async def test_a_dialog_dismissed_twice_closes_nothing_else(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        dialog: Dialog[int] = Dialog()
        chosen: list[int | None] = []
        it.app.push_screen(dialog, chosen.append)
        await it.pilot.pause()
        dialog.dismiss(1)
        dialog.dismiss(2)
        await it.until(lambda: not dialog.is_attached, "its end")
        assert it.app.screen is it.main
        assert chosen == [1]


async def test_the_command_palette_may_be_opened_while_it_closes(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        it.app.action_command_palette()
        it.app.pop_screen()
        it.app.action_command_palette()
        it.app.action_command_palette()
        await it.until(lambda: CommandPalette.is_open(it.app), "the palette")
        await it.press("escape")
        await it.until(lambda: it.app.screen is it.main, "the main screen")


async def test_what_watched_something_and_is_gone_is_forgotten(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        for _ in range(2):
            await it.press("p", "f1", "escape", "z", "z")
            await it.until(lambda: it.app.screen is it.main, "the main screen")
        for watched, name in ((it.main.query_one(Footer), "compact"), (it.app, "theme")):
            watchers = getattr(watched, "__watchers")[name]
            assert len([node for node, _ in watchers if not node.is_attached]) <= 1, name


@pytest.mark.parametrize("name", OPENS)
async def test_of_a_screen_that_has_gone_nothing_is_kept_for_long(
    tmp_path: Path, name: str
) -> None:
    async with explore(tmp_path) as it:
        opened: list[list[weakref.ref[object]]] = []
        for _ in range(2):
            OPENS[name](it)
            await it.pilot.pause()
            opened.append(
                [
                    weakref.ref(part)
                    for widget in it.app.screen.walk_children(Widget, with_self=True)
                    for part in (widget, widget._styles_cache)
                ]
            )
            await it.press("escape")
            await it.until(lambda: it.app.screen is it.main, "the main screen")
        # Who watches a theme, and a worker that has ended, are kept until the next.
        await it.until(lambda: not alive(opened[0]), "the end of the first")


def alive(parts: list[weakref.ref[object]]) -> list[object]:
    """Those that something still holds."""
    gc.collect()
    return [part for ref in parts if (part := ref()) is not None]


class Listing(App[None]):
    CSS = "OptionList { display: none; }"

    def compose(self) -> ComposeResult:
        yield OptionList("one", "two")


@pytest.mark.parametrize("turn", [OptionList.action_page_up, OptionList.action_page_down])
async def test_a_hidden_list_has_no_pages(turn: Callable[[OptionList], None]) -> None:
    async with Listing().run_test() as pilot:
        listing = pilot.app.query_one(OptionList)
        listing.highlighted = 0
        turn(listing)
        assert listing.highlighted == 0


async def test_an_option_that_has_gone_is_not_chosen() -> None:
    chosen: list[int] = []

    class Choices(Listing):
        def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
            chosen.append(event.option_index)

    async with Choices().run_test() as pilot:
        listing = pilot.app.query_one(OptionList)
        for place in (listing.option_count, 0):
            style = Style(meta={"option": place})
            listing.post_message(
                events.Click(listing, 0, 0, 0, 0, 1, False, False, False, style=style)
            )
            await pilot.pause()
    assert chosen == [0]


async def test_the_mouse_may_press_what_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    app: App[None] = App()
    async with app.run_test() as pilot:
        gone = Static("gone")
        screen = app.screen
        monkeypatch.setattr(
            screen._compositor, "get_widget_and_offset_at", lambda x, y: (gone, None)
        )
        await pilot.mouse_down(offset=(1, 1))
        await pilot.mouse_up(offset=(1, 1))
        assert screen.get_widget_and_offset_at(1, 1) == (None, None)


class Counting(Screen[None]):
    """Counts the sizes that it is told, and does something about each, as screens of panes do."""

    told = 0

    def on_resize(self) -> None:
        self.told += 1
        assert self.told < 20
        self.call_after_refresh(self.refresh)


async def test_an_old_size_and_a_new_one_do_not_chase_each_other() -> None:
    app: App[None] = App()
    async with app.run_test(size=(120, 40)) as pilot:
        screen = Counting()
        await app.push_screen(screen)
        await pilot.pause()
        for size in (Size(90, 30), Size(120, 40)):
            screen.post_message(events.Resize(size, size))
            screen.call_after_refresh(screen.refresh)
        await pilot.pause()
        assert screen.size == (120, 40)


class Label(App[None]):
    """A line as wide as its words."""

    CSS = "#words { width: auto; }"

    def compose(self) -> ComposeResult:
        yield Static("some words", id="words")


async def test_words_changed_again_while_they_are_laid_out_have_room() -> None:
    app = Label()
    async with app.run_test() as pilot:
        words = app.query_one("#words", Static)
        words.update("")
        app.screen._refresh_layout()
        words.update("other words")
        words._check_refresh()
        await pilot.pause()
        app.screen._refresh_layout()
        assert words.region.width == len("other words")


async def test_a_palette_beneath_another_screen_is_the_only_one() -> None:
    app: App[None] = App()
    async with app.run_test() as pilot:
        app.action_command_palette()
        await app.push_screen(ModalScreen[None]())
        app.action_command_palette()
        await pilot.pause()
        assert [isinstance(screen, CommandPalette) for screen in app.screen_stack].count(True) == 1


async def test_a_load_that_lasts_longer_than_the_screen_is_not_shown(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        main = it.main
    main.advance(Progress("reading weights", 1, 2, "B"))


@pytest.mark.parametrize("is_beneath", [False, True])
async def test_what_changes_while_updates_are_held_back_is_painted_afterwards(
    is_beneath: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = Label()
    async with app.run_test() as pilot:
        screen, painted = app.screen, asyncio.Event()
        if is_beneath:
            await app.push_screen(ModalScreen[None]())
        await pilot.pause()
        with app.batch_update():
            screen.query_one("#words").refresh()
            await wait_for_idle(0)
            screen._on_timer_update()
            monkeypatch.setattr(app, "_display", lambda *shown: painted.set())
        await asyncio.wait_for(painted.wait(), 5)


async def test_what_changes_beneath_two_screens_shines_through_both(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = Label()
    async with app.run_test() as pilot:
        words, painted = app.query_one("#words", Static), asyncio.Event()
        for _ in range(2):
            await app.push_screen(ModalScreen[None]())
        await pilot.pause()
        assert "some words" in str(take_picture(app)[0])
        monkeypatch.setattr(app, "_display", lambda *shown: painted.set())
        words.update("more", layout=False)
        await asyncio.wait_for(painted.wait(), 5)
        assert "more" in str(take_picture(app)[0])


@pytest.mark.parametrize("kind", [Input, TextArea])
async def test_keys_that_arrive_together_keep_their_order(
    kind: type[Input] | type[TextArea],
) -> None:
    class Field(App[None]):
        def compose(self) -> ComposeResult:
            yield kind()

    async with Field().run_test() as pilot:
        field = pilot.app.query_one(kind)
        for key in ("t", "h", "e", "m", "e", "backspace", "backspace", "left", "b", "end", "n"):
            character = key if len(key) == 1 else None
            pilot.app.post_message(events.Key(key, character))
        for _ in range(5):
            await pilot.pause()
        assert (field.value if isinstance(field, Input) else field.text) == "thben"
