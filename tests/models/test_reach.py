"""Whether a hub answers: silent, away, behind a proxy; told before anything heavy is imported."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from depthtui.data.run_settings import ModelSpec
from depthtui.errors import DepthError
from depthtui.models import reach
from depthtui.models.reach import check_can_open, first_hop, reaches

_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy, and nothing in the hub cache."""
    for name in (*_PROXIES, *map(str.upper, _PROXIES), "HF_HUB_OFFLINE", "HF_HUB_ETAG_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


def keep_tiny(tmp_path: Path) -> None:
    """Put a complete copy of `us/tiny` into the hub cache."""
    commit = tmp_path / "hub" / "models--us--tiny" / "snapshots" / "c0ffee"
    commit.mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (commit / name).write_text('{"architectures": ["LlamaForCausalLM"]}')
    refs = commit.parents[1] / "refs"
    refs.mkdir()
    (refs / "main").write_text("c0ffee")


Listening = Callable[..., str]


@pytest.fixture
def listening() -> Iterator[Listening]:
    """Starts servers that answer every request with these bytes, by default never."""
    listeners: list[socket.socket] = []
    connections: list[socket.socket] = []

    def serve(listener: socket.socket, answer: bytes) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connections.append(connection)
            if answer:
                connection.recv(4096)
                connection.sendall(answer)

    def start(answer: bytes = b"") -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        threading.Thread(target=serve, args=(listener, answer), daemon=True).start()
        return f"127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for opened in (*listeners, *connections):
        opened.close()


def test_a_hub_that_never_answers_is_told_within_seconds(
    listening: Listening, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"http://{listening()}")
    start = time.monotonic()
    with pytest.raises(DepthError, match=r"cannot be reached \(127.0.0.1\)") as caught:
        check_can_open(ModelSpec("us/tiny"), tmp_path)
    assert time.monotonic() - start < 2
    assert "`demo`" in caught.value.hint


def test_patience_is_a_matter_of_settings(
    listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "0.01")
    start = time.monotonic()
    assert not reaches(f"https://{listening()}")
    assert time.monotonic() - start < 1


def test_a_hub_out_of_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{closed.getsockname()[1]}")
        with pytest.raises(DepthError, match="cannot be reached"):
            check_can_open(ModelSpec("us/tiny"), tmp_path)


def test_a_name_that_is_never_looked_up_ends_after_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    end_of_test = threading.Event()

    def look_up(*_: object, **__: object) -> None:
        end_of_test.wait()
        raise OSError

    monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "0.01")
    monkeypatch.setattr(reach.socket, "create_connection", look_up)
    assert not reaches("https://a.test")
    end_of_test.set()


@pytest.mark.parametrize(
    ("answer", "is_reached"),
    [
        (b"HTTP/1.1 200 OK\r\n", True),
        (b"HTTP/1.1 407 Who?\r\n", True),
        (b"HTTP/1.1 502 \r\n", False),
    ],
)
def test_a_proxy_says_whether_the_hub_is_there(
    answer: bytes, is_reached: bool, listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", listening(answer))
    assert reaches("https://a.test") is is_reached


def test_any_answer_is_one(listening: Listening) -> None:
    assert reaches(f"http://{listening(b'HTTP/1.1 503 Later')}")
    assert reaches(f"https://{listening(b'what?')}")


@pytest.mark.parametrize("endpoint", ["hub", "ftp://a.test", "https://", "http://a.test:x"])
def test_an_endpoint_that_is_no_address(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    with pytest.raises(DepthError, match="HF_ENDPOINT is no address"):
        check_can_open(ModelSpec("us/tiny"), tmp_path)


@pytest.mark.parametrize(
    ("endpoint", "proxy", "bypass", "hop"),
    [
        ("https://a.test", "", "", ("a.test", 443)),
        ("http://a.test:81/x", "", "", ("a.test", 81)),
        ("https://a.test", "http://proxy.test:3128", "", ("proxy.test", 3128)),
        ("https://a.test", "proxy.test:3128", "", ("proxy.test", 3128)),
        ("https://a.test", "http://proxy.test:3128", "a.test", ("a.test", 443)),
    ],
)
def test_proxies_are_honoured(
    endpoint: str,
    proxy: str,
    bypass: str,
    hop: tuple[str, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if proxy:
        monkeypatch.setenv("https_proxy", proxy)
    if bypass:
        monkeypatch.setenv("no_proxy", bypass)
    assert first_hop(endpoint) == hop


def test_a_model_on_this_disk_needs_no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_tiny(tmp_path)
    monkeypatch.setattr(reach, "reaches", lambda endpoint: pytest.fail("asked"))
    check_can_open(ModelSpec("us/tiny"), tmp_path)
    check_can_open(ModelSpec("us/tiny"), tmp_path, with_code=True)


@pytest.mark.parametrize("offline", ["", "1"])
@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("demmo", "Did you mean demo?"),
        ("us/tinny", "Did you mean us/tiny?"),
        ("US/Tiny", "Did you mean us/tiny?"),
        ("them/other", ""),
    ],
)
def test_a_name_like_one_on_this_disk_is_asked_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, meant: str, offline: str
) -> None:
    keep_tiny(tmp_path)
    monkeypatch.setattr(reach, "reaches", lambda endpoint: False)
    monkeypatch.setenv("HF_HUB_OFFLINE", offline)
    with pytest.raises(DepthError) as caught:
        check_can_open(ModelSpec(name), tmp_path)
    assert meant in caught.value.hint
    assert ("Did you mean" in caught.value.hint) == bool(meant)


def test_a_command_tells_it_before_torch_is_imported(
    listening: Listening, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"http://{listening()}")
    monkeypatch.setenv("DEPTHTUI_CONFIG", str(tmp_path / "settings.toml"))
    code = (
        "import sys; from depthtui.cli import main; status = main(sys.argv[1:]);"
        "print(status, [name for name in ('torch', 'huggingface_hub') if name in sys.modules])"
    )
    arguments = ["run", "us/tiny", "--prompt", "x", "--cache-dir", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    assert "The Hugging Face hub cannot be reached" in done.stderr
    assert done.stdout.strip() == "1 []"
