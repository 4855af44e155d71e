"""What each patch is for, as a scene that goes well with the patch and not without it."""

from __future__ import annotations

import asyncio
import gc
import io
import os
import sys
import threading
import weakref
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, ClassVar, NamedTuple

import pytest
import textual.app
import textual.screen
from rich.segment import Segment
from rich.style import Style
from textual import _wrap, events
from textual._time import get_time
from textual._wait import wait_for_idle
from textual._xterm_parser import XTermParser
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.drivers.linux_driver import LinuxDriver
from textual.drivers.web_driver import WebDriver
from textual.geometry import Offset, Region, Size
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import Input, Static

from depthtui.tui.messages import HangUp
from depthtui.tui.panes.safe_input import SafeInput
from depthtui.tui.textual_patches import input_parser, pace, web_driver
from depthtui.tui.textual_patches.app import App
from depthtui.tui.textual_patches.driver import TolerantDriver
from depthtui.tui.textual_patches.input_parser import TolerantParser
from depthtui.tui.textual_patches.screens import ModalScreen, Screen
from depthtui.tui.textual_patches.web_driver import PageDriver
from tests.pictures.picture import take_picture


class Kit(NamedTuple):
    """The classes that a scene is made of: the explorer's, or Textual's own."""

    app: Any
    screen: Any
    modal: Any
    parser: Any
    driver: Any
    page_driver: Any


OURS = Kit(
    App,
    Screen,
    ModalScreen,
    TolerantParser,
    TolerantDriver,
    PageDriver,
)
TEXTUALS = Kit(
    textual.app.App,
    textual.screen.Screen,
    textual.screen.ModalScreen,
    XTermParser,
    LinuxDriver,
    WebDriver,
)

Scene = Callable[[Kit, pytest.MonkeyPatch], Awaitable[bool]]
"""Returns whether all went well."""

SCENES: list[tuple[str, Scene]] = []
"""The functions of Textual that are patched, each with a scene."""


def scene(*functions: str) -> Callable[[Scene], Scene]:
    """A scene that needs the patches of these functions of Textual, each by itself."""

    def add(play: Scene) -> Scene:
        SCENES.extend((function, play) for function in functions)
        return play

    return add


async def soon(condition: Callable[[], object]) -> bool:
    """Whether a condition holds before long."""
    for _ in range(80):
        if condition():
            return True
        await asyncio.sleep(0.005)
    return False


def collecting(kit: Kit, *parts: Widget, css: str = "", screen: Any = None) -> Any:
    """An app of these widgets that collects errors and goes on."""

    class Collecting(kit.app):  # type: ignore[misc, name-defined]
        CSS = css

        def __init__(self) -> None:
            super().__init__()
            self.errors: list[Exception] = []

        def get_default_screen(self) -> Any:
            return (screen or kit.screen)(id="_default")

        def compose(self) -> ComposeResult:
            yield from parts

        def _handle_exception(self, error: Exception) -> None:
            self.errors.append(error)

    return Collecting()


# Messages, watchers, layout ------------------------------------------------


class Planned(Message):
    """Its handler raises."""


class Frail(Static):
    def on_planned(self) -> None:
        raise RuntimeError("planned")


@scene("MessagePump._dispatch_message")
async def an_error_costs_one_message(kit: Kit, patch: pytest.MonkeyPatch) -> bool:
    frail = Frail()
    app = collecting(kit, frail)
    async with app.run_test():
        frail.post_message(Planned())
        frail.post_message(Planned())
        return await soon(lambda: len(app.errors) == 2)


async def _finds_its_child(kit: Kit, leave: Callable[[Any], object]) -> bool:
    """Whether no error comes of a screen that is left before it is composed."""

    class Left(kit.screen):  # type: ignore[misc, name-defined]
        def compose(self) -> ComposeResult:
            with Vertical():
                yield Static(id="child")

        def on_mount(self) -> None:
            self.query_one("#child")

    app = collecting(kit)
    async with app.run_test():
        left = Left()
        app.push_screen(left)
        leave(app)
        await soon(lambda: app.errors or left._closed)
    return not app.errors


@scene("MessagePump._dispatch_message")
async def a_screen_is_left_before_it_is_composed(kit: Kit, patch: pytest.MonkeyPatch) -> bool:
    return await _finds_its_child(kit, lambda app: app.pop_screen())


@scene("MessagePump._dispatch_message")
async def the_app_ends_before_a_screen_is_composed(kit: Kit, patch: pytest.MonkeyPatch) -> bool:
    return await _finds_its_child(kit, lambda app: app.exit())


@scene("MessagePump.set_timer")
async def a_timer_that_is_over_before_it_begins_calls(kit: Kit, patch: pytest.MonkeyPatch) -> bool:
    called: list[bool] = []
    looks = 0

    def clock() -> float:
        nonlocal looks
        looks += 1
        # A loop that waits for nothing would end at no other place.
        assert looks < 10_000
        return get_time()

    patch.setattr("textual._time.get_time", clock)
    app = collecting(kit)
    async with app.run_test():
        app.set_timer(-1.0, lambda: called.append(True))
        return await soon(lambda: called)


@scene("Widget.refresh")
async def words_change_while_they_are_laid_out(kit: Kit, patch: pytest.MonkeyPatch) -> bool:
    words = Static("some words", id="words")
    app = collecting(kit, words, css="#words { width: auto; }")
    async with app.run_test() as pilot:
        words.update("")
        app.screen._refresh_layout()
        words.update("other words")
        words._check_refresh()
        await pilot.pause()
        app.screen._refresh_layout()
        return words.region.width == len("other words")


# Text fields -----------------------------------------------------------------


@scene("_wrap.cell_len")
async def a_long_word_is_let_go(kit: Kit, patch: pytest.MonkeyPatch) -> bool:
    word = "depth" * 4000
    before = sys.getrefcount(word)
    _wrap.compute_wrap_offsets(word, 80, 4)
    return sys.getrefcount(word) == before


@scene("App._check_bindings")
async def a_key_with_priority_arrives_with_what_was_typed(
    kit: Kit, patch: pytest.MonkeyPatch
) -> bool:
    taken = []

    class Form(kit.screen):  # type: ignore[misc, name-defined]
        BINDINGS: ClassVar[list[BindingType]] = [Binding("f5", "take", priority=True)]

        def compose(self) -> ComposeResult:
            yield SafeInput()

        def action_take(self) -> None:
            taken.append(self.query_one(Input).value)

    app = collecting(kit, screen=lambda id: Form(id=id))
    async with app.run_test() as pilot:
        await pilot.pause()
        for key in ("a", "b", "f5"):
            app.post_message(events.Key(key, key if len(key) == 1 else None))
        await soon(lambda: taken)
        return taken == ["ab"]


# Screens ---------------------------------------------------------------------


@scene("Screen.dismiss")
async def a_dialog_is_dismissed_twice(kit: Kit, patch: pytest.MonkeyPatch) -> bool:
    app = collecting(kit)
    async with app.run_test():
        beneath, dialog = kit.screen(), kit.modal()
        await app.push_screen(beneath)
        await app.push_screen(dialog)
        with suppress(Exception):
            dialog.dismiss()
            dialog.dismiss()
        await soon(lambda: not dialog.is_attached)
        return app.screen is beneath


@scene("Screen._compose")
async def a_screen_is_styled_for_its_width_at_once(kit: Kit, patch: pytest.MonkeyPatch) -> bool:
    class Narrow(kit.screen):  # type: ignore[misc, name-defined]
        HORIZONTAL_BREAKPOINTS: ClassVar = [(0, "-narrow"), (100, "-medium")]
        mounted_with: frozenset[str] = frozenset()

        def compose(self) -> ComposeResult:
            yield Static()

        def on_mount(self) -> None:
            self.mounted_with = self.classes

    app = collecting(kit)
    async with app.run_test(size=(80, 24)):
        narrow = Narrow()
        await app.push_screen(narrow)
        return narrow.mounted_with == {"-narrow"}


@scene("Screen._on_screen_resume")
async def a_screen_is_styled_once_when_it_opens(kit: Kit, patch: pytest.MonkeyPatch) -> bool:
    styled: list[Widget] = []
    app = collecting(kit)
    async with app.run_test() as pilot:
        opened = kit.screen()
        patch.setattr(app, "update_styles", lambda node, animate=True: styled.append(node))
        await app.push_screen(opened)
        await pilot.pause()
        return opened.is_current and opened not in styled


@scene("Screen._on_resize")
async def an_old_size_and_a_new_one_meet(kit: Kit, patch: pytest.MonkeyPatch) -> bool:
    class Counting(kit.screen):  # type: ignore[misc, name-defined]
        """Does something about each size, as screens of panes do."""

        sizes = 0

        def on_resize(self) -> None:
            self.sizes += 1
            if self.sizes < 50:
                self.call_after_refresh(self.refresh)
            else:
                self.app.exit()

    app = collecting(kit)
    async with app.run_test(size=(120, 40)) as pilot:
        counting = Counting()
        await app.push_screen(counting)
        await pilot.pause()
        for size in (Size(90, 30), Size(120, 40)):
            counting.post_message(events.Resize(size, size))
            counting.call_after_refresh(counting.refresh)
        with suppress(Exception):
            await pilot.pause()
        return counting.sizes < 20 and counting.size == (120, 40)


@scene("Screen.get_widget_and_offset_at")
async def the_mouse_presses_a_widget_that_is_gone(kit: Kit, patch: pytest.MonkeyPatch) -> bool:
    app = collecting(kit)
    async with app.run_test() as pilot:
        gone = Static("gone")
        compositor = app.screen._compositor
        patch.setattr(compositor, "get_widget_and_offset_at", lambda x, y: (gone, Offset(0, 0)))
        await pilot.mouse_down(offset=(1, 1))
        await pilot.mouse_up(offset=(1, 1))
        return not app.errors


@scene("Screen._compositor_refresh")
async def a_change_shines_through_two_screens(kit: Kit, patch: pytest.MonkeyPatch) -> bool:
    words = Static("some words")
    app = collecting(kit, words)
    async with app.run_test() as pilot:
        for _ in range(2):
            await app.push_screen(kit.modal())
        await pilot.pause()
        assert "some words" in str(take_picture(app)[0])
        words.update("more", layout=False)
        return await soon(lambda: "more" in str(take_picture(app)[0]))


@scene("Screen.render")
async def the_lowest_of_three_dialogs_is_drawn_anew(kit: Kit, patch: pytest.MonkeyPatch) -> bool:
    app = collecting(kit, Static("some words"))
    async with app.run_test():
        for _ in range(3):
            await app.push_screen(kit.modal())
        _, lowest, *above = app.screen_stack
        for each in app.screen_stack:
            each.refresh()
        before = take_picture(app)
        lowest.refresh()
        for each in above:
            # As a screen that shows a change of another, beneath it.
            each._set_dirty(each.size.region)
        return "some words" in str(before[0]) and take_picture(app) == before


@scene("StylesCache.get_inner_outer")
async def the_lines_of_a_screen_go_with_it(kit: Kit, patch: pytest.MonkeyPatch) -> bool:
    class Bordered(kit.modal):  # type: ignore[misc, name-defined]
        CSS = "Static { border: round red; }"

        def compose(self) -> ComposeResult:
            yield Static("some words")

    app = collecting(kit)
    async with app.run_test() as pilot:
        await app.push_screen(Bordered())
        await pilot.pause()
        cache = weakref.ref(app.screen.query_one(Static)._styles_cache)
        await app.pop_screen()
        for _ in range(3):
            await pilot.pause()
            gc.collect()
        return cache() is None


# The app ---------------------------------------------------------------------


@scene("App._end_batch")
async def a_screen_beneath_changes_in_a_batch(kit: Kit, patch: pytest.MonkeyPatch) -> bool:
    words, painted = Static("some words"), asyncio.Event()
    app = collecting(kit, words)
    async with app.run_test() as pilot:
        screen = app.screen
        await app.push_screen(kit.modal())
        await pilot.pause()
        with app.batch_update():
            words.refresh()
            await wait_for_idle(0)
            screen._on_timer_update()
            patch.setattr(app, "_display", lambda *shown: painted.set())
        # Nothing else may wake the screen.
        for _ in range(20):
            await asyncio.sleep(0.01)
        return painted.is_set()


@scene("App._handle_exception")
async def the_app_decides_what_an_error_costs(kit: Kit, patch: pytest.MonkeyPatch) -> bool:
    class Calm(kit.app):  # type: ignore[misc, name-defined]
        errors = 0

        def compose(self) -> ComposeResult:
            yield Frail()

        def handle_error(self, error: Exception) -> None:
            self.errors += 1

    app = Calm()
    async with app.run_test() as pilot:
        app.query_one(Frail).post_message(Planned())
        await soon(lambda: app.errors)
        await pilot.pause()
        return app.errors == 1 and app.is_running


@scene("App.panic")
async def a_panic_is_an_error(kit: Kit, patch: pytest.MonkeyPatch) -> bool:
    app = kit.app()
    with suppress(RuntimeError):
        async with app.run_test():
            app.panic("the input thread ended")
    return app._exception is not None


# The terminal ----------------------------------------------------------------


class Block(Widget):
    letter = "a"

    def render_line(self, y: int) -> Strip:
        return Strip([Segment(self.letter * self.size.width, Style(color="red"))])


class Sent(NamedTuple):
    app: Any
    block: Block
    frames: list[str]


def _sending(kit: Kit, patch: pytest.MonkeyPatch) -> Sent:
    """An app, and the frames that it would send to a terminal."""
    block, frames = Block(), list[str]()

    def display(app: Any, screen: Any, renderable: Any) -> None:
        if renderable is not None:
            frames.append(renderable.render_segments(app.console))

    patch.setattr(textual.app.App, "_display", display)

    class Sending(kit.app):  # type: ignore[misc, name-defined]
        def get_default_screen(self) -> Any:
            return kit.screen(id="_default")

        def compose(self) -> ComposeResult:
            yield block

    return Sent(Sending(), block, frames)


@scene("Compositor.render_partial_update")
async def changed_cells_are_sent_alone(kit: Kit, patch: pytest.MonkeyPatch) -> bool:
    app, block, frames = _sending(kit, patch)
    async with app.run_test(size=(40, 6)) as pilot:
        await pilot.pause()
        frames.clear()
        block.letter = "b"
        block.refresh(Region(30, 2, 3, 2))
        await soon(lambda: frames)
        return "".join(frames).count("b") == 6


@scene("App._display")
async def a_screen_that_is_shown_is_not_sent_again(kit: Kit, patch: pytest.MonkeyPatch) -> bool:
    app, _, frames = _sending(kit, patch)
    async with app.run_test(size=(40, 6)) as pilot:
        await pilot.pause()
        frames.clear()
        app._display(app.screen, app.screen._compositor.render_full_update())
        return frames == [""]


@scene("Compositor.update_widgets")
async def a_widget_prepares_what_it_draws(kit: Kit, patch: pytest.MonkeyPatch) -> bool:
    ready: list[bool] = []

    class Prepared(Block):
        def get_ready(self) -> None:
            ready.append(True)

    prepared = Prepared()
    async with collecting(kit, prepared).run_test():
        prepared.refresh()
        return await soon(lambda: ready)


# What a terminal sends -------------------------------------------------------

_NO_KEY = "\x1b[1114112u"


@scene("XTermParser.feed")
async def a_paste_is_text(kit: Kit, patch: pytest.MonkeyPatch) -> bool:
    (paste,) = kit.parser().feed("\x1b[200~a\x1bq\x1b[201~")
    return bool(paste.text == "a\x1bq")


@scene("XTermParser.tick")
async def the_end_of_a_paste_is_lost(kit: Kit, patch: pytest.MonkeyPatch) -> bool:
    patch.setattr(input_parser, "PASTE_PATIENCE", -1.0)
    parser = kit.parser()
    messages = [*parser.feed("\x1b[200~words"), *parser.tick(), *parser.feed("q")]
    return [getattr(message, "key", "paste") for message in messages] == ["paste", "q"]


@scene("XTermParser._sequence_to_key_events")
async def a_key_is_beyond_unicode(kit: Kit, patch: pytest.MonkeyPatch) -> bool:
    return [event.key for event in kit.parser().feed(f"a{_NO_KEY}b")] == ["a", "b"]


@scene("XTermParser.parse_mouse_code")
async def a_mouse_is_in_a_window_of_no_size(kit: Kit, patch: pytest.MonkeyPatch) -> bool:
    _, key = kit.parser().feed("\x1b[48;40;80;0;0t\x1b[<0;3;3Mb")
    return bool(key.key == "b")


def _read(kit: Kit, data: bytes) -> list[Message | None]:
    """The messages of a driver whose terminal goes after some bytes; None where it reads on."""
    read_end, write_end = os.pipe()
    driver = kit.driver.__new__(kit.driver)
    messages: list[Message | None] = []
    driver.fileno, driver._debug, driver.exit_event = read_end, False, threading.Event()
    driver.process_message = driver.send_message = messages.append

    def run() -> None:
        with suppress(Exception):
            driver.run_input_thread()

    thread = threading.Thread(target=run)
    thread.start()
    os.write(write_end, data)
    os.close(write_end)
    thread.join(1)
    if thread.is_alive():
        messages.append(None)
    driver.exit_event.set()
    thread.join()
    os.close(read_end)
    return messages


@scene("LinuxDriver.run_input_thread")
async def bytes_are_no_text(kit: Kit, patch: pytest.MonkeyPatch) -> bool:
    return any(isinstance(each, events.Key) and each.key == "a" for each in _read(kit, b"\xffa"))


@scene("LinuxDriver.run_input_thread")
async def the_terminal_is_gone(kit: Kit, patch: pytest.MonkeyPatch) -> bool:
    return isinstance(_read(kit, f"{_NO_KEY}a".encode())[-1], HangUp)


@scene("Driver.process_message")
async def keys_come_faster_than_a_form_takes_them(kit: Kit, patch: pytest.MonkeyPatch) -> bool:
    patch.setattr(pace, "MOST_AHEAD", 8)
    field, takes = Input(), asyncio.Event()

    class Form(kit.screen):  # type: ignore[misc, name-defined]
        def compose(self) -> ComposeResult:
            yield field

        async def on_input_changed(self) -> None:
            await takes.wait()

    app = collecting(kit, screen=lambda id: Form(id=id))
    async with app.run_test():
        driver = kit.driver.__new__(kit.driver)
        driver._app, driver._loop, driver.exit_event = app, app._loop, threading.Event()
        driver.cursor_origin = None

        def send() -> None:
            for _ in range(50):
                driver.process_message(events.Key("j", "j"))

        thread = threading.Thread(target=send)
        thread.start()
        waits = not await soon(lambda: not thread.is_alive())
        takes.set()
        await asyncio.to_thread(thread.join)
        return waits and await soon(lambda: field.value == 50 * "j")


@scene("LinuxDriver._sigcont_application")
async def a_process_goes_on_after_a_stop(kit: Kit, patch: pytest.MonkeyPatch) -> bool:
    driver = kit.driver.__new__(kit.driver)
    started: list[bool] = []
    driver._auto_restart, driver._must_signal_resume = True, False
    driver.resume_application_mode = lambda: started.append(True)
    driver.send_message = lambda message: None
    driver._sigcont_application()
    return not started


# A page ----------------------------------------------------------------------


def _read_page(kit: Kit, patch: pytest.MonkeyPatch, data: bytes) -> list[Message]:
    """The messages of a page's driver that reads bytes to their end."""
    driver = kit.page_driver.__new__(kit.page_driver)
    messages: list[Message] = []
    reader = io.BytesIO(data)
    driver._debug, driver.exit_event, driver._input_reader = False, threading.Event(), reader
    driver.process_message = driver.send_message = messages.append
    patch.setattr(web_driver, "end_for_certain", lambda: None)
    driver.run_input_thread()
    return messages


@scene("web_driver.XTermParser")
async def a_page_sends_no_key(kit: Kit, patch: pytest.MonkeyPatch) -> bool:
    keys = f"{_NO_KEY}a".encode()
    messages = _read_page(kit, patch, b"D" + len(keys).to_bytes(4, "big") + keys)
    return any(isinstance(message, events.Key) and message.key == "a" for message in messages)


@scene("WebDriver.run_input_thread")
async def a_page_is_gone(kit: Kit, patch: pytest.MonkeyPatch) -> bool:
    return any(isinstance(message, HangUp) for message in _read_page(kit, patch, b""))


@scene("WebDriver._write")
async def a_page_takes_a_part(kit: Kit, patch: pytest.MonkeyPatch) -> bool:
    taken: list[bytes] = []
    with open(os.devnull, "w") as output:
        original = os.write

        def write(file: int, data: bytes) -> int:
            if file != output.fileno():
                return original(file, data)
            taken.append(bytes(data[:3]))
            return len(taken[-1])

        patch.setattr(os, "write", write)
        patch.setattr(sys, "__stdout__", output)
        patch.setattr("textual.drivers.web_driver.InputReader", lambda: None)
        driver = kit.page_driver(textual.app.App())
        driver._write(b"a whole frame")
    return b"".join(taken) == b"a whole frame"
