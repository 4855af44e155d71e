"""`depthtui lens`, on a tiny model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from depthtui.cli import main
from depthtui.lenses.taps import Taps
from tests.test_cli_prune import steps_in, wordy  # noqa: F401
from tests.tiny_models import HIDDEN, tiny_folder

Output = pytest.CaptureFixture[str]


pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_folder(tmp_path_factory.mktemp("models")))


def names(capsys: Output) -> list[str]:
    capsys.readouterr()
    assert main(["lens", "list"]) == 0
    return [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]]


@pytest.mark.usefixtures("wordy")
def test_a_lens_is_fitted_listed_and_removed(model: str, home: Path, capsys: Output) -> None:
    texts = home / "texts.jsonl"
    texts.write_text('{"text": "Seven plus five is twelve."}\n' * 12)
    arguments = ["--lens-texts", str(texts), "--lens-ridge", "0.5", "--device", "cpu"]
    assert main(["lens", "fit", model, *arguments]) == 0
    captured, log = capsys.readouterr()
    assert steps_in(log) == ["1 of 2", "2 of 2"]
    assert "affine lens, fitted on 11 texts" in captured
    assert "texts.jsonl, ridge 0.5" in captured
    (name,) = names(capsys)
    assert main(["lens", "remove", name]) == 0
    assert names(capsys) == []
    assert main(["lens", "remove", name]) == 1
    assert "No lens is named" in capsys.readouterr().err


def test_a_jacobian_lens_says_first_how_long_it_takes(
    model: str, home: Path, capsys: Output
) -> None:
    texts = home / "texts.jsonl"
    words = "Seven plus five is twelve, and the ferry did not run. " * 3
    texts.write_text(f'{{"text": "{words}"}}\n' * 12)
    arguments = [
        "--kind",
        "jacobian",
        "--examples",
        "1",
        "--lens-texts",
        str(texts),
        "--device",
        "cpu",
    ]
    assert main(["lens", "fit", model, *arguments]) == 0
    captured = capsys.readouterr()
    assert "Fitting the Jacobian lens takes about " in captured.err
    assert "A stop keeps the prompts that are done." in " ".join(captured.err.split())
    assert "Jacobian lens, fitted on 1 text" in captured.out


@pytest.mark.parametrize("command", [["fit"], ["import", "lens.pt"]])
def test_a_lens_that_cannot_be_kept_is_told_before_the_model_loads(
    home: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setattr("depthtui.engine.factory.make_engine", pytest.fail)
    (home / "cache").touch()
    assert main(["lens", *command, "demo"]) == 1
    assert "lenses cannot be written to" in capsys.readouterr().err


def test_a_published_lens_goes_in_and_out(model: str, home: Path, capsys: Output) -> None:
    jacobians = {block: torch.randn(HIDDEN, HIDDEN) for block in range(3)}
    torch.save({"J": jacobians, "n_prompts": 9}, home / "in.pt")
    assert main(["lens", "import", str(home / "in.pt"), model, "--device", "cpu"]) == 0
    assert "Jacobian lens, fitted on 9 texts" in capsys.readouterr().out
    (name,) = names(capsys)
    assert main(["lens", "export", name, str(home / "out.pt")]) == 0
    published = torch.load(home / "out.pt", weights_only=True)
    assert published["n_prompts"] == 9
    assert all(torch.equal(published["J"][block], jacobians[block]) for block in range(3))
    precious = home / "model.safetensors"
    precious.write_text("mine")
    capsys.readouterr()
    assert main(["lens", "export", name, str(precious)]) == 1
    captured = capsys.readouterr()
    assert f"{precious} could not be written (File exists)" in captured.err
    assert "wrote" not in captured.out
    assert precious.read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "words", "status"),
    [
        (["fit", "demo", "--examples", "3"], "--kind jacobian", 2),
        (["fit", "demo", "--kind", "jacobian", "--lens-ridge", "1"], "--kind affine", 2),
        (["fit", "demo", "--lens-ridge", "nan"], "not a number", 2),
        (
            ["fit", "demo", "--kind", "jacobian", "--examples", f"{10**20}"],
            "is not a whole number of at least 1 and at most 1,000,000",
            2,
        ),
        (["fit", "demo", "--lens-texts", "none.jsonl"], "cannot be read", 1),
        (["fit", "no/such/folder"], "no/such/folder", 1),
        (["remove", "none"], "No lens is named none", 1),
        (["export", "none", "out.pt"], "No lens is named none", 1),
    ],
)
def test_what_cannot_be_done_is_one_line(
    arguments: list[str], words: str, status: int, capsys: Output
) -> None:
    assert main(["lens", *arguments]) == status
    error = capsys.readouterr().err
    assert words in error
    assert len(error.splitlines()) == 1


def test_depths_to_tap_are_in_a_sentence_a_table_and_lines_for_a_config(
    model: str, home: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, found = Taps((2, 4, 6), 2.5, 0.0, (0.0, 0.0)), Taps((1, 4), 2.25, -0.25, (-0.5, -0.125))
    monkeypatch.setattr("depthtui.engine.lenses.choose_taps", lambda *arguments: [usual, found])
    texts = home / "texts.txt"
    texts.write_text("Seven plus five is twelve.\n" * 12)
    arguments = ["--lens-texts", str(texts), "--ahead", "0", "--device", "cpu", "--plain"]
    assert main(["lens", "taps", model, *arguments]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "The states of depths 1 and 4 predict the same token's output with KL 2.250 nats on "
        "held-out texts; those of the usual depths 2, 4 and 6 with 2.500.",
        "",
        "depths\tKL, nats\tabove usual\t95 %",
        "1, 4\t2.250\t-0.250\t-0.500 to -0.125",
        "2, 4, 6 (usual)\t2.500\tnone\tnone",
        "",
        "For the draft's config.json, where id 0 is the embedding (vLLM):",
        '"eagle_aux_hidden_state_layer_ids": [1, 4]',
        "where id 0 is the first layer's output (SGLang):",
        '"eagle_aux_hidden_state_layer_ids": [0, 3]',
    ]


def test_a_model_of_few_layers_has_no_depths_to_choose(
    model: str, home: Path, capsys: Output
) -> None:
    texts = home / "texts.txt"
    texts.write_text("Seven plus five is twelve.\n" * 20)
    arguments = ["--lens-texts", str(texts), "--device", "cpu"]
    assert main(["lens", "taps", model, *arguments]) == 1
    assert "models of 7 layers or more" in capsys.readouterr().err
