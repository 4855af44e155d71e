"""Pages that show the explorer, at an address that contains a secret.

Anyone who opens the explorer can run models and write files as the user who serves it. Binding to
localhost is not enough, because a browser sends requests to this machine for any page that asks
it to. Every path therefore begins with the secret, a request must name a host of this server, and
may not come from another page. The secret is in no cookie, which a browser would send to every
port of this machine.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
import socket
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import textual_serve
from aiohttp import WSCloseCode, web

from depthtui.cli.output import print_notice
from depthtui.cli.web_explorer import LARGEST_MESSAGE, WebExplorer, size_of
from depthtui.log import log_bug

MOST_EXPLORERS = 8
"""Explorers at once: each is a process, and may load a model."""

_PATIENCE = 5.0
"""Seconds that open pages may take to close when the server ends."""

_HEARTBEAT = 15.0
"""Seconds between checks that a page is still open."""

_OURS, _THEIRS = Path(__file__).with_name("web"), Path(textual_serve.__file__).parent / "static"

_FILES = {
    "": _OURS / "index.html",
    "page.js": _OURS / "page.js",
    "textual.js": _THEIRS / "js" / "textual.js",
    "xterm.css": _THEIRS / "css" / "xterm.css",
} | {
    name: _THEIRS / "fonts" / name
    for name in ("RobotoMono-VariableFont_wght.ttf", "RobotoMono-Italic-VariableFont_wght.ttf")
}
"""The served files, by the path after the secret."""

_HEADERS = {
    "Cache-Control": "no-store",
    # xterm.js, which is in textual.js, writes style sheets.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
        "font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

_REFUSED = "This address needs the secret that depthtui serve printed with it.\n"
_NOT_OURS = "This request names another host than depthtui serve was started for.\n"
_FROM_ELSEWHERE = "This request comes from another page.\n"
_TOO_MANY = f"{MOST_EXPLORERS} explorers are open. Close the page of one.\n"


class WebServer:
    """Serves the explorer to requests with the secret.

    Args:
        command: the command that starts the explorer.
        listening: the socket to serve on.
        secret: the first part of every path.
        any_host: whether requests may name any host, as they do from other machines.
    """

    def __init__(
        self, command: Sequence[str], listening: socket.socket, secret: str, any_host: bool = False
    ) -> None:
        self._command = command
        self._listening = listening
        self._secret = secret
        self._any_host = any_host
        self._pages: set[web.WebSocketResponse] = set()

    @property
    def address(self) -> str:
        """The page to open in a browser."""
        host, port = self._listening.getsockname()[:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}/{self._secret}/"

    def serve(self) -> None:
        """Serve until ctrl-c."""
        # aiohttp logs the traceback of each request that is no HTTP.
        logging.getLogger("aiohttp").addHandler(logging.NullHandler())
        logging.getLogger("aiohttp").propagate = False
        # No log of requests: their addresses contain the secret.
        web.run_app(
            self.make_app(),
            sock=self._listening,
            print=None,
            access_log=None,
            shutdown_timeout=_PATIENCE,
        )

    def make_app(self) -> web.Application:
        """The application, whose one handler answers every request."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        app.on_response_prepare.append(_add_headers)
        app.on_shutdown.append(self._close_pages)
        return app

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        try:
            problem = self._problem(request)
            if problem:
                return web.Response(status=HTTPStatus.FORBIDDEN, text=problem)
            return await self._served(request)
        except web.HTTPException:
            raise
        except Exception as error:
            print_notice(log_bug(error))
            return web.Response(status=HTTPStatus.INTERNAL_SERVER_ERROR)

    def _problem(self, request: web.Request) -> str:
        """Why a request is refused; empty where it is accepted."""
        host = _host_of(request.host)
        if not host or not (self._any_host or is_local(host)):
            return _NOT_OURS
        origin = request.headers.get("Origin")
        if origin is not None and _place_of(origin) != request.host:
            return _FROM_ELSEWHERE
        secret = request.path.split("/", 2)[1]
        if not hmac.compare_digest(secret.encode("utf-8", "replace"), self._secret.encode()):
            return _REFUSED
        return ""

    async def _served(self, request: web.Request) -> web.StreamResponse:
        """A file, or an explorer's messages; the page's address gets its last slash first."""
        if request.method not in ("GET", "HEAD"):
            raise web.HTTPMethodNotAllowed(request.method, ["GET", "HEAD"])
        path = request.path.removeprefix(f"/{self._secret}")
        if not path:
            raise web.HTTPFound(f"/{self._secret}/")
        if path == "/explorer":
            return await self._show_explorer(request)
        file = _FILES.get(path[1:])
        if file is None:
            raise web.HTTPNotFound
        return web.FileResponse(file)

    async def _show_explorer(self, request: web.Request) -> web.StreamResponse:
        if len(self._pages) >= MOST_EXPLORERS:
            raise web.HTTPServiceUnavailable(text=_TOO_MANY)
        page = web.WebSocketResponse(heartbeat=_HEARTBEAT, max_msg_size=LARGEST_MESSAGE)
        self._pages.add(page)
        try:
            await page.prepare(request)
            size = size_of(request.query.get("width"), request.query.get("height"))
            async with WebExplorer.started(self._command, size) as explorer:
                await explorer.show_on(page)
        finally:
            self._pages.discard(page)
        return page

    async def _close_pages(self, _: web.Application) -> None:
        for page in list(self._pages):
            await page.close(code=WSCloseCode.GOING_AWAY)


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)


def _host_of(place: str) -> str:
    """The host of `HOST:PORT`; empty for any other text."""
    try:
        parts = urlsplit(f"//{place}")
        _ = parts.port
        return parts.hostname or ""
    except ValueError:
        return ""


def _place_of(origin: str) -> str:
    """`HOST:PORT` of an origin; empty where it has none."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def is_local(host: str) -> bool:
    """Whether a host's name can only mean this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
