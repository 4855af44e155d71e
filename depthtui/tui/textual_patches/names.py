"""Names that Textual keeps to itself, as functions for the rest of the explorer.

For Textual 8.2.8; replaces nothing.
"""

from __future__ import annotations

from textual.geometry import Region
from textual.keys import _character_to_key
from textual.message import Message
from textual.message_pump import MessagePump
from textual.widget import Widget
from textual.widgets._footer import FooterKey


def key_of(character: str) -> str:
    """The name of the key that types a character, such as `question_mark`."""
    return _character_to_key(character)


def footer_words(widget: Widget) -> str:
    """A key of a footer and its words; empty for another widget."""
    if isinstance(widget, FooterKey):
        return f"{widget.key_display} {widget.description}"
    return ""


def sender_of(message: Message) -> MessagePump | None:
    """The widget that posted a message."""
    return message._sender


def handle_error(widget: Widget, error: Exception) -> None:
    """Give the app an error that a widget has caught."""
    widget.app._handle_exception(error)


def repaint(widget: Widget, *regions: Region) -> None:
    """Have regions of a widget painted with the next frame.

    `Widget.refresh` does so by three messages, for which each widget wakes by itself.
    """
    screen = widget.screen
    widget._set_dirty(*regions)
    if widget.display and screen in screen._compositor:
        screen._dirty_widgets.add(widget)
        screen.check_idle()


def draw_with_this_frame(widget: Widget, region: Region) -> None:
    """Have a region of a widget drawn with the frame that is about to be drawn."""
    widget._set_dirty(region)
