"""An explorer that is shown on a page, and ends with the page.

Its standard input and output carry packets: a letter, the size of the payload in four bytes, the
payload. `D` is for the bytes of a terminal, `M` for a message in JSON (Textual's `WebDriver`).
"""

from __future__ import annotations

import asyncio
import json
import os
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from depthtui.files import parse_json

LARGEST_MESSAGE = 8 << 20
"""Most bytes of a message of a page; a paste is the largest."""

_COLUMNS, _LINES = (2, 80, 800), (2, 24, 250)
"""Columns and lines of a page's terminal: the fewest, the default, the most."""

_PATIENCE = 4.0
"""Seconds that an explorer may take to end by itself."""

_INPUT_PATIENCE = 60.0
"""Seconds within which a working explorer reads its input."""

_PRELUDE = b"__GANGLION__\n"
"""The line before the first packet."""


class WebExplorer:
    """A running explorer.

    Args:
        process: its process, with pipes for its standard input and output.
    """

    def __init__(self, process: Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process, self._input, self._output = process, process.stdin, process.stdout

    @classmethod
    @asynccontextmanager
    async def started(
        cls, command: Sequence[str], size: tuple[int, int]
    ) -> AsyncIterator[WebExplorer]:
        """An explorer that runs within the block, after which it has a few seconds to end.

        Args:
            command: the command that starts it.
            size: columns and lines of its terminal.
        """
        width, height = size
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=PIPE,
            stdout=PIPE,
            # Ctrl-c in the server's terminal is for the server.
            start_new_session=True,
            env=os.environ
            | {
                "TEXTUAL_DRIVER": "depthtui.tui.textual_patches.web_driver:PageDriver",
                "TEXTUAL_FPS": "60",
                "TEXTUAL_COLOR_SYSTEM": "truecolor",
                "COLUMNS": str(width),
                "ROWS": str(height),
            },
        )
        explorer = cls(process)
        try:
            yield explorer
        finally:
            await asyncio.shield(explorer._end())

    async def show_on(self, page: web.WebSocketResponse) -> None:
        """Draw on a page and read its input, until one of the two ends."""
        drawing = asyncio.create_task(self._draw_on(page))
        reading = asyncio.create_task(self._read_from(page))
        try:
            await asyncio.wait((drawing, reading), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (drawing, reading):
                task.cancel()
            results = await asyncio.gather(drawing, reading, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _draw_on(self, page: web.WebSocketResponse) -> None:
        with suppress(asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            await self._output.readuntil(_PRELUDE)
            while True:
                kind = await self._output.readexactly(1)
                size = int.from_bytes(await self._output.readexactly(4), "big")
                payload = await self._output.readexactly(size)
                if kind == b"D":
                    await page.send_bytes(payload)
        await page.close()

    async def _read_from(self, page: web.WebSocketResponse) -> None:
        async for message in page:
            if message.type is not WSMsgType.TEXT:
                break
            try:
                packet = packet_of(message.data)
            except ValueError:
                break
            if packet:
                self._input.write(packet)
                try:
                    await asyncio.wait_for(self._input.drain(), _INPUT_PATIENCE)
                except (ConnectionError, TimeoutError):
                    break
        await page.close(code=WSCloseCode.POLICY_VIOLATION)

    async def _end(self) -> None:
        # The end of its input shows the explorer that the page is gone.
        self._input.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._process.communicate(), _PATIENCE)
            return
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()


def packet_of(message: str) -> bytes:
    """The packet for a message of a page; empty where there is nothing to do.

    Raises:
        ValueError: our own page sends no such message.
    """
    match parse_json(message):
        case ["stdin", str(keys)]:
            return _packet(b"D", keys.encode("utf-8", "replace"))
        case ["resize", {"width": width, "height": height}]:
            columns, lines = size_of(width, height)
            return _message({"type": "resize", "width": columns, "height": lines})
        case [("focus" | "blur") as kind]:
            return _message({"type": kind})
        case ["ping", _]:
            return b""
    raise ValueError("no message of a page")


def size_of(width: Any, height: Any) -> tuple[int, int]:
    """Columns and lines of a terminal, from a page's values, within the limits."""
    return _within(width, *_COLUMNS), _within(height, *_LINES)


def _within(value: Any, least: int, default: int, largest: int) -> int:
    try:
        return min(max(int(value), least), largest)
    except (TypeError, ValueError, OverflowError):
        return default


def _message(content: dict[str, object]) -> bytes:
    return _packet(b"M", json.dumps(content).encode())


def _packet(kind: bytes, payload: bytes) -> bytes:
    return kind + len(payload).to_bytes(4, "big") + payload
