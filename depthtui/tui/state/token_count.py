"""How many tokens a prompt has, counted while it is typed."""

from __future__ import annotations

from collections.abc import Callable

from depthtui.data.protocol import CountTokens, TokensCounted
from depthtui.data.run import Prompt
from depthtui.tui.state.engine_life import EngineLife


class TokenCount:
    """Asks the engine one question at a time, and next the last question that came in between.

    Args:
        free_engine: the engine, where it can answer now.

    Attributes:
        last: the loaded model's last count, or None.
    """

    def __init__(self, free_engine: Callable[[], EngineLife | None]) -> None:
        self.last: TokensCounted | None = None
        self._free_engine = free_engine
        self._pending: CountTokens | None = None
        self._next: CountTokens | None = None

    def request(self, prompt: Prompt, chat_template: bool) -> None:
        """Request the number of tokens of a prompt; `last` will have it, if a model is loaded."""
        self._next = CountTokens(prompt, chat_template)
        self._send_next()

    def answered(self, counted: TokensCounted) -> None:
        """Handle a count of the engine."""
        self.last, self._pending = counted, None
        self._send_next()

    def drop_requests(self) -> None:
        """Forget the requests: the engine is another one."""
        self._pending = self._next = None

    def _send_next(self) -> None:
        engine = self._free_engine()
        if engine is None or self._pending is not None:
            return
        self._pending, self._next = self._next, None
        if self._pending is not None:
            engine.send(self._pending)
