"""Logs of lm-evaluation-harness 0.4.13 are read, and what is no log is refused in words.

`lm_eval/whole` and `lm_eval/without` are of the demo model, whole and without two layers, on four
sums: with options (`sums`) and written, after two filters (`written`).
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from depthtui.data import lm_eval_results
from depthtui.data.lm_eval_results import paired, read_answers
from depthtui.errors import DepthError
from tests.odd_files import ODD_FILES, put_odd_file

LOGS = Path(__file__).parent / "lm_eval"


def only(folder: Path, pattern: str) -> Path:
    (path,) = folder.glob(pattern)
    return path


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log to damage."""
    return shutil.copytree(LOGS / "whole", tmp_path / "log")


def refusal(path: Path) -> str:
    with pytest.raises(DepthError) as caught:
        read_answers(path)
    return str(caught.value)


def test_options_have_their_log_likelihoods_and_right_answers() -> None:
    sums = read_answers(only(LOGS / "whole", "results*"))[0]
    assert (sums.task, sums.filter, sums.model) == ("sums", "none", "depthtui")
    assert sums.model_args == {"pretrained": "demo", "dtype": "float32"}
    assert sums.ids.tolist() == [0, 1, 2, 3]
    lines = only(LOGS / "whole", "samples_sums*").read_text("utf-8").splitlines()
    for place, row in enumerate(map(json.loads, lines)):
        options = [len(text) for text in row["doc"]["options"]]
        scores = sums.log_likelihoods[place]
        assert scores.tolist() == [float(score) for score, _greedy in row["filtered_resps"]]
        assert sums.hashes[place] == row["doc_hash"]
        assert sums.right["acc"][place] == (scores.argmax() == row["doc"]["answer"])
        likeliest = (scores / options).argmax()
        assert sums.right["acc_norm"][place] == (likeliest == row["doc"]["answer"])
    assert sums.right["acc"].dtype == np.bool_


def test_written_answers_are_read_by_each_filter() -> None:
    _sums, strict, flexible = read_answers(only(LOGS / "whole", "results*"))
    assert (strict.filter, flexible.filter) == ("strict-match", "flexible-extract")
    assert strict.right["exact_match"].tolist() == [True, False, False, True]
    assert not flexible.right["exact_match"].any()
    assert strict.log_likelihoods == ()
    assert read_answers(only(LOGS / "whole", "samples_written*"))[0].model == "depthtui"


def test_samples_alone_are_enough(tmp_path: Path) -> None:
    path = tmp_path / "any name.jsonl"
    shutil.copyfile(only(LOGS / "without", "samples_sums*"), path)
    (answers,) = read_answers(path)
    assert (answers.task, answers.model, answers.model_args) == ("any name", "", {})
    assert answers.right["acc"].tolist() == [True, False, False, True]


def test_logs_are_paired_by_document() -> None:
    whole, without = (
        read_answers(only(LOGS / name, "results*"))[0] for name in ("whole", "without")
    )
    assert without.model_args["without"] == "17+25"
    first, second = paired(whole, without.at([3, 1, 0]))
    assert first.hashes == second.hashes == (whole.hashes[0], whole.hashes[1], whole.hashes[3])
    assert first.ids.tolist() == second.ids.tolist() == [0, 1, 3]
    assert (first.right["acc"] & ~second.right["acc"]).tolist() == [False, True, False]
    assert second.log_likelihoods[1].tolist() == without.log_likelihoods[1].tolist()


def test_a_document_that_is_there_twice_is_paired_in_turn() -> None:
    whole = read_answers(only(LOGS / "whole", "results*"))[0]
    first, second = paired(whole.at([2, 0, 2, 2]), whole.at([2, 2, 1]))
    assert first.ids.tolist() == second.ids.tolist() == [2, 2]


def test_logs_without_a_common_document_are_no_pair() -> None:
    whole = read_answers(only(LOGS / "whole", "results*"))[0]
    with pytest.raises(DepthError, match="no document in common"):
        paired(whole.at([0, 1]), whole.at([2, 3]))


def test_results_without_samples_are_refused(log: Path) -> None:
    for path in log.glob("samples*"):
        path.unlink()
    words = refusal(only(log, "results*"))
    assert "no samples beside it" in words
    assert "--log_samples" in words


def test_an_empty_file_has_no_samples(log: Path) -> None:
    only(log, "samples_sums*").write_text("")
    assert "has no samples" in refusal(only(log, "samples_sums*"))


@pytest.mark.parametrize("content", ["", "{", "[1]", "{}", '{"configs": 1, "config": 2}', "\xff"])
def test_other_files_are_no_results(tmp_path: Path, content: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(content, "latin-1")
    assert "has no results of lm-evaluation-harness" in refusal(path)


@pytest.mark.parametrize(
    "line",
    [
        '{"text": "a prompt"}',
        "[]",
        "17",
        "not JSON",
        '{"doc_id": "0", "doc_hash": "a", "filter": "none", "metrics": [], "filtered_resps": []}',
        '{"doc_id": 0, "doc_hash": "a", "filter": "none", "metrics": [["acc"]]}',
        '{"doc_id": 0, "doc_hash": "a", "filter": "none", "metrics": ["acc"], "acc": 1,'
        ' "filtered_resps": [["many", "True"]]}',
    ],
)
def test_a_line_that_is_no_sample_is_named(log: Path, line: str) -> None:
    path = only(log, "samples_sums*")
    path.write_text(path.read_text("utf-8") + line + "\n", "utf-8")
    assert "line 5 is no sample" in refusal(path)


def test_a_file_that_was_cut_off_is_damaged(log: Path) -> None:
    path = only(log, "samples_sums*")
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    assert "line 4" in refusal(path)
    path.write_bytes(b"".join(whole.splitlines(keepends=True)[:3]))
    assert "3 of 4 documents" in refusal(path)


def test_numbers_of_any_size_are_refused(log: Path) -> None:
    path = only(log, "samples_sums*")
    lines = path.read_text("utf-8").splitlines()
    row = json.loads(lines[0])
    for changed in ({"doc_id": 10**30}, {"filtered_resps": [[10**400, "False"]]}):
        path.write_text("\n".join([json.dumps({**row, **changed}), *lines[1:]]), "utf-8")
        assert "line 1 is no sample" in refusal(path)


def test_arguments_without_names_and_tasks_that_are_paths_are_refused(log: Path) -> None:
    path = only(log, "results_*")
    results = json.loads(path.read_text("utf-8"))
    results["config"]["model_args"] = ["pretrained", "demo"]
    path.write_text(json.dumps(results), "utf-8")
    assert "`model_args` has no names" in refusal(path)
    results["configs"] = {"a/b": {}}
    path.write_text(json.dumps(results), "utf-8")
    assert "no samples beside it" in refusal(path)


def test_metrics_that_are_no_right_answers_are_left_out(log: Path) -> None:
    path = only(log, "samples_sums*")
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]

    def with_values(first: object) -> None:
        rows[0]["acc"] = first
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")

    with_values(0.5)
    assert read_answers(path)[0].right.keys() == {"acc_norm"}
    for row in rows:
        row["metrics"] = ["acc"]
    with_values([1, 2])
    assert "has no right answers: 'acc' is not 0 or 1" in refusal(path)


@pytest.mark.parametrize("kind", ODD_FILES)
@pytest.mark.parametrize("name", ["results_1.json", "samples_1.jsonl"])
def test_odd_files_are_refused(tmp_path: Path, kind: str, name: str) -> None:
    put_odd_file(tmp_path / name, kind)
    assert name in refusal(tmp_path / name)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "There is no file" in refusal(tmp_path / "samples_a.jsonl")


def test_a_line_without_end_is_not_read_whole(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lm_eval_results, "_LARGEST", 100)
    assert "has no results" in refusal(only(log, "results*"))
    path = only(log, "samples_sums*").rename(log / "samples.jsonl")
    assert "line 1 is no sample" in refusal(path)
