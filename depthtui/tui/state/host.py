"""What the explorer's state needs of the app."""

from __future__ import annotations

from typing import Any, Protocol

from depthtui.data.run import Prompt
from depthtui.tui.state.engine_connection import EngineConnection
from depthtui.tui.state.phase import CodeQuestion
from depthtui.tui.state.toast import Toast


class Host(Protocol):
    """The explorer's interface to the app; the tests bring a silent one."""

    def start_engine(self) -> EngineConnection:
        """Create an engine that posts its messages to the app.

        Raises:
            OSError: it cannot be started.
        """

    def first_prompt(self) -> Prompt:
        """The prompt that runs once a model is loaded and nothing was chosen yet."""

    def show_toast(self, toast: Toast) -> None:
        """Show a toast."""

    def save_session(self) -> bool:
        """Write the session into its file; False where it cannot be written."""

    def ask_for_trust(self, question: CodeQuestion) -> None:
        """Ask whether a model's own Python code may run; `Explorer.trust` is called for yes."""

    def save_settings(self, changes: dict[str, Any]) -> None:
        """Write changed settings to the user's file."""
