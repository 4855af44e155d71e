"""Right answers in logs of lm-evaluation-harness: counted, and compared document by document.

The logs are of the demo model, whole and without two layers, on four sums (see
`tests/data/test_lm_eval_results.py`).
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from depthtui.cli import main
from depthtui.data.lm_eval_results import LoggedAnswers, read_answers
from depthtui.data.run_settings import SummarySettings
from depthtui.errors import DepthError
from depthtui.metrics.accuracy.answer_statistics import wilson
from depthtui.report.export import run_report
from depthtui.report.logged_answers import logged_counts, logged_pairs, model_words
from tests.builders.results import full_run
from tests.report.test_documents import checked
from tests.tiny_models import tiny_folder

Output = pytest.CaptureFixture[str]

LOGS = Path(__file__).parents[1] / "data" / "lm_eval"


def path_of(name: str, pattern: str = "results*") -> Path:
    (path,) = (LOGS / name).glob(pattern)
    return path


@pytest.fixture
def whole() -> list[LoggedAnswers]:
    return read_answers(path_of("whole"))


@pytest.fixture
def without() -> list[LoggedAnswers]:
    return read_answers(path_of("without"))


def test_each_metric_of_each_filter_is_counted(whole: list[LoggedAnswers]) -> None:
    counts = [count for answers in whole for count in logged_counts(answers)]
    assert [(count.title, count.metric, count.right, count.questions) for count in counts] == [
        ("sums", "acc", 3, 4),
        ("sums", "acc_norm", 3, 4),
        ("written, strict-match", "exact_match", 2, 4),
        ("written, flexible-extract", "exact_match", 0, 4),
    ]
    assert counts[0].words == "3 of 4 (30% to 95%)"


def test_two_logs_are_compared_document_by_document(
    whole: list[LoggedAnswers], without: list[LoggedAnswers]
) -> None:
    pairs = logged_pairs(whole, without[::-1])
    assert [pair.after.title for pair in pairs] == [pair.before.title for pair in pairs]
    sums, _norm, strict, _flexible = pairs
    assert (sums.before.right, sums.after.right) == (3, 2)
    assert (sums.pair.lost, sums.pair.gained) == (1, 0)
    assert (strict.pair.lost, strict.pair.gained) == (2, 0)
    assert sums.pair.words().startswith("lost 1, gained 0 of 4: 25 points fewer")


def test_documents_of_one_log_alone_do_not_count(
    whole: list[LoggedAnswers], without: list[LoggedAnswers]
) -> None:
    (pair, _) = logged_pairs(whole, [without[0].at([3, 1])])
    assert (pair.before.questions, pair.after.questions, pair.documents) == (2, 2, (4, 2))


def test_a_metric_of_one_log_alone_is_left_out(
    whole: list[LoggedAnswers], without: list[LoggedAnswers]
) -> None:
    other = replace(without[0], right={"acc": without[0].right["acc"]})
    assert [pair.before.metric for pair in logged_pairs(whole, [other])] == ["acc"]
    with pytest.raises(DepthError, match="no task, filter and metric in common"):
        logged_pairs(whole, [replace(other, task="another")])


def test_a_model_is_named_by_its_arguments(whole: list[LoggedAnswers]) -> None:
    assert model_words(whole) == "depthtui, pretrained=demo, dtype=float32"
    assert model_words([replace(whole[0], model="")]) == ""


def test_they_are_at_the_top_of_a_run_s_report(whole: list[LoggedAnswers], tmp_path: Path) -> None:
    run_report([full_run()], SummarySettings(), logged=whole).write(
        tmp_path, ["md", "json", "html"]
    )
    text = (tmp_path / "summary.md").read_text("utf-8")
    assert text.index("| sums | acc | 3 of 4 (30% to 95%) |") < text.index("keeps nine tenths")
    assert "Of depthtui, pretrained=demo, dtype=float32." in text
    checked((tmp_path / "summary.html").read_text("utf-8"))
    found = json.loads((tmp_path / "summary.json").read_text("utf-8"))["lm_eval"]
    assert found["model_args"]["pretrained"] == "demo"
    assert found["answers"][0] == {
        "task": "sums",
        "filter": "none",
        "metric": "acc",
        "questions": 4,
        "right": 3,
        "interval": list(wilson(3, 4)),
    }


def test_a_run_has_those_of_its_model(tmp_path: Path, capsys: Output) -> None:
    words = ["--prompt", "The ferry did not run.", "--metrics", "contributions", "--no-cache"]
    files = ["--lm-eval", str(path_of("whole")), "--out", str(tmp_path / "out")]
    model = [str(tiny_folder(tmp_path)), "--device", "cpu"]
    assert main(["run", *model, *words, *files]) == 0
    assert "3 of 4 (30% to 95%)" in capsys.readouterr().out
    summary = json.loads((tmp_path / "out" / "summary.json").read_text("utf-8"))
    assert len(summary["lm_eval"]["answers"]) == 4


def test_the_command_compares(capsys: Output, tmp_path: Path) -> None:
    assert main(["compare-answers", str(path_of("whole")), str(path_of("without"))]) == 0
    output = capsys.readouterr()
    lines = [line for line in output.out.splitlines() if line.startswith("sums ")]
    assert "acc " in lines[0]
    assert "3 of 4 (30% to 95%)" in lines[0]
    assert "2 of 4 (15% to 85%)" in lines[0]
    assert "lost 1, gained 0 of 4: 25 points fewer" in lines[0]
    assert lines[0].rstrip().endswith(" 1")
    assert "after: depthtui, pretrained=demo, dtype=float32, without=17+25" in output.err
    assert "in both logs" not in output.err


def test_the_command_names_tasks_that_are_compared_in_part(capsys: Output, tmp_path: Path) -> None:
    short = tmp_path / "samples_sums_2026-12-01T00-00-00.jsonl"
    lines = path_of("without", "samples_sums*").read_text("utf-8").splitlines(keepends=True)
    short.write_text("".join(lines[:3]), "utf-8")
    assert main(["compare-answers", str(path_of("whole")), str(short)]) == 0
    notices = capsys.readouterr().err.splitlines()
    assert notices[1:] == ["depthtui: sums: 3 documents are in both logs, of 4 and 3."]


def test_a_file_that_is_no_log_is_refused(capsys: Output, tmp_path: Path) -> None:
    path = tmp_path / "results_x.json"
    path.write_text("{}")
    assert main(["compare-answers", str(path_of("whole")), str(path)]) == 1
    assert "has no results of lm-evaluation-harness" in capsys.readouterr().err
    assert main(["run", "demo", "--prompt", "x", "--lm-eval", str(path)]) == 1
    output = capsys.readouterr()
    assert "has no results of lm-evaluation-harness" in output.err
    assert not output.out
