"""Private names of Textual, as functions for the rest of the explorer.

Replaces nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from textual._context import visible_screen_stack
from textual.binding import Binding, BindingsMap
from textual.geometry import Region
from textual.keys import _character_to_key
from textual.message import Message
from textual.message_pump import MessagePump
from textual.screen import Screen
from textual.strip import Strip
from textual.widget import Widget

from depthtui.tui.textual_patches.app import App
from depthtui.tui.textual_patches.versions import ARE_ON


def key_of(character: str) -> str:
    """The name of the key that types a character, such as `question_mark`."""
    return _character_to_key(character)


def bind(app: App[Any], bindings: Iterable[Binding]) -> None:
    """Bind keys of the app that its class does not have; `App.bind` gives them no id."""
    app._bindings = BindingsMap.merge([app._bindings, BindingsMap(bindings)])


def sender_of(message: Message) -> MessagePump | None:
    """The widget that posted a message."""
    return message._sender


def send(app: App[Any], message: Message) -> None:
    """Give a message to the app as its terminal does."""
    assert app._driver is not None
    app._driver.process_message(message)


def shown_lines(screen: Screen[Any]) -> list[Strip]:
    """The lines of a screen, with what shines through from below."""
    visible_screen_stack.set(screen.app._background_screens)
    return screen._compositor.render_strips()


def handle_error(widget: Widget, error: Exception) -> None:
    """Pass an error that a widget has caught to the app."""
    app = widget.app
    (app.handle_error if isinstance(app, App) else app._handle_exception)(error)


def repaint(widget: Widget, *regions: Region) -> None:
    """Paint regions of a widget with the next frame.

    `Widget.refresh` sends three messages, each of which wakes the widget.
    """
    if not ARE_ON:
        Widget.refresh(widget, *regions)
        return
    screen = widget.screen
    widget._set_dirty(*regions)
    if widget.display and screen in screen._compositor:
        screen._dirty_widgets.add(widget)
        screen.check_idle()


def draw_with_this_frame(widget: Widget, region: Region) -> None:
    """Draw a region of a widget with the frame that is about to be drawn."""
    widget._set_dirty(region)
