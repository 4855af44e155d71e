"""`depthtui serve`: who is let in."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from depthtui.cli import main

aiohttp = pytest.importorskip("aiohttp")
pytest.importorskip("textual_serve")

from depthtui.cli.web_server import TokenServer, is_local  # noqa: E402

TOKEN = "a-token"
HELLO = r"printf '__GANGLION__\nD\000\000\000\005hello'"
"""Five bytes to draw, as textual-serve reads them."""

Output = pytest.CaptureFixture[str]


@pytest.fixture
async def address() -> AsyncIterator[str]:
    """Where a server listens whose explorer only says hello."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = TokenServer(HELLO, listening, TOKEN)
        runner = aiohttp.web.AppRunner(await server.make_app())
        await runner.setup()
        await aiohttp.web.SockSite(runner, listening).start()
        yield f"http://127.0.0.1:{server.port}"
        await runner.cleanup()


PATHS = ["/", "/ws", "/static/", "/?token=", "/?token=a-toke", "/ws?token=wrong", "/nothing"]


@pytest.mark.parametrize("path", PATHS)
async def test_without_the_token_nothing_is_served(address: str, path: str) -> None:
    async with aiohttp.ClientSession() as session, session.get(address + path) as response:
        assert response.status == 403
        assert "token" in await response.text()
        assert "Set-Cookie" not in response.headers


async def test_the_token_opens_the_page_and_what_it_asks_for(address: str) -> None:
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar) as session:
        async with session.get(f"{address}/?token={TOKEN}") as response:
            assert response.status == 200
            page = await response.text()
            cookie = response.headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert f"{address.replace('http', 'ws')}/ws" in page
        (script,) = set(re.findall(r'src="([^"]+\.js)"', page))
        async with session.get(script) as response:
            assert response.status == 200
        async with session.ws_connect(f"{address}/ws") as pipe:
            assert await pipe.receive_bytes(timeout=30) == b"hello"


async def test_the_page_asks_no_other_host_for_anything(address: str) -> None:
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar) as session:
        async with session.get(f"{address}/?token={TOKEN}") as response:
            page = await response.text()
        asked = re.findall(r"""(?:src|href)="([^"]+)"|url\("([^"]+)"\)""", page)
        files = {one or other for one, other in asked}
        assert {name.rpartition(".")[2] for name in files} == {"css", "js", "ttf"}
        for name in files:
            assert name.startswith(f"{address}/")
            async with session.get(name) as response:
                assert response.status == 200
        assert "//" not in re.sub(r"\b(?:http|ws)://127\.0\.0\.1:", "", page)


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "localhost.evil.example"},
        {"Origin": "http://evil.example"},
    ],
)
async def test_other_hosts_and_pages_are_refused(address: str, headers: dict[str, str]) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{address}/ws?token={TOKEN}", headers=headers) as response,
    ):
        assert response.status == 403


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
    commands: list[str] = []

    class Server:
        address = ""

        def __init__(self, command: str, *_: object) -> None:
            commands.append(command)

        def serve(self) -> None: ...

    monkeypatch.setattr("depthtui.cli.web_server.TokenServer", Server)
    mark = tmp_path / "mark"
    for name in ("depthtui", "click"):
        (tmp_path / f"{name}.py").write_text(f"open({str(mark)!r}, 'w')")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))
    monkeypatch.chdir(tmp_path)
    assert main(["serve", "--port", "0", "--device", "cpu"]) is not None
    said = subprocess.check_output(f"{commands[0]} --version", shell=True, text=True)
    assert not mark.exists()
    assert said.startswith("depthtui ")


def test_a_port_that_is_taken_is_told(capsys: Output) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["serve", "--port", str(taken.getsockname()[1])]) == 1
    assert "--port" in capsys.readouterr().err


@pytest.mark.by_hand
async def test_the_explorer_is_drawn(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text("welcome = false\n")
    there = os.environ | {
        "DEPTHTUI_CONFIG": str(tmp_path / "settings.toml"),
        "DEPTHTUI_CACHE_DIR": str(tmp_path / "cache"),
    }
    model = ["--model", str(tmp_path / "nothing")]
    command = [sys.executable, "-m", "depthtui", "serve", "--port", "0", *model]
    server = subprocess.Popen(command, env=there, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        with pytest.raises(HTTPError, match="403"):
            urlopen(address.partition("?")[0])
        with urlopen(address) as page:
            assert page.status == 200
        drawn = b""
        where = address.replace("/?", "/ws?") + "&width=100&height=30"
        async with aiohttp.ClientSession() as session, session.ws_connect(where) as pipe:
            while b"does not exist" not in drawn:
                message = await pipe.receive(timeout=60)
                assert message.type is aiohttp.WSMsgType.BINARY
                drawn += message.data
    finally:
        server.terminate()
        assert server.wait(30) is not None
