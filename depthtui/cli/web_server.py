"""The explorer in a browser: textual-serve behind a token.

Whoever opens the explorer can run models and write files as the user who serves it. A browser
sends requests to this machine for any page that asks it to, so that being bound to localhost
alone keeps nobody out: a request needs the token, must name a host that is ours, and may not come
from another page.
"""

from __future__ import annotations

import hmac
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web
from textual_serve.server import Server

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_PATIENCE = 3.0
"""Seconds that open pages have when the server ends."""

_TEMPLATES = Path(__file__).with_name("web")
"""The page in place of textual-serve's own, which asks a server elsewhere for its font."""

_REFUSED = "This address needs the token that depthtui serve printed with it.\n"
_NOT_OURS = "This request names another host than depthtui serve was started for.\n"
_FROM_ELSEWHERE = "This request comes from another page.\n"


class TokenServer(Server):
    """Serves the explorer to whoever has the token.

    Args:
        command: starts the explorer.
        listening: the socket to serve on.
        token: what every request must bring, in its address or in the cookie of an earlier one.
        any_host: whether requests may name any host, as they do from other machines.
    """

    def __init__(
        self, command: str, listening: socket.socket, token: str, any_host: bool = False
    ) -> None:
        host, port = listening.getsockname()[:2]
        super().__init__(command, host=host, port=port, title="depthtui", templates_path=_TEMPLATES)
        self._listening = listening
        self._token = token
        self._any_host = any_host
        # Cookies are shared by all ports of a host.
        self._cookie = f"depthtui-{port}"

    @property
    def address(self) -> str:
        """What to open in a browser."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/?token={self._token}"

    def serve(self, debug: bool = False) -> None:
        """Serve until ctrl-c."""
        # No log of requests: their addresses hold the token.
        web.run_app(
            self.make_app(),
            sock=self._listening,
            print=None,
            access_log=None,
            shutdown_timeout=_PATIENCE,
        )

    async def make_app(self) -> web.Application:
        """Everything that is served, behind the guard."""

        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self._guarded(request, handler)

        app: web.Application = await self._make_app()
        app.middlewares.append(guard)
        return app

    async def on_startup(self, app: web.Application) -> None:
        """Say nothing: the command has."""

    async def handle_index(self, request: web.Request) -> Any:
        """The page; what it asks for is asked at the address that it was opened by."""
        self.public_url = str(request.url.origin())
        return await super().handle_index(request)

    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if not (self._any_host or is_local(request.url.host or "")):
            return _refusal(_NOT_OURS)
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != request.host:
            return _refusal(_FROM_ELSEWHERE)
        in_address = request.query.get("token", "")
        brought = in_address or request.cookies.get(self._cookie, "")
        if not hmac.compare_digest(brought.encode(), self._token.encode()):
            return _refusal(_REFUSED)
        response = await handler(request)
        if in_address and not response.prepared:
            response.set_cookie(self._cookie, self._token, httponly=True, samesite="Strict")
        return response


def is_local(host: str) -> bool:
    """Whether a host's name can only mean this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _refusal(words: str) -> web.Response:
    return web.Response(status=HTTPStatus.FORBIDDEN, text=words)
