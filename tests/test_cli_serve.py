"""`depthtui serve`: who is let in, and what becomes of an explorer."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import IO
from urllib.error import HTTPError
from urllib.request import urlopen

import psutil
import pytest

from depthtui.cli import main

aiohttp = pytest.importorskip("aiohttp")
pytest.importorskip("textual_serve")

from depthtui.cli import web_explorer, web_server  # noqa: E402
from depthtui.cli.web_explorer import packet_of, size_of  # noqa: E402
from depthtui.cli.web_server import WebServer, is_local  # noqa: E402
from tests.tui.terminal import PATIENCE, ROOT  # noqa: E402

SECRET = "a-secret"

HELLO = r"""
import os, signal, sys
signal.signal(signal.SIGHUP, signal.SIG_IGN)
os.write(1, b"__GANGLION__\nD\0\0\0\5hello")
while data := os.read(0, 9999):
    os.write(1, b"D" + len(data).to_bytes(4, "big") + data)
"""
"""An explorer that draws five bytes, and then every packet that it gets."""

DEAF = HELLO + "signal.pause()"
"""The same; it does not end with its input."""

Output = pytest.CaptureFixture[str]


class Served:
    """A server, and what its explorers run.

    Attributes:
        address: of its page.
    """

    def __init__(self, server: WebServer) -> None:
        self.address = server.address
        self.origin = server.address.removesuffix(f"/{SECRET}/")
        self.port = int(self.origin.rpartition(":")[2])


@pytest.fixture(params=[HELLO])
async def served(request: pytest.FixtureRequest) -> AsyncIterator[Served]:
    """A server whose explorer is a few lines of Python."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = WebServer([sys.executable, "-c", request.param], listening, SECRET)
        runner = aiohttp.web.AppRunner(server.make_app())
        await runner.setup()
        await aiohttp.web.SockSite(runner, listening).start()
        yield Served(server)
        await runner.cleanup()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


PATHS = [
    "/",
    "/explorer",
    "/a-secre/",
    "/a-secret-/",
    "/wrong/explorer",
    "/?secret=a-secret",
    "/%ff",
    "/favicon.ico",
]


@pytest.mark.parametrize("path", PATHS)
async def test_without_the_secret_nothing_is_served(
    served: Served, session: aiohttp.ClientSession, path: str
) -> None:
    async with session.get(served.origin + path) as response:
        assert response.status == 403
        assert "secret" in await response.text()
        assert SECRET not in str(response.headers)


async def test_the_secret_opens_the_page_and_all_that_it_asks_for(
    served: Served, session: aiohttp.ClientSession
) -> None:
    async with session.get(served.address) as response:
        assert response.status == 200
        page = await response.text()
    requested = re.findall(r"""(?:src|href)="([^"]+)"|url\("([^"]+)"\)""", page)
    names = {source or other for source, other in requested}
    assert {name.rpartition(".")[2] for name in names} == {"css", "js", "ttf"}
    for name in names:
        assert "/" not in name
        async with session.get(served.address + name) as response:
            assert response.status == 200
    async with session.ws_connect(served.address + "explorer?width=100&height=30") as pipe:
        assert await pipe.receive_bytes(timeout=30) == b"hello"


async def test_an_address_without_its_last_slash_is_the_page(
    served: Served, session: aiohttp.ClientSession
) -> None:
    async with session.get(served.address.removesuffix("/")) as response:
        assert (response.status, str(response.url)) == (200, served.address)


@pytest.mark.parametrize("path", ["", "textual.js", "nothing", "../wrong/"])
async def test_no_answer_gives_the_secret_away(
    served: Served, session: aiohttp.ClientSession, path: str
) -> None:
    """Neither to another port, as cookies do, nor to another page, nor to a disk."""
    async with session.get(served.address + path) as response:
        headers = response.headers
    assert "Set-Cookie" not in headers
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "script-src 'self';" in headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", ["", "explorer"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "localhost.evil.example"},
        {"Host": "127.0.0.1:999999"},
        {"Host": "[::1"},
        {"Host": ""},
        {"Origin": "http://evil.example"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://[x"},
        {"Origin": "null"},
    ],
)
async def test_other_hosts_and_pages_are_refused(
    served: Served, session: aiohttp.ClientSession, path: str, headers: dict[str, str]
) -> None:
    async with session.get(served.address + path, headers=headers) as response:
        assert response.status == 403


@pytest.mark.parametrize("method", ["POST", "DELETE", "OPTIONS"])
async def test_pages_are_only_read(
    served: Served, session: aiohttp.ClientSession, method: str
) -> None:
    async with session.request(method, served.address) as response:
        assert response.status == 405


RAW = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: x=\xff\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1:999999\r\n\r\n",
    b"GET http://127.0.0.1:999999/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: \xff\r\nOrigin: \xff\r\n\r\n",
    b"GET /\xff%ff%00 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET // HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"CONNECT a:1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nnonsense\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
    b"GET /a-secret/explorer HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: no\r\n\r\n",
]


@pytest.mark.parametrize("number", range(len(RAW)))
async def test_what_is_no_request_of_a_browser_is_refused(served: Served, number: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(RAW[number])
    status = await asyncio.wait_for(reader.readline(), PATIENCE)
    assert re.match(rb"HTTP/1.[01] 4\d\d ", status)
    writer.close()


# Explorers ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("requested", "size"),
    [
        (("100", "30"), (100, 30)),
        ((30000, 30000), (800, 250)),
        ((-1, 0), (2, 2)),
        ((None, "NaN"), (80, 24)),
        ((float("inf"), [9]), (80, 24)),
        (("9" * 5000, True), (80, 2)),
    ],
)
def test_the_size_of_a_terminal_has_limits(requested: tuple[object, object], size: object) -> None:
    assert size_of(*requested) == size


def test_messages_of_a_page_are_packets() -> None:
    assert packet_of('["stdin", "é\\ud800"]') == b"D\0\0\0\3\xc3\xa9?"
    assert packet_of('["ping", "1"]') == b""
    assert packet_of('["focus"]')[5:] == b'{"type": "focus"}'
    resized = json.loads(packet_of('["resize", {"width": 30000, "height": 20}]')[5:])
    assert resized == {"type": "resize", "width": 800, "height": 20}


NONSENSE = [
    "",
    "{",
    "[]",
    "1",
    '["stdin"]',
    '["stdin", 1]',
    '["resize", []]',
    '["quit"]',
    "[" * 9999,
]


@pytest.mark.parametrize("message", NONSENSE)
async def test_nonsense_from_a_page_ends_it(
    served: Served, session: aiohttp.ClientSession, message: str
) -> None:
    async with session.ws_connect(served.address + "explorer") as pipe:
        await pipe.receive_bytes(timeout=PATIENCE)
        await pipe.send_str('["stdin", "x"]')
        assert await pipe.receive_bytes(timeout=PATIENCE) == b"D\0\0\0\1x"
        await pipe.send_str(message)
        assert (await pipe.receive(PATIENCE)).type is aiohttp.WSMsgType.CLOSE
        assert pipe.close_code == 1008


async def test_messages_have_a_largest_size(
    served: Served, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_server, "LARGEST_MESSAGE", 100)
    async with session.ws_connect(served.address + "explorer") as pipe:
        await pipe.receive_bytes(timeout=PATIENCE)
        await pipe.send_json(["stdin", "x" * 100])
        assert (await pipe.receive(PATIENCE)).type is aiohttp.WSMsgType.CLOSE
        assert pipe.close_code == 1009


def explorers() -> list[psutil.Process]:
    return psutil.Process().children()


@pytest.mark.parametrize("served", [HELLO, DEAF], indirect=True)
async def test_an_explorer_ends_with_its_page(
    served: Served, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_explorer, "_PATIENCE", 0.1)
    earlier_explorers = explorers()
    async with session.ws_connect(served.address + "explorer") as pipe:
        await pipe.receive_bytes(timeout=PATIENCE)
        assert len(explorers()) == len(earlier_explorers) + 1
    async with asyncio.timeout(PATIENCE):
        while explorers() != earlier_explorers:
            await asyncio.sleep(0.01)


async def test_only_so_many_explorers_are_open_at_once(
    served: Served, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_server, "MOST_EXPLORERS", 1)
    async with session.ws_connect(served.address + "explorer") as pipe:
        await pipe.receive_bytes(timeout=PATIENCE)
        async with session.get(served.address + "explorer") as response:
            assert response.status == 503


def test_an_explorer_ends_with_its_input_alone(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text("welcome = false\n")
    variables = {
        "TEXTUAL_DRIVER": "depthtui.tui.textual_patches.web_driver:PageDriver",
        "DEPTHTUI_CONFIG": str(tmp_path / "settings.toml"),
        "TMPDIR": str(tmp_path),
    }
    # Where it was started under nohup, no signal ends it.
    command = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", sys.executable, "-m"]
    with subprocess.Popen(
        [*command, "tests.tui.fake_explorer"],
        cwd=ROOT,
        env=os.environ | variables,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as explorer:
        assert explorer.stdin is not None
        assert explorer.stdout is not None
        assert explorer.stdout.readline() == b"__GANGLION__\n"
        read_until(explorer.stdout, b"Verdict")
        # A key beyond Unicode ends nothing: the next one opens the help.
        explorer.stdin.write(packet_of('["stdin", "\\u001b[1114112u?"]'))
        explorer.stdin.flush()
        read_until(explorer.stdout, b"this screen")
        _, errors = explorer.communicate(timeout=PATIENCE)
    assert (explorer.returncode, errors) == (128 + signal.SIGHUP, b"")


def read_until(output: IO[bytes], text: bytes) -> None:
    """Read what an explorer draws until it has drawn a text."""
    drawn = b""
    while text not in drawn:
        data = os.read(output.fileno(), 65536)
        assert data, "the explorer has ended"
        drawn += data


# The command --------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.0.0.2", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.7", False),
        ("example.org", False),
    ],
)
def test_which_hosts_are_this_machine(host: str, local: bool) -> None:
    assert is_local(host) == local


def test_other_machines_are_let_in_by_a_flag_alone(capsys: Output) -> None:
    assert main(["serve", "--host", "0.0.0.0"]) == 2
    assert "--allow-remote" in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--dtype", "float12"], ["run"], ["--nothing"]])
def test_wrong_options_of_the_explorer_are_told_at_once(options: list[str]) -> None:
    assert main(["serve", "--port", "0", *options]) == 2


def test_a_page_runs_nothing_of_the_folder_that_it_is_served_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    class Server:
        address = ""

        def __init__(self, command: list[str], *_: object) -> None:
            commands.append(command)

        def serve(self) -> None: ...

    monkeypatch.setattr(web_server, "WebServer", Server)
    mark = tmp_path / "mark"
    for name in ("depthtui", "click"):
        (tmp_path / f"{name}.py").write_text(f"open({str(mark)!r}, 'w')")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    assert main(["serve", "--port", "0", "--device", "cpu"]) == 0
    (command,) = commands
    assert command[-2:] == ["--device", "cpu"]
    answer = subprocess.check_output([*command, "--version"], text=True)
    assert not mark.exists()
    assert answer.startswith("depthtui ")


def test_a_port_that_is_taken_is_told(capsys: Output) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other_socket:
        assert main(["serve", "--port", str(other_socket.getsockname()[1])]) == 1
    assert "--port" in capsys.readouterr().err


@pytest.fixture
def command(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str, IO[str]]]:
    """A server as people start one, the address that it prints, and its standard error."""
    (tmp_path / "settings.toml").write_text("welcome = false\n")
    environment = os.environ | {
        "DEPTHTUI_CONFIG": str(tmp_path / "settings.toml"),
        "DEPTHTUI_CACHE_DIR": str(tmp_path / "cache"),
    }
    model = ["--model", str(tmp_path / "nothing")]
    with (
        open(tmp_path / "errors", "w+") as errors,
        subprocess.Popen(
            [sys.executable, "-m", "depthtui", "serve", "--port", "0", *model],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as server,
    ):
        assert server.stdout is not None
        yield server, server.stdout.readline().strip(), errors
        server.terminate()


def test_requests_leave_the_terminal_quiet(
    command: tuple[subprocess.Popen[str], str, IO[str]],
) -> None:
    server, address, errors = command
    port = int(re.findall(r":(\d+)/", address)[0])
    for request in RAW:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(request)
            assert connection.recv(99).startswith(b"HTTP/1.")
    server.terminate()
    assert server.wait(PATIENCE) == 0
    errors.seek(0)
    assert errors.read() == "depthtui: Ctrl-c ends it.\n"


@pytest.mark.by_hand
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_the_explorer_is_drawn_and_ends_with_the_server(
    command: tuple[subprocess.Popen[str], str, IO[str]], number: signal.Signals
) -> None:
    server, address, _ = command
    with pytest.raises(HTTPError, match="403"):
        urlopen(address.rstrip("/") + "x/")
    with urlopen(address) as page:
        assert page.status == 200
    drawn = b""
    where = address + "explorer?width=100&height=30"
    async with aiohttp.ClientSession() as session, session.ws_connect(where) as pipe:
        while b"does not exist" not in drawn:
            message = await pipe.receive(timeout=PATIENCE)
            assert message.type is aiohttp.WSMsgType.BINARY
            drawn += message.data
        children = psutil.Process(server.pid).children(recursive=True)
        assert children
        server.send_signal(number)
    assert psutil.wait_procs(children, timeout=PATIENCE)[1] == []
