"""`depthtui prune`, on a tiny model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from depthtui.cli import main
from depthtui.engine import engine as engine_module
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


@pytest.fixture
def no_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """No model is loaded."""
    monkeypatch.setattr("depthtui.engine.engine.Engine.load", lambda *_: pytest.fail("it loads"))


@pytest.mark.usefixtures("no_load")
@pytest.mark.parametrize("kind", ["/proc/x", "a" * 300, "a file", "a link", "a full folder"])
def test_a_folder_that_cannot_be_written_is_found_before_the_model_loads(
    kind: str, home: Path, capsys: Output
) -> None:
    out = home / kind
    match kind:
        case "a file":
            out.touch()
        case "a link":
            (home / "elsewhere").mkdir()
            out.symlink_to("elsewhere")
        case "a full folder":
            out.mkdir()
            (out / "thesis.txt").write_text("mine")
    model = str(tiny_folder(home))
    status = main(["prune", model, "--layers", "1", "--out", str(out), "--device", "cpu"])
    assert status == (2 if kind == "a file" else 1)
    told = capsys.readouterr()
    assert (
        "cannot be written to" in told.err or "something in" in told.err or "is a file" in told.err
    )
    assert "Something unexpected" not in told.err
    assert "wrote" not in told.out


def test_a_folder_that_appears_meanwhile_stays_and_is_not_claimed(
    home: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, out = str(tiny_folder(home)), home / "out"
    recipe = engine_module.mergekit_recipe

    def meanwhile(*args: Any) -> bytes:
        out.mkdir()
        (out / "thesis.txt").write_text("mine")
        return recipe(*args)

    monkeypatch.setattr(engine_module, "mergekit_recipe", meanwhile)
    asked = ["prune", model, "--layers", "1", "--out", str(out), "--device", "cpu"]
    assert main(asked) == 1
    told = capsys.readouterr()
    assert "wrote" not in told.out
    assert f"There is something in {out} by now" in told.err
    assert f"put into {out}-2 instead" in told.err
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]
    assert (home / "out-2" / "model.safetensors").exists()
    assert not list(home.glob(".*"))
