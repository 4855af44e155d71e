"""`depthtui prune`, on a tiny model."""

from __future__ import annotations

from pathlib import Path

import pytest

from depthtui.cli import main
from tests.tiny_models import tiny_folder

Output = pytest.CaptureFixture[str]


pytestmark = pytest.mark.usefixtures("home")


def test_layers_are_left_out_of_a_folder(home: Path, capsys: Output) -> None:
    model, out = str(tiny_folder(home)), home / "out"
    asked = ["prune", model, "--layers", "1,2", "--out", str(out), "--device", "cpu"]
    assert main(asked) == 0
    told = capsys.readouterr().out
    assert "2 of 4 layers: 0, 3\n" in told
    assert f"wrote {out}\n" in told
    assert (out / "model.safetensors").exists()
    assert (out / "tokenizer.json").exists()
    assert main(asked) == 1
    assert "something in" in capsys.readouterr().err
    assert main(["run", str(out), "--prompt", "The river", "--device", "cpu"]) == 0


@pytest.mark.parametrize("layers", ["", "7-5", "first"])
def test_layers_that_are_none_are_bad_usage(layers: str, home: Path) -> None:
    assert main(["prune", "demo", "--layers", layers, "--out", str(home / "out")]) == 2
