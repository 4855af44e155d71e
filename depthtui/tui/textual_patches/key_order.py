"""Keys that arrive together in a text field act in the order in which they were pressed.

Textual inserts a character in the field's own queue of messages, while a bound key, such as
backspace, goes up to the app from queue to queue and comes back as an action: keys overtake each
other, for example over a slow line (issue 6605). The field runs its own bound keys at once instead,
and before them those that its screen binds with priority, for which `App._check_bindings` waits.

Gives `ScrollView`, the base of `Input` and `TextArea`, an
`_on_key`, which Textual calls after the field's own.
"""

from __future__ import annotations

import textual.app
from textual import events
from textual.scroll_view import ScrollView


async def on_key(self: ScrollView, event: events.Key) -> None:
    """Run the action that a text field, or its screen with priority, binds to a key."""
    from textual.widgets import Input, TextArea

    if not isinstance(self, Input | TextArea):
        return
    if await textual.app.App._check_bindings(self.app, event.key, priority=True):
        event.stop()
        event.prevent_default()
        return
    for binding in self._bindings.key_to_bindings.get(event.key, ()):
        if not binding.priority and await self.app.run_action(binding.action, self):
            event.stop()
            event.prevent_default()
            return


def install() -> None:
    """Install the handler in text fields."""
    ScrollView._on_key = on_key  # type: ignore[method-assign, assignment]
