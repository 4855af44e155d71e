"""Messages from other threads to the app."""

from __future__ import annotations

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
    """An event of the engine."""

    def __init__(self, engine: EngineConnection, event: Event) -> None:
        super().__init__(engine)
        self.event = event


class EngineDied(EngineMessage):
    """The engine process ended without being asked to."""

    def __init__(self, engine: EngineConnection, death: EngineDeath) -> None:
        super().__init__(engine)
        self.death = death


class HangUp(Message):
    """The terminal or the page is gone."""
