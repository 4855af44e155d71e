"""The hub: reached, refused, out of reach. A server of our own plays it."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from depthtui.api.harness import folder_or_hub_id
from depthtui.data.protocol import Progress
from depthtui.data.run_settings import ModelSpec
from depthtui.errors import DepthError
from depthtui.models.catalog import on_disk
from depthtui.models.hub import fetch
from depthtui.models.loading import LoadedModel, load
from tests.builders.adapters import adapter_of, change_adapter
from tests.tiny_models import tiny_folder

COMMIT = "c0ffee" + "0" * 34


class Hub(ThreadingHTTPServer):
    """Serves folders as models; `trouble` maps ids to a status and an error code."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.models: dict[str, Path] = {}
        self.trouble: dict[str, tuple[int, str]] = {}
        self.fetched: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        is_api = parts[:2] == ["api", "models"]
        model_id = "/".join(parts[2:4] if is_api else parts[:2])
        if model_id in self.server.trouble:
            return self.fail(*self.server.trouble[model_id])
        if model_id not in self.server.models:
            return self.fail(404, "RepoNotFound")
        folder = self.server.models[model_id]
        if is_api and parts[-1] not in ("main", COMMIT):
            return self.fail(404, "RevisionNotFound")
        if is_api and parts[4] == "revision":
            files = [
                {"rfilename": path.name, "size": path.stat().st_size} for path in folder.iterdir()
            ]
            return self.answer(
                json.dumps({"id": model_id, "sha": COMMIT, "siblings": files}).encode()
            )
        if is_api:
            tree = [
                {"type": "file", "path": path.name, "size": path.stat().st_size, "oid": etag(path)}
                for path in folder.iterdir()
            ]
            return self.answer(json.dumps(tree).encode())
        path = folder / parts[-1]
        if self.command == "GET":
            self.server.fetched.append(path.name)
        return self.answer(path.read_bytes(), etag=etag(path))

    def fail(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def answer(self, content: bytes, etag: str = "") -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{etag}"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)


def etag(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()


@pytest.fixture
def served(tmp_path, monkeypatch) -> Iterator[Hub]:
    with Hub() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
        for name in ("HF_HUB_OFFLINE", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.delenv(name, raising=False)
        server.models["us/tiny"] = tiny_folder(tmp_path)
        yield server
        server.shutdown()


def loaded(
    name: str, tmp_path: Path, events: list[Progress] | None = None, **options
) -> LoadedModel:
    report = (events if events is not None else []).append
    return load(ModelSpec(name, **options), tmp_path / "models", report)


def refused(name: str, tmp_path: Path, words: str, **options) -> DepthError:
    with pytest.raises(DepthError, match=words) as caught:
        loaded(name, tmp_path, **options)
    return caught.value


def test_a_model_is_fetched_once(served, tmp_path, monkeypatch) -> None:
    events: list[Progress] = []
    first = loaded("us/tiny", tmp_path, events)
    assert (first.info.name, first.info.revision) == ("us/tiny", COMMIT)
    assert first.info.source == "us/tiny on the Hugging Face hub"
    bytes_done = [event for event in events if event.stage == "Fetching us/tiny"]
    total = sum(path.stat().st_size for path in served.models["us/tiny"].iterdir())
    assert bytes_done[-1].total == total

    assert served.fetched.count("model.safetensors") == 1
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    second = loaded("us/tiny", tmp_path)
    assert second.info == first.info
    assert loaded("us/tiny", tmp_path, revision=COMMIT).info.fingerprint == first.info.fingerprint
    assert [model.name for model in on_disk(tmp_path / "models")] == ["demo", "us/tiny"]


def test_only_what_is_needed_is_fetched(served, tmp_path) -> None:
    folder = served.models["us/tiny"]
    for name in ("pytorch_model.bin", "model.fp16.safetensors", "own.py", "picture.png", "a.gguf"):
        (folder / name).write_bytes(b"x" * 100)
    loaded("us/tiny", tmp_path)
    assert {name for name in served.fetched if Path(name).suffix not in (".json", ".jinja")} == {
        "model.safetensors"
    }


def test_shards_are_those_of_the_index(served, tmp_path) -> None:
    folder = tmp_path / "shards"
    loaded("us/tiny", tmp_path).model.save_pretrained(folder, max_shard_size="40kB")
    for path in served.models["us/tiny"].glob("token*"):
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "model-extra.safetensors").write_bytes(b"x")
    served.models["us/shards"] = folder
    assert loaded("us/shards", tmp_path).info.n_layers == 4
    assert "model-extra.safetensors" not in served.fetched


def test_what_cannot_be_opened_is_refused_before_its_weights_are_fetched(served, tmp_path) -> None:
    config = served.models["us/tiny"] / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"is_encoder_decoder": True}))
    refused("us/tiny", tmp_path, "encoder-decoder")
    assert "model.safetensors" not in served.fetched


def test_pickles_are_refused(served, tmp_path) -> None:
    folder = served.models["us/tiny"]
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    refused("us/tiny", tmp_path, "only as a pickle")
    assert "pytorch_model.bin" not in served.fetched


def test_a_repository_of_gguf_files(served, tmp_path) -> None:
    folder = tmp_path / "gguf"
    folder.mkdir()
    (folder / "a.gguf").write_bytes(b"GGUF")
    served.models["us/gguf"] = folder
    assert "download one" in refused("us/gguf", tmp_path, r"no config\.json").hint


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (403, "GatedRepo", "is gated"),
        (401, "RepoNotFound", "no model us/odd, or it is private"),
        (500, "", r"answered with an error \(500\)"),
    ],
)
def test_what_the_hub_answers_is_put_in_words(status, code, words, served, tmp_path) -> None:
    served.trouble["us/odd"] = (status, code)
    refused("us/odd", tmp_path, words)


def test_a_model_that_does_not_exist(served, tmp_path) -> None:
    refused("us/gone", tmp_path, "no model us/gone")


def test_a_revision_that_does_not_exist(served, tmp_path) -> None:
    refused("us/tiny", tmp_path, "has no revision 'v9'", revision="v9")


def test_a_harness_gets_a_name_that_the_hub_or_its_cache_has(served, monkeypatch) -> None:
    assert folder_or_hub_id("us/tiny") == "us/tiny"
    for name, revision, words in (
        ("us/gone", "", "The hub has no model us/gone, or it is private."),
        ("us/tiny", "v9", "us/tiny has no revision 'v9'"),
    ):
        with pytest.raises(DepthError, match=words):
            folder_or_hub_id(name, revision)
    fetch("us/tiny", "", lambda _: None, check=lambda _: None)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert folder_or_hub_id("us/tiny") == "us/tiny"
    with pytest.raises(DepthError, match="HF_HUB_OFFLINE forbids"):
        folder_or_hub_id("us/gone")


def test_stopping_stops_the_download(served, tmp_path) -> None:
    def stop(event: Progress) -> None:
        if event.stage.startswith("Fetching"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch("us/tiny", "", stop, check=lambda _: None)


def test_offline_on_request(served, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    refused("us/tiny", tmp_path, "HF_HUB_OFFLINE")


class TestAdapters:
    @pytest.fixture
    def adapter(self, served, tmp_path) -> Path:
        served.models["us/lora"] = adapter_of(served.models["us/tiny"], tmp_path / "lora")
        return served.models["us/lora"]

    def test_one_is_fetched_once(self, served, adapter, tmp_path, monkeypatch) -> None:
        first = loaded("us/tiny", tmp_path, adapter="us/lora")
        assert first.info.name == "us/tiny + lora"
        assert first.info.source.endswith("with the adapter us/lora on the Hugging Face hub")
        assert served.fetched.count("adapter_model.safetensors") == 1
        assert "README.md" not in served.fetched
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
        assert loaded("us/tiny", tmp_path, adapter="us/lora").info == first.info

    def test_what_is_refused_is_not_fetched(self, served, adapter, tmp_path) -> None:
        (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
        refused("us/tiny", tmp_path, "only as a pickle", adapter="us/lora")
        served.models["us/ia3"] = change_adapter(adapter, peft_type="IA3")
        refused("us/tiny", tmp_path, "only LoRA is merged", adapter="us/ia3")
        assert not any(name.startswith("adapter_model") for name in served.fetched)
        refused("us/tiny", tmp_path, "is no adapter: it has no", adapter="us/tiny")
