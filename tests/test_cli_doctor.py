"""`depthtui doctor` on machines that are made up."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import torch

from depthtui import cli
from depthtui.cli import checks
from depthtui.data.run_settings import ModelSpec
from depthtui.data.store import make_key, open_store
from depthtui.engine.acceptance import DeviceComparison
from depthtui.models import devices as devices_module
from depthtui.models import reach
from depthtui.models.devices import Device
from tests.tiny_models import tiny_folder

Output = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which all is well."""
    monkeypatch.setenv("DEPTHTUI_CONFIG", str(tmp_path / "settings.toml"))
    monkeypatch.setenv("DEPTHTUI_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    monkeypatch.setattr(reach, "reaches", lambda endpoint: True)
    cpu = Device("cpu", "cpu", 64 << 30, 32 << 30, "bfloat16")
    monkeypatch.setattr(devices_module, "devices", lambda: [cpu])
    monkeypatch.setattr(checks.shutil, "which", lambda name: None)
    return tmp_path


def doctor(capsys: Output, *options: str) -> tuple[int, dict[str, Any]]:
    status = cli.main(["doctor", "--json", *options])
    return status, json.loads(capsys.readouterr().out)


def checks_of(report: dict[str, Any], topic: str, level: str) -> list[dict[str, Any]]:
    return [
        check for check in report["checks"] if (check["topic"], check["level"]) == (topic, level)
    ]


def test_a_machine_on_which_all_is_well(capsys: Output) -> None:
    status, report = doctor(capsys)
    assert status == 0
    assert report["ok"]
    topics = ["versions", "devices", "schedulers", "elsewhere", "ranks", "terminal", "settings"]
    topics += ["cache", "hub", "models"]
    assert list(dict.fromkeys(check["topic"] for check in report["checks"])) == topics
    (versions,) = checks_of(report, "versions", "ok")
    assert versions["facts"]["versions"]["torch"] == importlib.metadata.version("torch")
    assert all(check["level"] == "ok" or check["helps"] for check in report["checks"])


def test_it_says_for_how_many_ranks_a_model_can_be_cut(capsys: Output, tmp_path: Path) -> None:
    folder = str(tiny_folder(tmp_path))
    status, report = doctor(capsys, "--tensor-parallel", "2", "--model", folder)
    (check,) = checks_of(report, "ranks", "ok")
    assert status == 0
    assert check["facts"]["sizes"] == [2]
    status, report = doctor(capsys, "--tensor-parallel", "3", "--model", folder)
    (check,) = checks_of(report, "ranks", "broken")
    assert status == 1
    assert check["helps"] == "Numbers of ranks that work: 2."


def test_it_is_read_by_people_too(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "reaches", lambda endpoint: False)
    assert cli.main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "cpu: 34.4 GB of 68.7 GB free; dtype auto is bfloat16" in out
    assert "Qwen2.5-Math-7B, DeepSeek-R1-Distill-Qwen-7B: fits in float32" in out
    assert "To do: Check the network" in out


def test_a_library_that_is_too_old_or_absent(
    capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name in ("scipy", "bitsandbytes"):
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.0" if name == "torch" else real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    status, report = doctor(capsys)
    assert status == 1
    assert not report["ok"]
    broken = checks_of(report, "versions", "broken")
    assert [check["says"].split()[0] for check in broken] == ["scipy", "torch"]
    assert "torch 1.0 is installed, and depthtui needs >=2" in broken[1]["says"]
    assert all(check["helps"].startswith("pip install") for check in broken)
    (quantize,) = checks_of(report, "versions", "note")
    assert "--quantize" in quantize["says"]


def test_a_torch_that_does_not_work(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> list[Device]:
        raise OSError("libcudart.so.12: cannot open shared object file\nmore")

    monkeypatch.setattr(devices_module, "devices", fail)
    status, report = doctor(capsys)
    assert status == 1
    (check,) = checks_of(report, "devices", "broken")
    assert "libcudart.so.12" in check["says"]
    assert "more" not in check["says"]
    assert len(checks_of(report, "models", "ok")) == 1


def test_gpus(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    devices = [
        Device("cuda:0", "NVIDIA H100", 80 << 30, 79 << 30, "bfloat16", "9.0"),
        Device("cuda:1", "Tesla T4", 16 << 30, 15 << 30, "float16", "7.5"),
        Device("cpu", "cpu", 64 << 30, 32 << 30, "bfloat16"),
    ]
    monkeypatch.setattr(devices_module, "devices", lambda: devices)
    status, report = doctor(capsys)
    assert status == 0
    first = checks_of(report, "devices", "ok")[0]
    assert first["says"].startswith("cuda:0, NVIDIA H100: 84.8 GB of 85.9 GB free")
    assert "compute capability 9.0" in first["says"]
    assert first["facts"]["total"] == 80 << 30
    assert "dtype auto is float16" in checks_of(report, "devices", "ok")[1]["says"]


def put_slurm(folder: Path, sinfo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands of a Slurm that prints its version, and of its `sinfo` what is given."""
    for name, line in (("sbatch", "echo slurm-wlm 24.11.5"), ("sinfo", sinfo)):
        (folder / name).write_text(f"#!/bin/sh\n{line}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setattr(checks.shutil, "which", lambda name: str(folder / name))
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_schedulers(home: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Device("cuda:0", "NVIDIA H100", 80 << 30, 79 << 30, "bfloat16", "9.0")
    devices = [gpu, gpu, *devices_module.devices()]
    monkeypatch.setattr(devices_module, "devices", lambda: devices)
    put_slurm(home, "echo low; echo high; echo low", monkeypatch)
    (check,) = checks_of(doctor(capsys)[1], "schedulers", "ok")
    assert check["says"] == "Slurm 24.11.5 (partitions: low, high), 2 CUDA GPUs"
    assert check["facts"] == {
        "slurm": "24.11.5",
        "partitions": ["low", "high"],
        "gpus": 2,
    }


def test_what_reaches_an_engine_elsewhere(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks.shutil, "which", lambda name: name in ("ssh", "docker") or None)
    (check,) = checks_of(doctor(capsys)[1], "elsewhere", "ok")
    assert check["says"] == "--engine-command can use ssh, docker"
    monkeypatch.setattr(checks.shutil, "which", lambda name: None)
    (check,) = checks_of(doctor(capsys)[1], "elsewhere", "ok")
    assert check["says"].startswith("none of ssh, srun,")


def test_a_slurm_that_does_not_answer(
    home: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_slurm(home, "echo Unable to contact slurm controller >&2; exit 1", monkeypatch)
    status, report = doctor(capsys)
    assert status == 0
    (note,) = checks_of(report, "schedulers", "note")
    assert "partitions: Unable to contact slurm controller." in note["says"]
    assert checks_of(report, "schedulers", "ok")[0]["says"].startswith("Slurm 24.11.5, ")


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch sees the GPU")
def test_a_torch_without_cuda_beside_a_driver(
    capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    status, report = doctor(capsys)
    assert status == 0
    (check,) = checks_of(report, "devices", "note")
    assert "sees no CUDA device" in check["says"]
    assert "CUDA" in check["helps"]


def test_broken_settings(home: Path, capsys: Output) -> None:
    (home / "settings.toml").write_text("seed = 'x'")
    status, report = doctor(capsys)
    assert status == 1
    (check,) = checks_of(report, "settings", "broken")
    assert "seed" in check["says"]
    assert check["helps"]
    assert checks_of(report, "cache", "ok")


def test_settings_that_nobody_knows(home: Path, capsys: Output) -> None:
    (home / "settings.toml").write_text("sed = 1")
    status, report = doctor(capsys)
    assert status == 0
    (check,) = checks_of(report, "settings", "note")
    assert "sed" in check["says"]


def test_the_cache_is_verified(home: Path, capsys: Output) -> None:
    store = open_store(home / "cache", 1 << 20, pytest.fail)
    for number in range(3):
        store.put(make_key("result", number=number), b"value", "a run", "result")
    damaged = next((home / "cache").rglob("*.val"))
    damaged.write_bytes(b"nonsense")
    status, report = doctor(capsys)
    assert status == 0
    (check,) = checks_of(report, "cache", "ok")
    assert check["facts"]["entries"] == 2
    assert check["facts"]["damaged"] == 1
    (note,) = checks_of(report, "cache", "note")
    assert "1 of 3 entries" in note["says"]


def test_a_cache_that_cannot_be_used(home: Path, capsys: Output) -> None:
    (home / "cache" / "results").mkdir(parents=True)
    (home / "cache" / "results" / "cache.db").write_bytes(b"no database at all" * 99)
    status, report = doctor(capsys)
    assert status == 1
    (check,) = checks_of(report, "cache", "broken")
    assert "is left as it is" in check["says"]
    assert "--cache-dir" in check["helps"]


def test_a_damaged_index_is_made_anew_and_noted(home: Path, capsys: Output) -> None:
    store = open_store(home / "cache", 1 << 20, pytest.fail)
    store.put(make_key("result", number=1), b"value", "a value", "result")
    store.close()
    (home / "cache" / "results" / "cache.db").write_bytes(b"no database at all" * 99)
    _, report = doctor(capsys)
    (check,) = checks_of(report, "cache", "note")
    assert "set aside" in check["says"]
    assert not checks_of(report, "cache", "broken")


def test_no_cache_is_made(home: Path, capsys: Output) -> None:
    doctor(capsys)
    assert not (home / "cache").exists()


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_a_hub_that_must_not_be_asked(
    name: str, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "1")
    monkeypatch.setattr(reach, "reaches", lambda endpoint: pytest.fail("asked"))
    status, report = doctor(capsys)
    assert status == 0
    (check,) = checks_of(report, "hub", "note")
    assert "HF_HUB_OFFLINE" in check["helps"]


def test_a_hub_that_is_away(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "reaches", lambda endpoint: False)
    status, report = doctor(capsys)
    assert status == 0
    (check,) = checks_of(report, "hub", "note")
    assert "cannot be reached" in check["says"]
    assert check["facts"]["reachable"] is False


def test_a_terminal_without_unicode(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_encoding", lambda: "ascii")
    status, report = doctor(capsys)
    assert status == 0
    (check,) = checks_of(report, "terminal", "note")
    assert "UTF-8" in check["helps"]


@pytest.mark.parametrize(
    ("colors", "words", "noted"),
    [
        ("truecolor", "16 million colours", False),
        ("256", "256 colours", False),
        ("standard", "16 colours", True),
    ],
)
def test_the_colours_of_a_terminal(
    colors: str, words: str, noted: bool, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "_colors", lambda: colors)
    _, report = doctor(capsys)
    (check,) = checks_of(report, "terminal", "ok")
    assert words in check["says"]
    assert bool(checks_of(report, "terminal", "note")) == noted


Compared: TypeAlias = Callable[[float, float], None]
"""Sets how far two metrics are off in bfloat16, of which 0.01 is allowed."""


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> Compared:
    def make(*off: float) -> None:
        metrics = zip(("Contributions", "Ablation"), off, strict=True)
        rows = [DeviceComparison(title.lower(), title, by, by, 0.01) for title, by in metrics]

        def compare(spec: ModelSpec, *_: object) -> Iterator[DeviceComparison]:
            assert (spec.name, spec.device, spec.dtype) == ("demo", "cpu", "bfloat16")
            return iter(rows)

        monkeypatch.setattr("depthtui.engine.acceptance.compare_devices", compare)

    return make


class TestDevice:
    """`--device`: once with a tiny model on the CPU, else of comparisons that are made up."""

    @pytest.mark.usefixtures("short_texts")
    def test_every_metric_is_compared(self, home: Path, capsys: Output) -> None:
        folder = str(tiny_folder(home))
        status = cli.main(["doctor", "--device", "cpu", "--dtype", "float32", "--model", folder])
        out, err = capsys.readouterr()
        assert status == 0
        assert "Skip effects" in out
        assert "DepthScore" in out
        assert out.splitlines()[1].split()[:2] == ["Contributions", "ok"]
        assert "loading" in err

    @pytest.mark.parametrize("is_ok", [True, False])
    def test_json(self, compared: Compared, is_ok: bool, capsys: Output) -> None:
        compared(1e-5, 1e-5 if is_ok else 0.1)
        status, report = doctor(capsys, "--device", "cpu", "--dtype", "bfloat16")
        assert status == (0 if is_ok else 1)
        assert report["ok"] is is_ok
        assert [metric["ok"] for metric in report["metrics"]] == [True, is_ok]
        assert {"metric", "difference", "tolerance", "floor", "seconds_there", "peak_bytes"} <= set(
            report["metrics"][0]
        )

    def test_a_metric_that_is_off_is_the_status(self, compared: Compared, capsys: Output) -> None:
        compared(0.1, 1e-5)
        assert cli.main(["doctor", "--device", "cpu", "--dtype", "bfloat16"]) == 1
        lines = [line.split()[:2] for line in capsys.readouterr().out.splitlines()[1:3]]
        assert lines == [["Contributions", "off"], ["Ablation", "ok"]]

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
    def test_a_device_that_is_not_there(self, capsys: Output) -> None:
        assert cli.main(["doctor", "--device", "cuda:0"]) == 1
        assert "There is no CUDA device here" in capsys.readouterr().err

    def test_a_dtype_alone_is_no_question(self, capsys: Output) -> None:
        assert cli.main(["doctor", "--dtype", "bfloat16"]) == 2
        assert "--dtype needs --device" in capsys.readouterr().err
