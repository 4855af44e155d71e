"""Messages from other threads to the app."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from textual.message import Message

if TYPE_CHECKING:
    from depthtui.data.protocol import Event
    from depthtui.tui.state.engine_connection import EngineConnection, EngineDeath


class EngineMessage(Message):
    """A message of an engine, valid until the engine is killed."""

    def __init__(self, engine: EngineConnection) -> None:
        super().__init__()
        self.engine = engine


class EngineEvent(EngineMessage):
    """An event of the engine.

    Args:
        engine: the engine.
        event: the event.
        was_handled: called once this event and those before it are handled.
    """

    def __init__(
        self, engine: EngineConnection, event: Event, was_handled: Callable[[], None] | None = None
    ) -> None:
        super().__init__(engine)
        self.event = event
        self.was_handled = was_handled or (lambda: None)

    def can_replace(self, message: Message) -> bool:
        """Whether the next message makes this one superfluous; Textual then drops this one."""
        from depthtui.data.protocol import is_superseded

        return (
            isinstance(message, EngineEvent)
            and message.engine is self.engine
            and is_superseded(self.event, message.event)
        )


class EngineDied(EngineMessage):
    """The engine process ended without being asked to."""

    def __init__(self, engine: EngineConnection, death: EngineDeath) -> None:
        super().__init__(engine)
        self.death = death


class OwnCommandEnded(Message):
    """The user's own command, of which one runs at a time, has ended."""


class HangUp(Message):
    """The terminal or the page is gone."""


class TerminalShade(Message):
    """The terminal's answer: whether its background is dark."""

    def __init__(self, is_dark: bool) -> None:
        super().__init__()
        self.is_dark = is_dark


class PasteLimited(Message):
    """A field has left something out of a paste; `words` name it."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self.words = words
