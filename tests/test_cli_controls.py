"""`depthtui doctor --controls`, on a tiny model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from depthtui.cli import main
from depthtui.data.controls import Controls
from tests.test_cli_prune import steps_in, wordy  # noqa: F401
from tests.tiny_models import tiny_folder

Output = pytest.CaptureFixture[str]

pytestmark = pytest.mark.usefixtures("home", "short_texts")

ASKED = ("--task", "addition", "--level", "2", "--examples", "5", "--device", "cpu")


def doctor(home: Path, *options: str) -> int:
    return main(["doctor", "--controls", str(tiny_folder(home)), *options])


@pytest.mark.usefixtures("wordy")
def test_a_table_what_each_row_is_for_and_a_conclusion(home: Path, capsys: Output) -> None:
    assert doctor(home, *ASKED) == 0
    out, log = capsys.readouterr()
    assert steps_in(log) == [f"{number} of 4" for number in range(1, 5)]
    heading, *rows = out.split("\n\n")[0].splitlines()
    assert "nine tenths of 4" in heading
    assert "loss (ln V" in heading
    titles = ("the model", "shuffled words", "random orders of layers", "untrained")
    for title, row in zip(titles, rows, strict=True):
        assert row.strip().startswith(title)
        assert f"\n{title}: " in out
    assert "too little known" in out
    assert "5 prompts of addition" in out
    assert out.splitlines()[-1].startswith("The model knows too little of these prompts")
    assert len(list(home.rglob("*.controls.json"))) == 1


def test_json_and_a_run_of_the_model_that_names_them_from_then_on(
    home: Path, capsys: Output
) -> None:
    model = str(tiny_folder(home))
    arguments = ["run", model, "--prompt", "The river runs", "--device", "cpu"]
    assert main(arguments) == 0
    assert "Controls on" not in capsys.readouterr().out
    assert doctor(home, *ASKED, "--json") == 0
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert set(Controls.__dataclass_fields__) | {"guess", "stands", "sentence"} == set(report)
    assert [row["name"] for row in report["rows"]][-1] == "untrained"
    assert report["stands"] is False
    assert report["prompts"] == 5
    assert main([*arguments, "--out", str(home / "out"), "--format", "md"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "Controls on all tokens of 5 prompts of addition" in out
    (record,) = (home / "out").iterdir()
    assert "Controls on all tokens of 5 prompts of addition" in record.read_text()


def test_ten_commonsense_prompts_by_itself(
    home: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    used_prompts: list[Any] = []

    def find(engine: Any, prompts: Any, settings: Any, control: Any) -> Any:
        used_prompts.extend(prompts)
        control.stop()
        control.checkpoint()

    monkeypatch.setattr("depthtui.engine.controls.find_controls", find)
    assert doctor(home, "--device", "cpu") == 130
    assert "Nothing was saved" in capsys.readouterr().err
    assert {prompt.task for prompt in used_prompts} == {"commonsense"}
    assert len(used_prompts) == 10


def test_prompts_alone_are_no_question(capsys: Output) -> None:
    assert main(["doctor", "--task", "addition"]) == 2
    assert "--controls" in capsys.readouterr().err
