"""Guards against what Textual lets through; `install` puts each in the place of what it guards.

Textual has no other way in than its own methods. Every guard names the place or the upstream
issue that it is for: when that is mended, the guard can go.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from textual import dom, events
from textual._styles_cache import StylesCache
from textual._widget_navigation import Direction
from textual.app import App
from textual.await_complete import AwaitComplete
from textual.color import Color
from textual.command import CommandPalette
from textual.dom import DOMNode
from textual.geometry import Offset, Region
from textual.message import Message
from textual.message_pump import MessagePump
from textual.messages import CloseMessages, InvokeLater, Prune
from textual.screen import Screen
from textual.style import Style
from textual.widget import Widget
from textual.widgets import Input, OptionList, TextArea

_LAST_MESSAGES = (
    CloseMessages,
    InvokeLater,
    events.Callback,
    events.Key,
    events.ScreenSuspend,
    events.Unmount,
)
"""What a widget that is being removed still takes: others wait for it, or it goes on to the app."""

_action_command_palette = App.action_command_palette
_end_batch = App._end_batch
_dispatch_message = MessagePump._dispatch_message
_compositor_refresh = Screen._compositor_refresh
_dismiss = Screen.dismiss
_on_resize = Screen._on_resize
_get_widget_and_offset_at = Screen.get_widget_and_offset_at
_move_page = OptionList._move_page
_on_click = OptionList._on_click
_type_in_input = Input._on_key
_type_in_area = TextArea._on_key
_refresh = Widget.refresh
_watch = dom._watch  # type: ignore[attr-defined]


async def dispatch_message(self: MessagePump, message: Message) -> None:
    """Let an error cost its message alone.

    `MessagePump._process_messages_loop` leaves its loop at an exception, and then neither the
    widget nor the app hears anything any more. Whether the app goes on is for its
    `_handle_exception` to say.
    """
    if _is_over(self, message):
        return
    try:
        await _dispatch_message(self, message)
    except Exception as error:
        self.app._handle_exception(error)


def _is_over(pump: MessagePump, message: Message) -> bool:
    """Whether a message is for something that is being removed and would not find its widgets.

    A screen that is left before it was composed gets no children (`Widget.mount` returns where it
    is `_pruning`) and is mounted all the same; its workers run until its children are gone.
    Textual issue 4258. `Widget.mount_all` returns as early once the app exits.
    """
    if not (isinstance(pump, Widget) and (pump._pruning or pump.app._exit)):
        return False
    if isinstance(message, Prune):
        pump.workers.cancel_node(pump)
        return False
    return not isinstance(message, _LAST_MESSAGES)


def dismiss(self: Screen[Any], result: Any = None) -> AwaitComplete:
    """Dismiss a screen once, and only itself.

    `Screen.dismiss` pops whatever screen is on top, though it be another one: two quick presses of
    enter close a dialog and the screen beneath it. Textual issue 2575.
    """
    return _dismiss(self, result) if self.is_active else AwaitComplete()


async def on_resize(self: Screen[Any], event: events.Resize) -> None:
    """Take the size that the terminal has, never one that it had.

    `Screen._on_resize` lays the screen out, and `Screen._refresh_layout` sends whatever has another
    size by that a `Resize`, the screen as well: an old size and a new one that are both on their
    way follow each other without end, and no key is heard.
    """
    if event.size == self.app.size:
        await _on_resize(self, event)


def get_widget_and_offset_at(
    self: Screen[Any], x: int, y: int
) -> tuple[Widget | None, Offset | None]:
    """What is under the mouse, unless it has been removed since it was drawn.

    `Screen._forward_event` asks the widget's parent for its region. Textual issue 6643.
    """
    widget, offset = _get_widget_and_offset_at(self, x, y)
    return (widget, offset) if widget is not None and widget.is_attached else (None, None)


def move_page(self: OptionList, direction: Direction) -> None:
    """Turn the page of a list that has been laid out.

    `OptionList._move_page` looks up the line of the highlighted option; a list that is hidden, as
    that of the command palette is at first, has options and no lines.
    """
    if self._lines:
        _move_page(self, direction)


async def on_click(self: OptionList, event: events.Click) -> None:
    """Choose an option that is still there.

    `OptionList._on_click` takes the number of the option that was drawn under the mouse; since
    then the list may have become shorter.
    """
    if event.style.meta.get("option", -1) < len(self._options):
        await _on_click(self, event)


async def type_in_input(self: Input, event: events.Key) -> None:
    """Take keys in the order in which they were pressed."""
    if not await _edits(self, event):
        await _type_in_input(self, event)


async def type_in_area(self: TextArea, event: events.Key) -> None:
    """Take keys in the order in which they were pressed."""
    if not await _edits(self, event):
        await _type_in_area(self, event)


async def _edits(field: Input | TextArea, event: events.Key) -> bool:
    """Whether a key is bound by a text field, such as backspace; what it does is done at once.

    `Input._on_key` inserts what is printable, and all else goes up to `App._on_key`, one message
    queue after another, and comes back as an action: keys that arrive together, as over a slow
    line, overtake each other.
    """
    for binding in field._bindings.key_to_bindings.get(event.key, ()):
        if not binding.priority and await field.app.run_action(binding.action, field):
            event.stop()
            event.prevent_default()
            return True
    return False


def refresh(self: Widget, *regions: Region, layout: bool = False, **wanted: bool) -> Widget:
    """Lay a widget out afresh though it waits to be laid out already.

    `Widget._get_box_model` keeps sizes by `_layout_updates`, and `Widget.refresh` counts one only
    where none is waiting: what is laid out between two changes keeps the size of the first.
    """
    if layout and self._layout_required:
        self._layout_updates += 1
    return _refresh(self, *regions, layout=layout, **wanted)


def watch(
    node: DOMNode, obj: DOMNode, attribute_name: str, callback: Any, *, init: bool = True
) -> None:
    """Watch an attribute, and forget those that watched it and are gone.

    `Reactive._check_watchers` forgets them when the attribute changes; what the keys of a footer
    and text areas watch never does, and all of them would be kept. Textual issue 6666.
    """
    watchers = getattr(obj, "__watchers", {}).get(attribute_name, [])
    watchers[:] = [watcher for watcher in watchers if not watcher[0]._closing]
    _watch(node, obj, attribute_name, callback, init=init)


def action_command_palette(self: App[Any]) -> None:
    """Open the palette once the one before it has gone.

    `App.action_command_palette` asks whether the palette is on top; one that is on its way out, or
    beneath another screen, has the same id, and no two may.
    """
    palettes = [node for node in self._nodes if isinstance(node, CommandPalette)]
    if any(palette not in self.screen_stack for palette in palettes):
        self.call_later(self.action_command_palette)
    elif not palettes:
        _action_command_palette(self)


def end_batch(self: App[Any]) -> None:
    """Let every screen in sight paint what changed while updates were held back.

    `App._end_batch` wakes the app alone: a screen whose timer has passed in the meantime (the keys
    of a footer are composed anew in such a batch) sleeps until something else happens on it.
    """
    _end_batch(self)
    if not self._batch_count:
        for screen in self.screen_stack:
            screen.check_idle()


def compositor_refresh(self: Screen[Any]) -> None:
    """Paint a screen, and what shines through the screens between it and the one on top.

    `Screen._compositor_refresh` tells the one on top alone; those between keep the lines that they
    drew of what lies beneath them.
    """
    beneath, changed = self.app._background_screens, self._compositor._dirty_regions
    if self in beneath and changed:
        for between in beneath[beneath.index(self) + 1 :]:
            between._set_dirty(*changed)
    _compositor_refresh(self)


@lru_cache(maxsize=1024)
def _inner_and_outer(base_background: Color, background: Color) -> tuple[Style, Style]:
    return Style(base_background + background), Style(base_background)


def get_inner_outer(
    self: StylesCache, base_background: Color, background: Color
) -> tuple[Style, Style]:
    """The looks inside and outside of a border, and no hold on whose they are.

    `StylesCache.get_inner_outer` is a method that `lru_cache` remembers: the lines of a thousand
    widgets that are gone stayed in memory. Textual issue 6665.
    """
    return _inner_and_outer(base_background, background)


def install() -> None:
    """Put the guards in their places; again makes no difference."""
    MessagePump._dispatch_message = dispatch_message  # type: ignore[method-assign]
    Screen._compositor_refresh = compositor_refresh  # type: ignore[method-assign]
    Screen.dismiss = dismiss  # type: ignore[method-assign]
    Screen._on_resize = on_resize  # type: ignore[method-assign]
    Screen.get_widget_and_offset_at = get_widget_and_offset_at  # type: ignore[method-assign]
    OptionList._move_page = move_page  # type: ignore[method-assign]
    OptionList._on_click = on_click  # type: ignore[method-assign]
    Input._on_key = type_in_input  # type: ignore[method-assign]
    TextArea._on_key = type_in_area  # type: ignore[method-assign]
    Widget.refresh = refresh  # type: ignore[method-assign, assignment]
    App.action_command_palette = action_command_palette  # type: ignore[method-assign]
    App._end_batch = end_batch  # type: ignore[method-assign]
    StylesCache.get_inner_outer = get_inner_outer  # type: ignore[method-assign, assignment]
    dom._watch = watch  # type: ignore[attr-defined]
