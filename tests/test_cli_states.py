"""`depthtui run --states`, and `read_states`: files of states in, a report out."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from depthtui import cli, read_states
from depthtui.errors import DepthError
from depthtui.metrics.engine_distance import EngineDistance
from depthtui.models import loading
from depthtui.models.placement import Size
from tests.served import states_of, write_states
from tests.tiny_models import CORPUS, tiny_folder, with_tokenizer

pytestmark = pytest.mark.usefixtures("home")

Output = pytest.CaptureFixture[str]

DISTANCE = "contributions,logit_lens,engine_distance"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("models"))


@pytest.fixture
def served(tmp_path: Path) -> Path:
    """Two requests, served in bfloat16."""
    model, tokenizer = with_tokenizer("llama")
    for number, text in enumerate(CORPUS[:2]):
        ids = tokenizer(text)["input_ids"]
        path = tmp_path / "served" / f"{number}.safetensors"
        write_states(path, ids, states_of(model, ids), torch.bfloat16)
    return tmp_path / "served"


def damage(served: Path) -> None:
    """Cut the second file short."""
    path = served / "1.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def summary(out: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads((out / "summary.json").read_text())
    return content


def test_the_report_says_where_states_come_from(
    folder: Path, served: Path, tmp_path: Path, capsys: Output
) -> None:
    out = tmp_path / "out"
    options = ["--states", str(served), "--model", str(folder), "--device", "cpu"]
    assert cli.main(["run", *options, "--out", str(out), "--format", "json,md"]) == 0
    assert "tiny-llama, bfloat16 on vLLM" in capsys.readouterr().out
    content = summary(out)
    assert content["model"]["states_from"] == f"vLLM's files in {served}"  # type: ignore[index]
    prompts = [(prompt["text"], prompt["level"]) for prompt in content["prompts"]]  # type: ignore[attr-defined]
    assert prompts == [*zip(CORPUS, ("0.safetensors", "1.safetensors"), strict=False)]
    assert "states from vLLM's files in" in (out / "summary.md").read_text()


def test_the_layer_at_which_engines_part_is_asked_for_by_a_metric(
    folder: Path, served: Path, tmp_path: Path, capsys: Output
) -> None:
    out = tmp_path / "out"
    options = ["--states", str(served), "--device", "cpu", "--metrics", DISTANCE]
    assert cli.main(["run", str(folder), *options, "--out", str(out)]) == 0
    assert "Parts from transformers" in capsys.readouterr().out
    content = summary(out)["engine_distance"]
    assert (content["layer"], content["layers_apart"]) == (None, [])  # type: ignore[index]
    assert content["rounded_to"] == "bfloat16"  # type: ignore[index]


def test_a_model_that_does_not_fit_is_read_without_that_metric(
    folder: Path, served: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    def fits_alone(_spec: object, _device: object, _dtype: object, size: Size) -> None:
        if "model.layers.1" in size.by_module:
            raise DepthError("The model needs 140 GB.")

    monkeypatch.setattr(loading, "device_map", fits_alone)
    options = ["--states", str(served), "--device", "cpu", "--metrics", DISTANCE]
    assert cli.main(["run", str(folder), *options]) == 1
    out, err = capsys.readouterr()
    assert "Distance to transformers is unavailable: The model needs 140 GB." in err
    assert "bfloat16 on vLLM" in out


def test_a_damaged_file_costs_its_own_prompt(folder: Path, served: Path, capsys: Output) -> None:
    damage(served)
    options = ["--states", str(served), "--model", str(folder), "--device", "cpu"]
    assert cli.main(["run", *options]) == 1
    out, err = capsys.readouterr()
    assert "prompt 2: " in err
    assert "bytes where it should have" in err
    assert "of 1 prompt" in out


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--prompt", "x"], "leave --prompt out"),
        (["--task", "addition"], "leave --task out"),
        (["--chat-template"], "leave --chat-template out"),
        (["--protocol", "paper"], "leave --protocol out"),
        (["demo"], "The model is named twice"),
    ],
)
def test_what_says_which_prompts_to_run_is_refused(
    tmp_path: Path, capsys: Output, options: list[str], problem: str
) -> None:
    assert cli.main(["run", "--states", str(tmp_path), "--model", "demo", *options]) == 2
    assert problem in capsys.readouterr().err


def test_a_model_is_named(capsys: Output) -> None:
    assert cli.main(["run", "--prompt", "x"]) == 2
    assert "Missing argument 'MODEL'" in capsys.readouterr().err


def test_an_empty_folder_is_told_before_anything_is_loaded(tmp_path: Path, capsys: Output) -> None:
    assert cli.main(["run", "--states", str(tmp_path), "--model", "demo"]) == 1
    assert "it has no .safetensors file" in capsys.readouterr().err


class TestFromPython:
    def test_runs_come_by_file(self, folder: Path, served: Path) -> None:
        runs = read_states(folder, served, metrics=("logit_lens",), device="cpu", progress=False)
        assert [run.prompt.text for run in runs] == [*CORPUS[:2]]
        assert runs.model.device == "vLLM"

    def test_a_model_in_memory_is_read_through_too(self, served: Path) -> None:
        model, tokenizer = with_tokenizer("llama")
        metrics = ("logit_lens", "engine_distance")
        runs = read_states(model, served, tokenizer, metrics, progress=False)
        content = runs[0].engine_distance
        assert isinstance(content, EngineDistance)
        assert np.median(content.own, axis=1).max() < content.floor

    def test_what_cannot_be_read_is_told(self, folder: Path, served: Path) -> None:
        damage(served)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            runs = read_states(folder, served, device="cpu", progress=False)
        assert [*runs.failures] == [1]
        (left_out,) = [
            prompt for prompt in caught if "Prompt 1 was left out" in str(prompt.message)
        ]
        assert left_out.filename == __file__

    def test_a_layer_is_not_looked_into(self, folder: Path, served: Path) -> None:
        runs = read_states(folder, served, device="cpu", progress=False)
        with pytest.raises(DepthError, match="does not know its model"):
            runs[0].layer(1)
