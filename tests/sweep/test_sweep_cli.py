"""`depthtui sweep`, with a scripted engine in place of the real one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from depthtui import cli
from depthtui.data.run_settings import DEFAULT_METRICS, ModelSpec, RunSettings, Writing
from depthtui.report.formats import FORMATS, default_formats
from depthtui.settings import datasets_dir, default_cache_dir
from tests.builders.engines import ScriptedEngine
from tests.report.test_logged_answers import path_of

Output = pytest.CaptureFixture[str]


pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> ScriptedEngine:
    scripted = ScriptedEngine({"alpha": 12, "Qwen/Qwen2.5-7B-Instruct": 28})
    monkeypatch.setattr("depthtui.engine.factory.make_engine", lambda *engine_arguments: scripted)
    return scripted


def run(*arguments: str) -> int:
    return cli.main(["sweep", *arguments])


def test_it_prints_the_table_and_writes_the_report(
    engine: ScriptedEngine, home: Path, capsys: Output
) -> None:
    out = home / "out"
    models = ("--model", "alpha", "--model", "Qwen/Qwen2.5-7B-Instruct")
    tasks = ("--task", "addition:1-2", "--task", "grade_school", "--examples", "5")
    assert run(*models, *tasks, "--out", str(out)) == 0
    text = capsys.readouterr().out
    assert "alpha: 12 layers, float32 on cpu" in text
    assert "≈ paper 26" in text
    for question in ("grow with size", "differ on the same prompts", "harder tasks use more"):
        assert question in text
    assert {path.name for path in out.iterdir()} == {
        "records",
        "sweep.json",
        *(
            f"report.{name}"
            for name in default_formats("sweeps")
            if FORMATS[name].has_whole("sweeps")
        ),
        "figures",
    }


def test_options_reach_the_engine(engine: ScriptedEngine, home: Path) -> None:
    options = (
        "--dtype bfloat16 --device cpu --quantize 8bit --lens-top-k 4 --seed 9 --chat-template"
    )
    assert run("--model", "alpha", "--task", "facts", "--examples", "1", *options.split()) == 0
    assert engine.model.spec == ModelSpec("alpha", "", "cpu", "bfloat16", "8bit")
    assert engine.settings == [RunSettings(4, chat_template=True, metrics=DEFAULT_METRICS, seed=9)]


def test_without_out_the_same_command_goes_on(
    engine: ScriptedEngine, home: Path, capsys: Output
) -> None:
    for _ in range(2):
        assert run("--model", "alpha", "--task", "facts", "--examples", "2") == 0
    assert len(engine.runs) == 2
    assert run("--model", "alpha", "--task", "facts:1", "--examples", "2") == 0
    assert len(engine.runs) == 4
    assert len(list((home / "cache" / "sweeps").iterdir())) == 2


def test_a_plan_file_and_options_add_up(engine: ScriptedEngine, home: Path) -> None:
    plan = home / "plan.toml"
    plan.write_text("examples = 1\n[[model]]\nname = 'alpha'\n[[task]]\nname = 'facts'\n")
    assert run(str(plan), "--model", "beta", "--task", "commonsense", "--out", str(home / "o")) == 0
    report = json.loads((home / "o" / "report.json").read_text())
    assert [(cell["title"], cell["task"]) for cell in report["cells"]] == [
        ("alpha", "facts"),
        ("alpha", "commonsense"),
        ("beta", "facts"),
        ("beta", "commonsense"),
    ]


@pytest.mark.parametrize("has_home", [False, True])
def test_a_plan_may_be_a_pipe_or_lie_in_the_home_folder(
    engine: ScriptedEngine, home: Path, monkeypatch: pytest.MonkeyPatch, has_home: bool
) -> None:
    monkeypatch.setenv("HOME", str(home))
    text = b"examples = 1\n[[model]]\nname = 'alpha'\n[[task]]\nname = 'facts'\n"
    (home / "my plan").write_bytes(text)
    reader, writer = os.pipe()
    os.write(writer, text)
    os.close(writer)
    assert run("~/my plan" if has_home else f"/dev/fd/{reader}", "--out", str(home / "o")) == 0
    os.close(reader)


def test_the_models_also_write_their_own_answers(engine: ScriptedEngine, home: Path) -> None:
    command = ("--model", "alpha", "--task", "facts", "--examples", "1", "--max-tokens", "90")
    choices = ("--max-new-tokens", "2", "--temperature", "0.5", "--top-k", "3", "--top-p", "0.9")
    assert run(*command, "--write", *choices, "--seed", "9") == 0
    assert engine.writings == [None, Writing(2, 0.5, 3, 0.9, 9)]
    plan = home / "plan.toml"
    plan.write_text("write = true\nmax_new_tokens = 3\nseed = 4\n[[model]]\nname = 'alpha'\n")
    engine.writings.clear()
    assert run(str(plan), *command, "--write", "--temperature", "0.5") == 0
    assert engine.writings == [None, Writing(256, 0.5, seed=4)]


def test_prompts_are_filled_up(engine: ScriptedEngine, home: Path, capsys: Output) -> None:
    command = ("--model", "alpha", "--task", "addition:1-2", "--examples", "1")
    assert run(*command, "--matched", "30", "--write") == 0
    assert [prompt.text.count("Give the answer") for prompt in engine.prompts] == [3] * 4
    words = " ".join(capsys.readouterr().out.split())
    assert "with their answers, up to 30 tokens in all (29 in fact)." in words


def test_a_failure_is_the_status(engine: ScriptedEngine, home: Path, capsys: Output) -> None:
    out = home / "out"
    models = ("--model", "missing", "--model", "alpha")
    assert run(*models, "--task", "facts", "--examples", "1", "--out", str(out)) == 1
    captured = capsys.readouterr()
    failure, progress = captured.err.splitlines()
    assert failure == "depthtui: missing: There is no model missing. Choose another."
    assert progress.startswith("depthtui: 1 of 1 prompts: ")
    assert "Missing\nmissing: There is no model missing. Choose another." in captured.out
    assert "alpha: 12 layers" in captured.out
    assert (out / "failures.json").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_a_scheduler_end_it_alike(
    engine: ScriptedEngine, home: Path, capsys: Output, number: signal.Signals
) -> None:
    engine.dies_at, engine.death = 2, lambda: signal.raise_signal(number)
    assert run("--model", "alpha", "--task", "facts", "--out", str(home / "out")) == 130
    captured = capsys.readouterr()
    assert "the same command continues there" in captured.err
    assert not captured.out
    assert (home / "out" / "sweep.json").exists()


def test_shards_are_merged(engine: ScriptedEngine, home: Path, capsys: Output) -> None:
    command = ("--model", "alpha", "--task", "facts", "--examples", "5")
    for index in "12":
        out = home / index
        assert run(*command, "--shard", f"{index}/2", "--out", str(out)) == 0
        assert not (out / "report.md").exists()
    assert "Join them with --merge" in capsys.readouterr().err
    folders = ("--merge", str(home / "1"), "--merge", str(home / "2"))
    assert run(*folders, "--out", str(home / "merged")) == 0
    assert run(*command, "--out", str(home / "whole")) == 0
    one, other = (
        json.loads((home / name / "report.json").read_text()) for name in ("merged", "whole")
    )
    assert one == other
    assert len(one["cells"][0]["records"]) == 5


def test_logs_are_in_its_report_and_in_that_of_merged_parts(
    engine: ScriptedEngine, home: Path
) -> None:
    command = ("--model", "alpha", "--task", "facts", "--examples", "1")
    logs = [word for name in ("whole", "without") for word in ("--lm-eval", str(path_of(name)))]
    assert run(*command, *logs, "--out", str(home / "whole")) == 0
    assert run("--merge", str(home / "whole"), *logs, "--out", str(home / "merged")) == 0
    for name in ("whole", "merged"):
        report = json.loads((home / name / "report.json").read_text())
        assert [log["answers"][0]["right"] for log in report["lm_eval"]] == [3, 2]


def test_a_file_that_is_no_log_is_told_before_anything_runs(
    engine: ScriptedEngine, home: Path, capsys: Output
) -> None:
    (home / "results_x.json").write_text("{}")
    command = ("--model", "alpha", "--task", "facts", "--examples", "1")
    assert run(*command, "--lm-eval", str(home / "results_x.json")) == 1
    assert "has no results of lm-evaluation-harness" in capsys.readouterr().err
    assert not engine.loads


@pytest.mark.parametrize("name", ["report.md", "report.csv", "failures.json", "sweep.json"])
def test_a_file_of_others_is_told_before_anything_runs(
    engine: ScriptedEngine, home: Path, capsys: Output, name: str
) -> None:
    out = home / "notes"
    out.mkdir()
    (out / name).write_text("mine")
    command = ("--model", "alpha", "--task", "facts", "--examples", "1")
    assert run(*command, "--out", str(out)) == 1
    assert f"{out / name} is no" in capsys.readouterr().err
    assert run(*command, "--out", str(home / "sweep")) == 0
    engine.loads.clear()
    assert run("--merge", str(home / "sweep"), "--out", str(out)) == 1
    assert not engine.loads
    assert [path.name for path in out.iterdir()] == [name]
    assert (out / name).read_text() == "mine"


def test_a_folder_that_cannot_be_written_is_told_before_anything_runs(
    engine: ScriptedEngine, home: Path, capsys: Output
) -> None:
    (home / "file").touch()
    command = ("--model", "alpha", "--task", "facts", "--examples", "1")
    for shard in ((), ("--shard", "1/2")):
        assert run(*command, *shard, "--out", str(home / "file" / "out")) == 1
        assert "cannot be written to (Not a directory)" in capsys.readouterr().err
    assert not engine.loads


def test_the_papers_protocol_takes_files(
    engine: ScriptedEngine, home: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(home))
    rows: dict[str, list[dict[str, Any]]] = {
        "gsm8k": [{"question": f"{n}?", "answer": f"so\n#### {n}"} for n in range(12)],
        "hellaswag": [
            {"ctx": f"Then {n}", "endings": ["no", "yes"], "label": "1"} for n in range(12)
        ],
        "aime24": [{"Problem": f"P{n}", "Solution": "word " * 90 * n} for n in range(1, 9)],
    }
    data = []
    for name, row in rows.items():
        (home / f"{name}.json").write_text(json.dumps(row))
        data += ["--data", f"{name}={home / name}.json"]
    out = home / "out"
    assert run("--model", "alpha", "--protocol", "paper", *data, "--out", str(out)) == 0
    report = json.loads((out / "report.json").read_text())
    counts = {cell["task"]: cell["prompts"] for cell in report["cells"]}
    # Of eight solutions of 90, 180, … words, four are of at most 400 tokens.
    assert counts == {"hellaswag": 10, "gsm8k": 10, "aime24": 4}
    errors = capsys.readouterr().err
    assert "the first 10 examples of HellaSwag" in errors
    assert "Left out" not in errors
    assert run("--model", "alpha", "--protocol", "paper", *data[:2], "--out", str(home / "b")) == 0
    errors = " ".join(capsys.readouterr().err.split())
    assert "Left out, neither on this disk nor on the hub: hellaswag, aime24." in errors
    assert f"HellaSwag is not on this disk: not in {datasets_dir(default_cache_dir())}" in errors
    assert "the first 10 examples of GSM8K; teacher-forced" in errors
    (cell,) = json.loads((home / "b" / "report.json").read_text())["cells"]
    assert cell["task"] == "gsm8k"


def test_files_of_data_sets_in_the_cache_folder_are_taken(
    engine: ScriptedEngine, home: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(home))
    folder = home / "kept" / "datasets"
    folder.mkdir(parents=True)
    rows = [{"question": f"{n}?", "answer": f"so\n#### {n}"} for n in range(12)]
    (folder / "gsm8k.json").write_text(json.dumps(rows))
    command = ("--model", "alpha", "--cache-dir", str(home / "kept"))
    for number, options in enumerate((("--task", "gsm8k"), ("--protocol", "paper"))):
        out = home / str(number)
        assert run(*command, *options, "--out", str(out)) == 0
        (cell,) = json.loads((out / "report.json").read_text())["cells"]
        assert (cell["task"], cell["prompts"]) == ("gsm8k", 10)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--task", "facts"), "The sweep has no model"),
        (("--model", "", "--task", "facts"), "The sweep has no model"),
        (("--model", "a"), "The sweep has no task"),
        (("--model", "a", "--task", "poetry"), "no task 'poetry'"),
        (("--model", "a", "--task", "facts", "--shard", "3/2"), "'3/2' is not such as"),
        (("--model", "a", "--protocol", "paper", "--examples", "3"), "how many"),
        (("--model", "a", "--protocol", "paper", "--matched", "64"), "which prompts are run"),
        (
            ("--model", "a", "--task", "facts", "--matched", "0"),
            "'0' is not a whole number",
        ),
        (("--merge", "."), "--merge needs --out"),
        (("--merge", ".", "--out", "o", "--model", "a"), "takes folders"),
        (("none.toml",), "There is no file none.toml"),
        (("--model", "a", "--task", "facts", "--top-k", "3"), "--top-p need --write"),
    ],
)
def test_wrong_usage(
    engine: ScriptedEngine, capsys: Output, arguments: tuple[str, ...], problem: str
) -> None:
    assert run(*arguments) == 2
    assert problem in capsys.readouterr().err


def test_a_finished_sweep_never_imports_torch(engine: ScriptedEngine, home: Path) -> None:
    command = ["sweep", "--model", "alpha", "--task", "facts", "--examples", "1"]
    assert cli.main(command) == 0
    script = (
        f"import sys; from depthtui import cli; cli.main({command!r}); "
        "assert not {'torch', 'transformers', 'textual'} & set(sys.modules), sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
