"""The model type of lm-evaluation-harness, and what happens where that is not installed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from depthtui.data.lm_eval_results import LoggedAnswers, read_answers
from depthtui.data.run_settings import ModelSpec
from depthtui.data.store import open_store
from depthtui.engine import surgery
from depthtui.engine.engine import Engine
from depthtui.errors import DepthError
from tests.tiny_models import tiny_folder

SUMS = [
    {
        "context": f"{a} plus {b} is",
        "options": [f" {a + b + d}" for d in (3, 0, 11, -1)],
        "answer": 1,
    }
    for a, b in ((12, 5), (7, 5), (23, 9), (4, 4))
]
TASK = """
task: sums
dataset_path: json
dataset_kwargs: {data_files: {test: FILE}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{context}}"
doc_to_choice: "{{options}}"
doc_to_target: answer
target_delimiter: ""
metric_list: [{metric: acc}, {metric: acc_norm}]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and beside it the same without layers 0 and 2, and a task."""
    parent = tmp_path_factory.mktemp("harness")
    folder = tiny_folder(parent)
    engine = Engine(open_store(None, 0, pytest.fail), parent / "models", lambda _: None)
    engine.load(ModelSpec(str(folder), device="cpu"))
    surgery.prune(engine, (0, 2), parent / "pruned")
    sums = parent / "sums.jsonl"
    sums.write_text("".join(json.dumps(row) + "\n" for row in SUMS))
    (parent / "tasks").mkdir()
    (parent / "tasks" / "sums.yaml").write_text(TASK.replace("FILE", str(sums)))
    return folder


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    pytest.importorskip("lm_eval")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from depthtui import lm_eval

    return lm_eval


def logged(model: str, arguments: str, folder: Path, out: Path) -> LoggedAnswers:
    """The answers in the log of the command, in a process of its own."""
    words = ["--model", model, "--model_args", arguments, "--tasks", "sums"]
    words += ["--include_path", str(folder.parent / "tasks"), "--device", "cpu"]
    words += ["--log_samples", "--output_path", str(out / "log.json"), "--batch_size", "4"]
    done = run(*words)
    assert done.returncode == 0, done.stderr
    (results,) = out.glob("log_*.json")
    (answers,) = read_answers(results)
    return answers


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "depthtui.lm_eval", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_without_layers_it_answers_as_the_pruned_folder(
    harness: Any, folder: Path, tmp_path: Path
) -> None:
    pruned = logged("hf", f"pretrained={folder.parent / 'pruned'}", folder, tmp_path / "pruned")
    without = logged("depthtui", f"pretrained={folder},without=0+2", folder, tmp_path / "without")
    assert without.model_args == {"pretrained": str(folder), "without": "0+2"}
    assert without.hashes == pruned.hashes
    for scores, others in zip(without.log_likelihoods, pruned.log_likelihoods, strict=True):
        assert scores == pytest.approx(others, abs=1e-5)
    for metric in ("acc", "acc_norm"):
        assert without.right[metric].tolist() == pruned.right[metric].tolist()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({}, {}),
        ({"without": 2}, {"layers": [2]}),
        ({"without": "0+2"}, {"layers": [0, 2]}),
        ({"without": "0-1+3"}, {"layers": [0, 1, 3]}),
        ({"without": [1, 2]}, {"layers": [1, 2]}),
        ({"without_attention": "1+2", "without_mlp": 3}, {"attention": [1, 2], "mlp": [3]}),
    ],
)
def test_arguments_name_layers_and_parts(
    harness: Any, folder: Path, arguments: dict[str, Any], named: dict[str, Any]
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from depthtui import without

    model, tokenizer = (
        kind.from_pretrained(folder) for kind in (AutoModelForCausalLM, AutoTokenizer)
    )
    ids = tokenizer("The ferry did not run", return_tensors="pt").input_ids
    with without(model, **named):
        expected = model(ids).logits
    whole = model(ids).logits
    lm = harness.DepthLM(model, tokenizer=tokenizer, **arguments)
    assert model(ids).logits.equal(expected)
    # The model that was passed is whole again with the end of the harness's own.
    del lm
    assert model(ids).logits.equal(whole)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"without": "seventeen"}, r"without must be layers such as 0-5\+20"),
        ({"without_mlp": "9"}, "There is no layer 9"),
        ({"without": "0-3"}, "keeps at least one layer"),
    ],
)
def test_layers_that_cannot_be_left_out_are_refused(
    harness: Any, folder: Path, arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(DepthError, match=words):
        harness.DepthLM(str(folder), device="cpu", **arguments)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("./nowhere", "'./nowhere' does not exist. Check the path for a typing error."),
        ("nosuchmodel", "nosuchmodel is not complete in the hub cache, and HF_HUB_OFFLINE "),
    ],
)
def test_a_missing_model_is_one_line(harness: Any, folder: Path, name: str, words: str) -> None:
    tasks = ["--tasks", "sums", "--include_path", str(folder.parent / "tasks")]
    done = run("--model", "depthtui", "--model_args", f"pretrained={name}", *tasks)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(words)


def test_without_the_harness_the_extra_is_named_and_the_rest_works() -> None:
    code = "import sys; sys.modules['lm_eval'] = None; import runpy; {}"
    rest = "import depthtui.cli, depthtui.api; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code.format(rest)], check=False)
    assert done.returncode == 0
    module = "runpy.run_module('depthtui.lm_eval', run_name='__main__')"
    command = [sys.executable, "-c", code.format(module)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("lm-evaluation-harness is not installed.")
    assert "lm-eval" in done.stderr
    assert "Traceback" not in done.stderr
