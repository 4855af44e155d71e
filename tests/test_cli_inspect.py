"""`depthtui inspect`, on a tiny model."""

from __future__ import annotations

import json

import pytest

from depthtui.cli import main
from depthtui.engine.engine import Engine
from tests.tiny_models import tiny_folder

Output = pytest.CaptureFixture[str]

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_folder(tmp_path_factory.mktemp("models")))


def inspect(model: str, *more: str) -> int:
    prompt = ["--prompt", "Seven plus five is", "--answer", "twelve", "--device", "cpu"]
    return main(["inspect", model, *prompt, "--layer", "2", *more])


def test_the_page_is_shown_at_the_token_before_the_answer(model: str, capsys: Output) -> None:
    assert inspect(model, "--format", "json") == 0
    page = json.loads(capsys.readouterr().out)
    assert page["target"]["is"] == "answer"
    assert page["tokens"][-1] == " is"
    assert inspect(model) == 0
    output = capsys.readouterr().out
    for heading in ("Before and after", "Reads", "Writes", "Heads", "Neurons"):
        assert heading in output
    assert inspect(model, "--format", "md", "--token", "0") == 0
    assert "# Layer 2 at token 0" in capsys.readouterr().out
    assert inspect(model, "--format", "html") == 0
    assert "<table" in capsys.readouterr().out


def test_a_layer_that_is_not_there_is_refused_before_anything_is_loaded(
    model: str, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Engine, "load", lambda self, spec: pytest.fail("the model is loaded"))
    for layer in ("4", "-1"):
        assert main(["inspect", model, "--prompt", "a b", "--layer", layer, "--device", "cpu"]) == 1
        assert f"There is no layer {layer}. Layers are 0 to 3." in capsys.readouterr().err


def test_what_is_not_there_is_told(model: str, capsys: Output) -> None:
    assert inspect(model, "--token", "99") == 1
    assert "There is no token 99" in capsys.readouterr().err
    assert inspect(model, "--lens", "affine") == 1
    assert "has not been fitted" in capsys.readouterr().err
