"""Messages of other threads to the app."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.message import Message

if TYPE_CHECKING:
    from depthtui.data.protocol import Event
    from depthtui.tui.state.engine import EngineDeath


class EngineEvent(Message):
    """The engine said something."""

    def __init__(self, event: Event) -> None:
        super().__init__()
        self.event = event


class EngineDied(Message):
    """The engine process ended without being asked to."""

    def __init__(self, death: EngineDeath) -> None:
        super().__init__()
        self.death = death


class HangUp(Message):
    """The terminal or the page is gone."""
