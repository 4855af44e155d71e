"""What a report says of two runs side by side."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from depthtui.data.run import RunResult
from depthtui.data.run_settings import SummarySettings
from depthtui.metrics.contributions import Contributions
from depthtui.report.export import comparison_report
from tests.builders.results import random_result

SETTINGS = SummarySettings()


def two_runs() -> tuple[RunResult, RunResult]:
    """Runs of two models of other names that part at layer 2, by the MLP."""
    a, b = random_result(name="one"), random_result(name="two")
    b.get(Contributions).mlp_cosine[2] *= -1
    return a, b


def written(a: RunResult, b: RunResult, folder: Path) -> dict[str, str]:
    report = comparison_report(a, b, SETTINGS)
    files = report.write(folder, ["md", "html", "json"], "depth")
    return {path.name: path.read_text() for path in files}


def test_every_format_says_where_two_runs_part(tmp_path: Path) -> None:
    files = written(*two_runs(), tmp_path)
    sentence = "They part at layer 2, by MLP: its work differs by "
    assert len(files) == 4
    for name, text in files.items():
        assert text.count(sentence) == 1, name
    for name in ("one", "two"):
        compared = json.loads(files[f"depth-{name}.json"])["compared"]
        assert compared["parted"]["layer"] == 2
        assert compared["parted"]["part"] == "mlp"
        assert compared["parted"]["difference"] > compared["parted"]["floor"]
        assert len(compared["runs"]) == 2


def test_a_part_that_one_run_lacks_is_null_in_json(tmp_path: Path) -> None:
    a, b = two_runs()
    b.get(Contributions).mlp_cosine[2] = float("nan")
    files = written(a, b, tmp_path)
    parted = json.loads(files["depth-one.json"])["compared"]["parted"]
    assert (parted["layer"], parted["difference"]) == (2, None)


def test_runs_that_cannot_be_compared_say_nothing_of_it(tmp_path: Path) -> None:
    a, b = two_runs()
    b = replace(b, model=replace(b.model, architecture="Other", vocab_size=7))
    files = written(a, b, tmp_path)
    assert "They part" not in files["depth.md"]
    assert "compared" not in json.loads(files["depth-one.json"])
