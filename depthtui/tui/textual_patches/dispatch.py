"""An error costs one message, and a widget that is being removed handles no more of them.

- Textual ends the loop of a widget's messages at the first exception (not reported). The app
  continues without that widget, or not at all if the loop is the app's own. In the explorer,
  `App.handle_error` decides.
- Textual mounts a screen that is left before it is composed, without its children: its handlers
  find no widgets (issue 4258). `Widget.mount` returns early for a node that is `_pruning`, and
  `Widget.mount_all` once the app exits. The screen's workers run until its children are gone.

Replaces `MessagePump._dispatch_message` for all of Textual.
"""

from __future__ import annotations

from textual import events
from textual.message import Message
from textual.message_pump import MessagePump
from textual.messages import CloseMessages, InvokeLater, Prune
from textual.widget import Widget

_LAST_MESSAGES = (
    CloseMessages,
    InvokeLater,
    events.Callback,
    events.Key,
    events.ScreenSuspend,
    events.Unmount,
)
"""Messages that a widget still handles while it is being removed: another widget waits for them, or
they go on to the app."""

textuals = MessagePump._dispatch_message


async def dispatch_message(self: MessagePump, message: Message) -> None:
    """Handle a message so that an error affects no other message."""
    if _is_over(self, message):
        return
    try:
        await textuals(self, message)
    except Exception as error:
        self.app._handle_exception(error)


def _is_over(pump: MessagePump, message: Message) -> bool:
    """Whether a message is for a widget that is being removed and may lack its children."""
    if not (isinstance(pump, Widget) and (pump._pruning or pump.app._exit)):
        return False
    if isinstance(message, Prune):
        pump.workers.cancel_node(pump)
        return False
    return not isinstance(message, _LAST_MESSAGES)


def install() -> None:
    """Replace Textual's function."""
    MessagePump._dispatch_message = dispatch_message  # type: ignore[method-assign]
