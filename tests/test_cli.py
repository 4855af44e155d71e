"""The commands, with a scripted engine in place of the real one."""

from __future__ import annotations

import io
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain, cycle
from pathlib import Path
from types import ModuleType
from typing import Any

import diskcache
import numpy as np
import pytest

from depthtui import __version__, cli
from depthtui.cli.output import print_written
from depthtui.cli.progress import ProgressDisplay
from depthtui.data.model import ModelInfo
from depthtui.data.protocol import MetricRows
from depthtui.data.run import Prompt, RunResult
from depthtui.data.run_settings import ModelSpec, RunSettings
from depthtui.data.store import Store, make_key, open_store
from depthtui.errors import DepthError
from depthtui.log import log_bug
from depthtui.metrics.contributions import Contributions
from depthtui.metrics.patch import NO_SOURCE
from depthtui.metrics.registry import METRIC_BY_NAME
from depthtui.prompts.asking import Asking
from depthtui.prompts.tasks import make_prompts
from depthtui.settings import Settings
from tests.builders.engines import ScriptedEngine, replace_engine
from tests.builders.models import tiny_model
from tests.builders.results import full_result, full_run, lacking
from tests.builders.results import run as a_run
from tests.data.test_store import DAMAGES, damage_index
from tests.read_only import read_only
from tests.tiny_models import tiny_folder

pytestmark = pytest.mark.usefixtures("home", "reachable_hub")


def describe(spec: ModelSpec) -> ModelInfo:
    """A tiny model; one called `absent` is unavailable."""
    if spec.name == "absent":
        raise DepthError("There is no model [/] \x1b[2J\nhere.", "Choose another.")
    return tiny_model(spec=spec)


def result_of(prompt: Prompt, model: ModelInfo, settings: RunSettings) -> RunResult:
    """A random run; with every metric, or without an answer, where the prompt says so."""
    result = full_run() if prompt.text == "everything" else a_run(prompt.text)
    if prompt.text == "a lens is missing":
        reasons = {"logit_lens": "the head is not linear", "affine_lens": "it was not fitted"}
        result = lacking(result, "logit_lens")
        result.unavailable = {name: reasons[name] for name in reasons if name in settings.metrics}
    if prompt.text == "overflow":
        contributions = result.get(Contributions)
        assert contributions is not None
        contributions.layer_cosine[2:, 1:] = np.nan
    if prompt.text == "unanswered":
        result.tokens = replace(result.tokens, answer_start=len(result.tokens))
        result.unavailable = {"residual_erasure": "the prompt has no known answer"}
    if prompt.text == "no source":
        result.unavailable = {"patch": NO_SOURCE}
    return result


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> list[ScriptedEngine]:
    return replace_engine(monkeypatch, describe, result_of)


Output = pytest.CaptureFixture[str]


def endings(folder: Path) -> Path:
    """A data set of six rows, two of them longer than three words."""
    path = folder / "endings.jsonl"
    rows = [{"ctx": str(n), "endings": ["x" + " x" * (n % 3)], "label": 0} for n in range(6)]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


class TestRun:
    def test_it_prints_the_table(self, engines: list[ScriptedEngine], capsys: Output) -> None:
        assert cli.main(["run", "demo", "--prompt", "a b c"]) == 0
        out, err = capsys.readouterr()
        assert "tiny, float32 on cpu" in out
        for rule in ("cosine", "KL", "overlap"):
            assert rule in out
        assert err == "depthtui: A damaged cache entry was dropped.\n"

    def test_it_writes_the_summary(
        self, engines: list[ScriptedEngine], home: Path, capsys: Output
    ) -> None:
        out = home / "out"
        assert (
            cli.main(["run", "demo", "--prompt", "one", "--prompt", "two", "--out", str(out)]) == 0
        )
        assert [path.name for path in out.iterdir()] == ["summary.json"]
        summary = json.loads((out / "summary.json").read_text())
        assert [prompt["text"] for prompt in summary["prompts"]] == ["one", "two"]
        assert f"wrote {out / 'summary.json'}" in capsys.readouterr().out

    def test_a_value_that_is_not_finite_is_a_failure(
        self, engines: list[ScriptedEngine], capsys: Output
    ) -> None:
        assert cli.main(["run", "demo", "--prompt", "one", "--prompt", "overflow"]) == 1
        out, err = capsys.readouterr()
        assert "prompt 2: No value for cosine: the model's values are not finite." in err
        assert "No verdict: the model's values are not finite" in out

    @pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
    def test_an_output_that_has_few_characters_has_the_others_spelt_out(
        self, engines: list[ScriptedEngine], monkeypatch: pytest.MonkeyPatch, errors: str
    ) -> None:
        out = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors=errors)
        monkeypatch.setattr("sys.stdout", out)
        assert cli.main(["run", "demo", "--prompt", "one"]) == 0
        out.seek(0)
        assert "\\u2013" in out.read()

    def test_a_folder_whose_name_is_no_text_is_told(self, capsys: Output) -> None:
        print_written([Path("q\udcff[b]:smile:\x1b]0;x") / "summary.json"])
        assert capsys.readouterr().out == "wrote q\\xff[b]:smile:␛]0;x/summary.json\n"

    def test_a_summary_that_cannot_be_written_is_printed(
        self, monkeypatch: pytest.MonkeyPatch, home: Path, capsys: Output
    ) -> None:
        def result(prompt: Prompt, model: ModelInfo, settings: RunSettings) -> RunResult:
            (home / "out").touch()
            return result_of(prompt, model, settings)

        replace_engine(monkeypatch, describe, result)
        assert cli.main(["run", "demo", "--prompt", "a b c", "--out", str(home / "out")]) == 1
        out, err = capsys.readouterr()
        assert "tiny, float32 on cpu" in out
        assert "cannot be written to" in err

    def test_formats_are_chosen(self, engines: list[ScriptedEngine], home: Path) -> None:
        out = home / "out"
        arguments = ["--prompt", "one", "--out", str(out), "--format", "html, md,html"]
        assert cli.main(["run", "demo", *arguments]) == 0
        assert sorted(path.name for path in out.iterdir()) == ["summary.html", "summary.md"]

    def test_each_figure_is_a_file(
        self, engines: list[ScriptedEngine], home: Path, capsys: Output
    ) -> None:
        out = home / "out"
        command = ["run", "demo", "--prompt", "one", "--out", str(out), "--format", "svg,csv"]
        assert cli.main(command) == 0
        assert f"wrote {out / 'figures'}\n" in capsys.readouterr().out
        assert [path.name for path in out.iterdir()] == ["figures"]
        names = {path.name for path in (out / "figures").iterdir()}
        assert {"contribution.svg", "contribution.csv", "layer-contribution.svg"} <= names

    def test_a_file_in_the_place_of_the_figures_is_told_before_a_model_loads(
        self, engines: list[ScriptedEngine], home: Path, capsys: Output
    ) -> None:
        (home / "figures").touch()
        command = ["run", "demo", "--prompt", "one", "--out", str(home), "--format"]
        assert cli.main([*command, "svg"]) == 1
        assert f"{home / 'figures'} cannot be written to" in capsys.readouterr().err
        assert engines == []

    def test_options_reach_the_engine(self, engines: list[ScriptedEngine], home: Path) -> None:
        arguments = """
            --device cuda:1 --dtype bfloat16 --quantize 8bit --revision main --trust-remote-code
            --chat-template --metrics logit_lens --lens-top-k 7
        """
        assert cli.main(["run", "some/model", "--prompt", "x", *arguments.split()]) == 0
        (engine,) = engines
        assert engine.model is not None
        assert engine.model.spec == ModelSpec("some/model", "main", "cuda:1", "bfloat16", "8bit")
        assert engine.model.spec in engine.trusted
        assert engine.prompts == [Prompt("x")]
        assert engine.settings == [RunSettings(7, chat_template=True, metrics=("logit_lens",))]
        assert engine.models_dir == home / "cache" / "models"
        assert engine.store.info().folder == home / "cache" / "results"
        assert engine.store.info().limit == Settings().cache_limit
        assert engine.activation_limit == Settings().activation_limit

    def test_the_papers_protocol_says_what_it_sets(
        self, engines: list[ScriptedEngine], home: Path, capsys: Output
    ) -> None:
        (home / "settings.toml").write_text("chat_template = true\nkl_threshold = 0.2\n")
        rows = [{"question": f"{n}?", "answer": f"so\n#### {n}"} for n in range(12)]
        (home / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
        data = ["--data", f"gsm8k={home / 'rows.jsonl'}", "--out", str(home / "out")]
        assert cli.main(["run", "demo", "--protocol", "paper", *data]) == 0
        (engine,) = engines
        assert [prompt.task for prompt in engine.prompts] == ["gsm8k"] * 10
        assert not any(settings.chat_template for settings in engine.settings)
        summary = json.loads((home / "out" / "summary.json").read_text())
        assert summary["settings"]["kl_threshold"] == 0.5
        notice = capsys.readouterr().err
        assert "the first 10 examples of GSM8K; teacher-forced, without a chat template" in notice
        assert "KL threshold 0.5, overlap threshold 0.3" in notice

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ([], "one of the paper's data sets"),
            (["--task", "facts"], "hellaswag, gsm8k or aime24"),
            (["--prompt", "x"], "one of the paper's data sets"),
            (["--task", "gsm8k", "--examples", "3"], "--examples"),
            (["--task", "gsm8k", "--kl-threshold", "0.4"], "--kl-threshold"),
            (["--task", "gsm8k", "--skip-first-token"], "--skip-first-token"),
        ],
    )
    def test_what_the_protocol_does_not_have_is_refused(
        self, engines: list[ScriptedEngine], arguments: list[str], words: str, capsys: Output
    ) -> None:
        assert cli.main(["run", "demo", "--protocol", "paper", *arguments]) == 2
        assert words in capsys.readouterr().err

    def test_metric_options_reach_the_engine(
        self, engines: list[ScriptedEngine], home: Path
    ) -> None:
        (home / "base.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n')
        arguments = f"""
            --metrics all --tolerance 0.05 --riemann-steps 256 --skip-part mlp --skip-everywhere
            --baseline-file {home}/base.jsonl --seed 7
        """
        assert cli.main(["run", "demo", "--prompt", "x", *arguments.split()]) == 0
        (settings,) = engines[0].settings
        assert settings == RunSettings(
            metrics=tuple(METRIC_BY_NAME),
            seed=7,
            skip_part="mlp",
            skip_everywhere=True,
            tolerance=0.05,
            riemann_steps=256,
            baseline=("one", "two"),
        )

    def test_random_positions_run_on_through_the_prompts(
        self, engines: list[ScriptedEngine]
    ) -> None:
        prompts = ["--prompt", "one", "--prompt", "bug", "--prompt", "two", "--prompt", "three"]
        cli.main(["run", "demo", *prompts, "--metrics", "skip_effects,similarity"])
        cli.main(["run", "demo", *prompts])
        lengths = [[settings.lengths_before for settings in engine.settings] for engine in engines]
        assert lengths == [[(), (5,), (5,), (5, 5)], [(), (), (), ()]]

    def test_the_other_metrics_are_told_of(
        self, engines: list[ScriptedEngine], capsys: Output
    ) -> None:
        prompts = ["--prompt", "everything", "--prompt", "plain"]
        assert cli.main(["run", "demo", *prompts, "--metrics", "all"]) == 0
        out = " ".join(capsys.readouterr().out.split())
        for title in ("DepthScore", "Most useful layers", "Best block to prune", "Early exit"):
            assert title in out
        assert "Completeness error at most 3.00%" in out
        assert "Direct logit attribution – it has [/]↵no sum (1 of 2 prompts)" in out

    def test_who_lacks_an_answer_is_told_how_to_give_one(
        self, engines: list[ScriptedEngine], capsys: Output
    ) -> None:
        assert cli.main(["run", "demo", "--prompt", "everything", "--prompt", "unanswered"]) == 0
        error = capsys.readouterr().err
        assert error.count("--answer TEXT gives a --prompt its answer") == 1
        assert cli.main(["run", "demo", "--prompt", "everything"]) == 0
        assert "--answer TEXT" not in capsys.readouterr().err

    def test_who_lacks_a_text_to_patch_from_is_told_the_option(
        self, engines: list[ScriptedEngine], capsys: Output
    ) -> None:
        assert cli.main(["run", "demo", "--prompt", "no source", "--metrics", "patch"]) == 1
        assert "--patch-from TEXT names the text" in capsys.readouterr().err

    def test_a_typed_prompt_has_its_answer(self, engines: list[ScriptedEngine]) -> None:
        typed = ["--prompt", "two and two is", "--answer", "four", "--prompt", "so", "--answer", ""]
        assert cli.main(["run", "demo", *typed]) == 0
        assert engines[0].prompts == [Prompt("two and two is four", " four"), Prompt("so")]

    @pytest.mark.parametrize("n_prompts", [1, 2])
    def test_a_metric_that_no_prompt_can_have_is_a_failure_where_it_is_named(
        self, engines: list[ScriptedEngine], capsys: Output, n_prompts: int
    ) -> None:
        def outcome(metrics: str, *texts: str) -> tuple[int, str]:
            prompts = [part for text in texts for part in ("--prompt", text)]
            status = cli.main(["run", "demo", *prompts, "--metrics", metrics])
            return status, capsys.readouterr().err

        unanswered = ["unanswered"] * n_prompts
        status, error = outcome("logit_lens,residual_erasure", *unanswered)
        assert status == 1
        on_all = " on all 2 prompts" * (n_prompts == 2)
        reason = f"is unavailable{on_all}: the prompt has no known answer.\n"
        assert error.count(f"Residual erasure {reason}") == 1
        assert outcome("residual_erasure", "everything", *unanswered)[0] == 0
        status, error = outcome("all", *unanswered)
        assert (status, "Residual erasure" in error) == (0, False)

    def test_the_logit_lens_is_a_metric_like_the_others(
        self, engines: list[ScriptedEngine], capsys: Output
    ) -> None:
        reason = "Logit lens is unavailable: the head is not linear."

        def outcome(*options: str) -> tuple[int, bool, bool]:
            status = cli.main(["run", "demo", "--prompt", "a lens is missing", *options])
            out, error = capsys.readouterr()
            in_table = "Logit lens – the head is not linear" in " ".join(out.split())
            return status, reason in error, in_table

        assert outcome() == (0, False, True)
        assert outcome("--metrics", "all") == (0, False, True)
        assert outcome("--metrics", "logit_lens") == (1, True, True)
        assert outcome("--metrics", "contributions,logit_lens") == (1, True, True)

    def test_a_lens_that_was_asked_for_and_has_read_nothing_is_a_failure(
        self, engines: list[ScriptedEngine], capsys: Output
    ) -> None:
        arguments = ["run", "demo", "--prompt", "a lens is missing", "--lens", "affine"]
        assert cli.main(arguments) == 1
        assert "Affine lens is unavailable: it was not fitted" in capsys.readouterr().err

    def test_summary_options_reach_the_summary(
        self, engines: list[ScriptedEngine], home: Path
    ) -> None:
        arguments = f"""
            --kl-threshold 0.25 --overlap-threshold 0.4 --skip-first-token --seed 5
            --confidence 0.6 --settling-threshold 0.1 --answers-within 2 --share 0.8 --within 0.1
            --out {home}/o
        """
        assert cli.main(["run", "demo", "--prompt", "x", *arguments.split()]) == 0
        assert json.loads((home / "o" / "summary.json").read_text())["settings"] == {
            "lens_top_k": 3,
            "kl_threshold": 0.25,
            "overlap_threshold": 0.4,
            "include_first_token": False,
            "seed": 5,
            "confidence": 0.6,
            "settling_threshold": 0.1,
            "answers_within": 2,
            "share": 0.8,
            "within": 0.1,
        }

    def test_the_settings_file_counts_and_options_override_it(
        self, engines: list[ScriptedEngine], home: Path
    ) -> None:
        (home / "settings.toml").write_text(
            'lens_top_k = 4\nchat_template = true\ncache_limit = "1GiB"\n'
            "cache_activations = false\n"
        )
        cli.main(["run", "demo", "--prompt", "x"])
        cli.main(["run", "demo", "--prompt", "x", "--lens-top-k", "2", "--cache-limit", "5MB"])
        settings = [engine.settings[0] for engine in engines]
        assert [(setting.lens_top_k, setting.chat_template) for setting in settings] == [
            (4, True),
            (2, True),
        ]
        assert [engine.store.info().limit for engine in engines] == [1 << 30, 5_000_000]
        assert engines[0].activation_limit == 0

    def test_the_cache_goes_where_it_should(
        self, engines: list[ScriptedEngine], home: Path
    ) -> None:
        cli.main(["run", "demo", "--prompt", "x", "--cache-dir", str(home / "here")])
        cli.main(["run", "demo", "--prompt", "x", "--no-cache"])
        assert engines[0].store.info().folder == home / "here" / "results"
        assert engines[0].models_dir == home / "here" / "models"
        assert not engines[1].store.on_disk
        assert engines[1].models_dir == home / "cache" / "models"

    def test_prompts_come_from_files_and_tasks(
        self, engines: list[ScriptedEngine], home: Path
    ) -> None:
        (home / "plain.txt").write_text("from a file\n")
        (home / "lines.jsonl").write_text('{"text": "2+2=4", "answer": "4", "level": "1"}\n')
        arguments = f"""
            --prompt typed --prompt-file {home}/plain.txt --prompt-file {home}/lines.jsonl
            --task addition --level 4 --examples 2 --seed 9
        """
        assert cli.main(["run", "demo", *arguments.split()]) == 0
        prompts = engines[0].prompts
        assert [prompt.text for prompt in prompts[:3]] == ["typed", "from a file", "2+2=4"]
        assert prompts[2].answer == "4"
        assert [(prompt.task, prompt.level) for prompt in prompts[3:]] == [("addition", "4")] * 2

    @pytest.mark.parametrize(
        ("content", "texts"),
        [
            ("one prompt\nof two lines\n", ["one prompt\nof two lines"]),
            ('{"text": "2+2=4", "answer": "4"}\n{"text": "another"}\n', ["2+2=4", "another"]),
        ],
    )
    def test_prompts_come_from_standard_input(
        self,
        content: str,
        texts: list[str],
        engines: list[ScriptedEngine],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
        assert cli.main(["run", "demo", "--prompt-file", "-", "--dtype", "bf16"]) == 0
        assert [prompt.text for prompt in engines[0].prompts] == texts

    def test_prompts_come_from_a_data_set(self, engines: list[ScriptedEngine], home: Path) -> None:
        data = f"--task hellaswag --data hellaswag={endings(home)}"
        cli.main(["run", "demo", "--prompt", "typed", *data.split(), "--examples", "3"])
        cli.main(["run", "demo", *data.split(), "--examples", "3", "--sample", "--seed", "5"])
        texts = [[prompt.text for prompt in engine.prompts] for engine in engines]
        assert texts[0] == ["typed", "0 x", "1 x x", "2 x x x"]
        assert len(set(texts[1])) == 3
        assert texts[1] != texts[0][1:]

    def test_prompts_have_choices_and_shots(
        self, engines: list[ScriptedEngine], home: Path
    ) -> None:
        file = home / "own.jsonl"
        rows = [
            {"text": f"{n} + 0 = {n}", "answer": f"{n}", "choices": ["x", f"{n}"]} for n in range(5)
        ]
        file.write_text("\n".join(map(json.dumps, rows)))
        asking = ["--choices", "--shots", "2", "--seed", "5"]
        data = f"--task piqa --data piqa={solutions(home)} --examples 3"
        cli.main(["run", "demo", *data.split(), "--prompt-file", str(file), *asking])
        cli.main(["run", "demo", "--task", "facts", "--examples", "2", *asking])
        cli.main(["run", "demo", *data.split(), "--max-tokens", "99", *asking])
        prompts = [engine.prompts for engine in engines]
        assert [len(run) for run in prompts] == [8, 2, 3]
        assert prompts[1] == make_prompts("facts", None, 2, 5, Asking(True, 2, 5))
        assert prompts[2] == prompts[0][5:]
        for prompt in chain(*prompts):
            assert prompt.choices[prompt.right_choice] == prompt.answer
            assert prompt.text.count("\n\n") == 2

    def test_ten_prompts_are_taken_where_nobody_says_how_many(
        self, engines: list[ScriptedEngine], home: Path, capsys: Output
    ) -> None:
        cli.main(["run", "demo", "--task", "addition"])
        # Of a data set as many as there are.
        data = f"--task hellaswag --data hellaswag={endings(home)}"
        cli.main(["run", "demo", *data.split()])
        assert [len(engine.prompts) for engine in engines] == [10, 6]
        capsys.readouterr()
        assert cli.main(["run", "demo", *data.split(), "--examples", "9"]) == 2
        assert "has 6 prompts, not 9" in capsys.readouterr().err

    def test_a_data_set_in_the_cache_folder_needs_no_name(
        self, engines: list[ScriptedEngine], home: Path
    ) -> None:
        folder = home / "kept" / "datasets"
        folder.mkdir(parents=True)
        endings(folder).rename(folder / "hellaswag.jsonl")
        arguments = ["--task", "hellaswag", "--examples", "1", "--cache-dir", str(home / "kept")]
        assert cli.main(["run", "demo", *arguments]) == 0
        assert [prompt.text for prompt in engines[0].prompts] == ["0 x"]

    @pytest.mark.parametrize(
        ("task", "instead"),
        [
            ("addition:3", "--task addition --level 3"),
            ("math:5", "--task math --level 5"),
            ("facts:1-3", "--task facts --level LEVEL"),
        ],
    )
    def test_a_level_in_the_task_as_in_sweeps_says_which_option_takes_it(
        self, engines: list[ScriptedEngine], home: Path, capsys: Output, task: str, instead: str
    ) -> None:
        assert cli.main(["run", "demo", "--task", task]) == 2
        assert instead in " ".join(capsys.readouterr().err.split())

    def test_long_prompts_are_left_out_for_later_ones_of_the_data_set(
        self, engines: list[ScriptedEngine], home: Path, capsys: Output
    ) -> None:
        data = f"--task hellaswag --data hellaswag={endings(home)} --max-tokens 3"
        assert cli.main(["run", "demo", *data.split(), "--examples", "4"]) == 0
        assert "have at most" not in capsys.readouterr().err
        prompts = ["--prompt", "a b c d", "--prompt", "a b c"]
        assert cli.main(["run", "demo", *prompts, *data.split(), "--examples", "9"]) == 0
        assert "Of 11 prompts, 5 have at most 3 tokens." in capsys.readouterr().err
        texts = [[prompt.text for prompt in engine.prompts] for engine in engines]
        short = ["0 x", "1 x x", "3 x", "4 x x"]
        assert texts == [short, ["a b c", *short]]
        assert cli.main(["run", "demo", "--prompt", "a b", "--max-tokens", "1"]) == 1
        assert "No prompt has at most 1 tokens. Raise --max-tokens." in capsys.readouterr().err

    def test_a_prompt_that_fails_does_not_cost_the_others(
        self, engines: list[ScriptedEngine], home: Path, capsys: Output
    ) -> None:
        arguments = [
            "--prompt",
            "one",
            "--prompt",
            "too long",
            "--prompt",
            "bug",
            "--prompt",
            "two",
        ]
        assert cli.main(["run", "demo", *arguments, "--out", str(home / "out")]) == 1
        out, err = capsys.readouterr()
        summary = json.loads((home / "out" / "summary.json").read_text())
        assert [prompt["text"] for prompt in summary["prompts"]] == ["one", "two"]
        assert "of 2 prompts" in out
        _, long, bug = err.splitlines()
        assert long == "depthtui: prompt 2: The prompt is too long. Shorten it."
        assert bug.startswith("depthtui: prompt 3: Something unexpected")
        assert "a bug" in (home / "state/depthtui/log/depthtui.log").read_text()

    def test_a_metric_that_fails_does_not_cost_the_others(
        self, monkeypatch: pytest.MonkeyPatch, home: Path, capsys: Output
    ) -> None:
        def short_of_memory(
            prompt: Prompt, model: ModelInfo | None, settings: RunSettings
        ) -> RunResult:
            result = full_result(prompt, model, settings)
            if prompt.text == "two":
                result.drop(["ablation"])
                result.fail("ablation", "the memory ran out: try a smaller model")
            return result

        engines = replace_engine(monkeypatch, describe, short_of_memory)
        prompts = ["--prompt", "one", "--prompt", "two"]
        arguments = [*prompts, "--metrics", "similarity,ablation", "--out"]
        assert cli.main(["run", "demo", *arguments, str(home / "out")]) == 1
        out, err = capsys.readouterr()
        words = "the memory ran out: try a smaller model"
        notice = f"depthtui: prompt 2: Ablation is unavailable: {words}."
        assert err.splitlines()[-1] == notice
        assert "(1 of 2" in out
        summary = json.loads((home / "out" / "summary.json").read_text())
        assert len(summary["prompts"]) == 2
        assert summary["unavailable"] == [{}, {"ablation": words}]
        assert "block_influence" in json.dumps(summary)
        engines[0].on_bug(ValueError("a bug in a metric"))
        assert "a bug in a metric" in (home / "state/depthtui/log/depthtui.log").read_text()

    def test_a_single_prompt_that_fails(
        self, engines: list[ScriptedEngine], home: Path, capsys: Output
    ) -> None:
        arguments = ["--prompt", "too long", "--out", str(home / "out")]
        assert cli.main(["run", "demo", *arguments]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert err.splitlines()[1:] == ["depthtui: The prompt is too long. Shorten it."]
        assert not (home / "out").exists()

    def test_a_model_that_fails(self, engines: list[ScriptedEngine], capsys: Output) -> None:
        assert cli.main(["run", "absent", "--prompt", "x"]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert err == "depthtui: There is no model [/] ␛[2J here. Choose another.\n"

    def test_a_name_that_means_nothing_needs_no_engine(
        self, engines: list[ScriptedEngine], capsys: Output
    ) -> None:
        assert cli.main(["run", "/no/such/model", "--prompt", "x"]) == 1
        assert "/no/such/model" in capsys.readouterr().err
        assert engines == []

    def test_a_layer_that_is_not_there_needs_no_engine(
        self, engines: list[ScriptedEngine], home: Path, capsys: Output
    ) -> None:
        command = ["run", str(tiny_folder(home)), "--prompt", "x", "--layers"]
        assert cli.main([*command, "2,9"]) == 1
        assert "There is no layer 9. Layers are 0 to 3." in capsys.readouterr().err
        assert engines == []
        assert cli.main([*command, "/2"]) == 0

    @pytest.mark.parametrize("name", ["file/out", "a" * 300, "/proc/x"])
    def test_a_folder_that_cannot_be_written_is_told_before_a_model_loads(
        self, engines: list[ScriptedEngine], home: Path, capsys: Output, name: str
    ) -> None:
        (home / "file").touch()
        assert cli.main(["run", "demo", "--prompt", "x", "--out", str(home / name)]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert "cannot be written to" in err
        assert engines == []

    def test_a_file_of_others_is_told_before_a_model_loads(
        self, engines: list[ScriptedEngine], home: Path, capsys: Output
    ) -> None:
        path = home / "notes" / "summary.md"
        path.parent.mkdir()
        path.write_text("mine")
        command = ["run", "demo", "--prompt", "x", "--out", str(path.parent)]
        assert cli.main([*command, "--format", "md"]) == 1
        assert f"{path} is no report of depthtui" in capsys.readouterr().err
        assert engines == []
        assert cli.main(command) == 0, "of other formats there are files"
        assert cli.main(command) == 0, "a report of before is replaced"
        assert path.read_text() == "mine"

    def test_a_file_of_others_that_appears_meanwhile_stays(
        self, engines: list[ScriptedEngine], home: Path, capsys: Output, monkeypatch: Any
    ) -> None:
        path = home / "out" / "summary.json"

        def meanwhile(*_: object) -> bytes:
            path.parent.mkdir()
            path.write_text("mine")
            return b"a summary"

        monkeypatch.setattr("depthtui.report.export.summary_json", meanwhile)
        assert cli.main(["run", "demo", "--prompt", "x", "--out", str(home / "out")]) == 1
        out, err = capsys.readouterr()
        assert "cosine" in out, "what was computed is shown all the same"
        assert "wrote" not in out
        assert "summary.json is no report of depthtui" in err
        assert path.read_text() == "mine"

    def test_a_cache_that_cannot_be_used_is_no_failure(
        self, engines: list[ScriptedEngine], home: Path, capsys: Output
    ) -> None:
        (home / "cache").touch()
        assert cli.main(["run", "demo", "--prompt", "x"]) == 0
        assert "runs are not saved" in capsys.readouterr().err

    def test_what_takes_long_is_told_before_it_begins(self) -> None:
        notices: list[str] = []
        with ProgressDisplay(notices.append) as display:
            display.n_prompts = 2
            display.prompt_begins(1)
            for seconds in (-1.0, 4.0, 130.0):
                display.emit(MetricRows(1, "residual_erasure", None, 0, 0, 0.0, seconds))
            display.emit(MetricRows(1, "residual_erasure", None, 1, 9, 0.0, 120.0))
        assert notices == ["prompt 2 of 2: Residual erasure takes about 2 min."]

    def test_a_log_hears_how_far_it_is(
        self, engines: list[ScriptedEngine], capsys: Output, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("depthtui.report.progress.LOG_PACE", 0.0)
        assert cli.main(["run", "demo", "--task", "facts", "--examples", "2"]) == 0
        lines = capsys.readouterr().err.splitlines()
        assert lines[0] == "depthtui: starting"
        assert "depthtui: prompt 1 of 2" in lines
        assert "depthtui: prompt 2 of 2" in lines

    def test_ctrl_c(self, engines: list[ScriptedEngine], capsys: Output) -> None:
        assert cli.main(["run", "demo", "--prompt", "ctrl-c"]) == 130
        assert "Traceback" not in capsys.readouterr().err


def solutions(folder: Path) -> Path:
    """A file of six rows in the columns of PIQA."""
    path = folder / "piqa.jsonl"
    rows = [{"goal": f"{n}", "sol1": "this", "sol2": "that", "label": 0} for n in range(6)]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("run", "MODEL"),
        ("run demo", "--prompt"),
        ("run demo --task gsm8k --data poems=x", "gsm8k"),
        ("run demo --task gsm8k --data gsm8k", "gsm8k=FILE"),
        ("run demo --task gsm8k --data gsm8k=/nowhere/at/all", "/nowhere/at/all"),
        ("run demo --prompt x --data gsm8k=x", "--task"),
        ("run demo --task addition --sample", "data set"),
        ("run demo --prompt x --choices", "not for --prompt"),
        ("run demo --prompt x --shots 2", "not for --prompt"),
        ("run demo --task commonsense --choices", "The task commonsense has no options"),
        ("run demo --task gsm8k --choices", "The data set gsm8k has no options"),
        ("run demo --task commonsense --shots 99", "fewer --shots"),
        ("run demo --task addition --shots -1", "shots"),
        ("run demo --task gsm8k --protocol paper --shots 2", "fixes --shots"),
        ("sweep --model demo --task commonsense --choices", "commonsense has no options"),
        ("sweep --model demo --task addition --shots 2 --matched 64", "--matched or --shots"),
        ("run demo --task gsm8k --level 1", "no levels"),
        ("run demo --prompt x --max-tokens 0", "max-tokens"),
        ("run demo --prompt x --device gpu", "cuda"),
        ("run demo --prompt x --dtype int8", "float32"),
        ("run demo --prompt x --quantize 3bit", "4bit"),
        ("run demo --prompt x --metrics contributions,magic", "magic"),
        ("run demo --prompt x --metrics ,", "not one of"),
        ("run demo --prompt x --metrics all,logit_lens", "not one of"),
        ("run demo --prompt x --tolerance 0", "tolerance"),
        ("run demo --prompt x --riemann-steps 0", "riemann-steps"),
        ("run demo --prompt x --skip-part head", "attention"),
        ("run demo --prompt x --baseline-file /nowhere/at/all", "/nowhere/at/all"),
        ("run demo --prompt x --format docx --out o", "docx"),
        ("run demo --prompt x --format md", "--out"),
        ("run demo --prompt x --lens-top-k 0", "top-k"),
        ("run demo --prompt x --kl-threshold 2", "kl-threshold"),
        ("run demo --prompt x --cache-limit lots", "size"),
        ("run demo --prompt x --cache-limit 10000000TB", "larger than any disk"),
        ("run demo --prompt-file /nowhere/at/all", "/nowhere/at/all"),
        ("run demo --task nonsense", "nonsense"),
        ("run demo --task addition --level 99", "99"),
        ("run demo --level 3 --prompt x", "--task"),
        ("run demo --examples 3 --prompt x", "--task"),
        ("run demo --prompt x --prompt y --answer z", "once for each --prompt"),
        ("run demo --task addition --answer z", "once for each --prompt"),
        ("run demo --task addition --examples 0", "examples"),
        ("run demo --nonsense", "--nonsense"),
        ("run demo --options 4", "No such option '--options'. See"),
        ("run demo --exampels 4", "'--examples'"),
        ("nonsense", "nonsense"),
        ("rum", "'run'? See `"),
        ("--device gpu", "cuda"),
        ("--device cpu cache info", "--device"),
        ("--model m run demo", "name the model after it"),
        ("cache nonsense", "Commands: info, list, clear, verify."),
        ("run demo --prompt x --kl-threshold hot", "'hot' is not a number"),
        ("prune demo --least 5 --heal --instead mean", "exclude each other"),
        ("prune demo --keep answers=85", "'85' is a percentage: write 0.85."),
        ("run demo --prompt", "requires an argument. See `depthtui run --help`."),
        ("completion fishh", "not one of bash, zsh, fish. Did you mean fish?"),
        ("serve --port abc", "'abc' is not a whole number of at least 0"),
        ("run demo --prompt x --metrics block_influence", "its values come with similarity."),
        ("sweep demo", "`depthtui sweep --model demo --task NAME`"),
        ("sweep a/model --task facts", "`depthtui sweep --model a/model --task facts`"),
        ("sweep facts --model demo", "`depthtui sweep --task facts --model demo`"),
        ("sweep demo facts", "`depthtui sweep --model demo --task facts`"),
        ("sweep one.toml two.toml", "A sweep has one plan."),
        ("sweep --out demo demo", "Models and tasks are options here. See"),
        ("sweep --task=addition addition", "Models and tasks are options here. See"),
        ("sweep -- demo", "Models and tasks are options here. See"),
        ("sweep --merge . ..", "each by a --merge of its own, and no models and tasks."),
        ("inspect demo --prompt x --layer x", "'x' is not a whole number."),
        ("inspect demo --prompt x --layer 1 --token x", "'x' is not a whole number."),
        ("sweep ./nofolder", "There is no file or folder ./nofolder."),
        ("model.gguf", "`depthtui --model model.gguf` opens it"),
        ("models demo", "`depthtui --model demo` opens it in the explorer, `depthtui run demo "),
        ("tasks addition", "`depthtui run MODEL --task addition` measures a model on it. See"),
        ("tasks addition:3", "`depthtui run MODEL --task addition --level 3` measures"),
        ("tasks demo", "`depthtui tasks` has no arguments. See `depthtui tasks --help`."),
        ("tasks addition 3", "`depthtui tasks` has no arguments. See"),
        ("metrics kept", "`depthtui help kept` explains it, `depthtui run MODEL --prompt TEXT "),
        ("metrics demo", "`depthtui metrics` has no arguments. See"),
        ("doctor demo --json", "`depthtui doctor --controls demo --json` measures what it knows."),
        ("doctor cuda:0", "`depthtui doctor --device cuda:0` compares it with the CPU."),
        ("doctor demo --device cpu", "`depthtui doctor --model demo --device cpu` checks it"),
        ("doctor demo --device=cpu", "`depthtui doctor --model demo --device=cpu` checks it"),
        ("doctor cpu --device cuda", "`depthtui doctor` has no arguments. See"),
        ("models demo --nonsense", "No such option"),
    ],
)
def test_bad_usage_is_one_line_and_status_2(
    engines: list[ScriptedEngine], capsys: Output, arguments: str, complaint: str
) -> None:
    assert cli.main(arguments.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("depthtui: ")
    assert complaint in err
    sentence, see, _ = err.partition(" See `")
    assert not see or sentence.endswith((".", "?", "?)")), "a sentence ends before the next begins"
    assert engines == []


def test_a_folder_that_is_no_model_is_told_before_a_prompt_is_asked_for(
    home: Path, capsys: Output
) -> None:
    assert cli.main(["run", str(home)]) == 1
    assert f"{home} is no model" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["run", "Rome is in", "demo"], "run demo --prompt 'Rome is in'"),
        (["run", "demo", "Rome is in", "--seed", "3"], "run demo --prompt 'Rome is in' --seed 3"),
        (["run", "Rome is in"], "run MODEL --prompt 'Rome is in'"),
        (["run", "demo", "Rome", "is", "in"], "run demo --prompt 'Rome is in'"),
        (["run", "Rome", "is", "in"], "run MODEL --prompt 'Rome is in'"),
        (["run", "gpt2", "Rome"], "run gpt2 --prompt Rome"),
        (["run", "Rome", "is"], "run MODEL --prompt 'Rome is'`"),
        (["run", "Rome", "is."], "run MODEL --prompt 'Rome is.'`"),
        (["inspect", "llama", "24", "--prompt", "x"], "inspect llama --layer 24 --prompt x`"),
        (["prune", "llama", "out/", "--least", "5"], "prune llama --out out/ --least 5`"),
        (["models", "my model"], "--model 'my model'` opens it in the explorer. See"),
        (["run", "demo", "--prompt", "Rome", "is", "in"], "run demo --prompt 'Rome is in'"),
        (["run", "Rome is in", "--model", "a/b"], "run --prompt 'Rome is in' --model a/b"),
        (["inspect", "Rome is in", "demo", "--layer", "3"], "inspect demo --prompt 'Rome is in' "),
        (["run", "demo", "--prompt=Rome", "is", "in"], "run demo --prompt 'Rome is in'`"),
        (["run", "--prompt", "Rome", "is", "in"], "run MODEL --prompt 'Rome is in'`"),
        (["run", "--prompt", "Rome", "is", "in", "demo"], "run demo --prompt 'Rome is in'`"),
        (
            ["run", "demo", "--answer", "San", "Marino", "--prompt", "It is"],
            "run demo --answer 'San Marino' --prompt 'It is'`",
        ),
        (["inspect", "demo", "24", "--prompt", "x"], "inspect demo --layer 24 --prompt x`"),
        (["run", "--prompt", "The", "demo", "is"], "run MODEL --prompt 'The demo is'`"),
        (["run", "grade_school", "demo"], "run demo --task grade_school`"),
        (["run", "gpt2", "addition:3"], "run gpt2 --task addition --level 3`"),
        (["run", "gsm8k"], "run MODEL --task gsm8k`"),
        (["run", "demo", "facts", "are", "few"], "run demo --prompt 'facts are few'`"),
        (["prune", "demo", "5"], "prune demo --least 5`"),
        (["prune", "demo", "3,5-7", "out/"], "prune demo --drop 3,5-7 --out out/`"),
        (["prune", "out/", "demo", "--least", "5"], "prune demo --out out/ --least 5`"),
        (["prune", "demo", "--least", "5", "out/"], "prune demo --out out/ --least 5`"),
    ],
)
def test_an_argument_in_the_wrong_place_is_put_where_it_belongs(
    engines: list[ScriptedEngine], words: list[str], meant: str, capsys: Output
) -> None:
    assert cli.main(words) == 2
    assert f"`depthtui {meant}" in capsys.readouterr().err
    assert engines == []


@pytest.mark.parametrize(
    "arguments",
    [
        "run demo --prompt The demo is",
        "run demo --task addition 3",
        "run demo addition 3",
        "run demo --prompt x -- y",
        "inspect addition",
        "inspect demo 24",
        "prune demo pruned",
        "prune demo 5 --out p q",
        "prune --least 5 -- demo 6",
        "prune demo 5 --keep kl=1",
        "prune demo I have 3 apples",
    ],
)
def test_no_command_is_suggested_where_its_meaning_is_uncertain(
    engines: list[ScriptedEngine], arguments: str, capsys: Output
) -> None:
    assert cli.main(arguments.split()) == 2
    assert "and a prompt has quotes. See `" in capsys.readouterr().err
    assert engines == []


def test_a_model_below_the_home_folder_is_no_prompt(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setenv("HOME", str(home))
    (home / "my models").mkdir()
    assert cli.main(["run", "~/my models", "--prompt", "x"]) == 1
    assert "my models is no model: it has no config.json" in capsys.readouterr().err


def test_a_broken_settings_file_is_one_line(home: Path, capsys: Output) -> None:
    (home / "settings.toml").write_text("top_k = x")
    assert cli.main(["cache", "info"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


NINES = "9" * 5000
DEEP = "[" * 100_000
NAME = "x" * 5000


@pytest.mark.parametrize(
    "arguments",
    [
        "run ~nosuchuser/m --prompt x",
        f"run {NAME} --prompt x",
        f"run /{NAME} --prompt x",
        "run /dev/zero --prompt x",
        "run demo --prompt x --out=",
        "run demo --prompt x --cache-dir=",
        "sweep --model demo --task facts --out=",
        "sweep --model demo --task addition:",
        "sweep --model demo --task addition:1,,2",
        "run demo --prompt x --cache-limit 10000000TB",
        f"run demo --prompt x --cache-limit {NINES}",
        f"run demo --prompt x --lens-top-k {NINES}",
        "run demo --prompt x --lens-top-k 100000000000000000000",
        f"run demo --task addition --level {NINES}",
        "run demo --task addition --examples 100000000000000000000",
        f"run demo --prompt-file {NAME}",
        "run demo --prompt-file /dev/zero",
        "sweep --model demo --task addition:" + NINES,
        f"sweep --model demo --task addition --shard 1/{NINES}",
        "sweep --model demo --task addition --shard 1/1000000000000",
        "sweep --model demo --task addition --examples 1000000000000",
        "sweep --model demo --task x --data x=~nosuchuser/x",
        f"sweep --model demo --task x --data x={NAME}",
        f"sweep --model {NAME} --task facts",
        f"sweep --model demo --task {NAME}",
        "sweep --model ~nosuchuser/m --task facts",
        "sweep /dev/zero",
        f"sweep {NAME}",
        f"lens fit demo --lens-texts {NAME}",
        "lens fit demo --lens-texts /dev/zero",
    ],
    ids=lambda text: text[:60],
)
def test_a_mistake_is_a_short_sentence(
    engines: list[ScriptedEngine], capsys: Output, arguments: str
) -> None:
    assert cli.main(arguments.split()) in (1, 2)
    assert_is_a_sentence(capsys.readouterr().err)


@pytest.mark.parametrize(
    "text",
    [
        f"top_k = {NINES}",
        "top_k = 0x" + "f" * 5000,
        f"top_k = {DEEP}",
        "top_k = " + "[" * 300 + "]" * 300,
        "examples = 1000000000000",
        f"{NAME} = 1",
        '[[model]]\nname = "~nosuchuser/m"\n[[task]]\nname = "facts"',
        '[[model]]\nname = "a\\u0000b"\n[[task]]\nname = "facts"',
        '[[model]]\nname = "demo"\n[[task]]\nname = "x"\ndata = "~nosuchuser/x"',
        '[[model]]\nname = "demo"\n[[task]]\nname = "x"\ndata = "a\\u0000b"',
        '[[model]]\nname = "demo"\n[[task]]\nname = "addition"\nlevel = 0x' + "f" * 5000,
    ],
    ids=lambda text: text[:60],
)
def test_a_mistake_in_a_plan_is_a_short_sentence(
    engines: list[ScriptedEngine], home: Path, capsys: Output, text: str
) -> None:
    (home / "plan.toml").write_text(text)
    assert cli.main(["sweep", str(home / "plan.toml"), "--out", str(home / "out")]) in (1, 2)
    assert_is_a_sentence(capsys.readouterr().err)


def assert_is_a_sentence(err: str) -> None:
    """What a mistake is told as: one line that one can read, and no bug of ours."""
    assert err.count("\n") == 1
    assert len(err) < 1000
    assert "unexpected" not in err


def test_the_log_is_its_owners_alone_and_does_not_grow_without_end(
    home: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("depthtui.log.LARGEST_LOG", 2000)
    folder = home / "state" / "depthtui" / "log"
    for number in range(20):
        assert str(folder / "depthtui.log") in log_bug(ValueError(f"number {number}" + "x" * 500))
    logs = list(folder.iterdir())
    assert sorted(path.name for path in logs) == ["depthtui.log", "depthtui.log.1"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in (folder, *logs)} == {0o700, 0o600}
    assert all(path.stat().st_size < 3000 for path in logs)
    assert "number 19" in (folder / "depthtui.log").read_text()


@pytest.mark.parametrize("kind", ["a pipe", "a link"])
def test_a_log_that_is_a_pipe_or_a_link_is_not_written(home: Path, kind: str) -> None:
    path = home / "state" / "depthtui" / "log" / "depthtui.log"
    path.parent.mkdir(parents=True)
    (home / "mine").touch()
    if kind == "a pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(home / "mine")
    assert "could not be written" in log_bug(ValueError("x"))
    assert (home / "mine").read_bytes() == b""


def test_an_unexpected_failure_is_one_line_and_a_log(
    home: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bug(*args: object, **options: object) -> None:
        raise ZeroDivisionError("[/] by\nzero")

    monkeypatch.setattr("depthtui.cli.shared_options.load_settings", bug)
    assert cli.main(["cache", "info"]) == 1
    err = capsys.readouterr().err
    log = home / "state/depthtui/log/depthtui.log"
    assert err.count("\n") == 1
    assert str(log) in err
    assert "Traceback" in log.read_text()


class TestCache:
    @pytest.fixture
    def filled_store(self, home: Path) -> Store:
        store = open_store(home / "cache", 1 << 20, pytest.fail)
        for number, name in enumerate(["one", "two [/] \x1b[2J"]):
            store.put(make_key("result", number=number), b"x" * 3000, name, "result")
        return store

    def test_info(self, filled_store: Store, home: Path, capsys: Output) -> None:
        assert cli.main(["cache", "info"]) == 0
        out = capsys.readouterr().out
        assert f"6.08 kB of 10.0 GB in {home / 'cache' / 'results'}" in out
        assert [line.split()[:2] for line in out.splitlines()[3:]] == [
            ["result", "2"],
            ["activations", "0"],
            ["all", "2"],
        ]

    def test_list(self, filled_store: Store, capsys: Output) -> None:
        assert cli.main(["cache", "list"]) == 0
        out = capsys.readouterr().out
        assert "two [/] ␛[2J" in out
        assert out.index("two") < out.index("one"), "the latest first"

    def test_clear(self, filled_store: Store, home: Path, capsys: Output) -> None:
        (home / "cache" / "models").mkdir()
        (home / "cache" / "models" / "weights").touch()
        assert cli.main(["cache", "clear"]) == 0
        assert capsys.readouterr().out == "2 entries deleted.\n"
        assert filled_store.entries() == []
        assert (home / "cache" / "models" / "weights").exists()

    def test_verify(self, filled_store: Store, home: Path, capsys: Output) -> None:
        next(home.glob("cache/results/*/*/*.val")).write_bytes(b"rubbish")
        assert cli.main(["cache", "verify"]) == 0
        assert capsys.readouterr().out.startswith("2 entries checked, 1 damaged")
        assert len(filled_store.entries()) == 1

    def test_a_read_only_one_is_read(self, filled_store: Store, home: Path, capsys: Output) -> None:
        with read_only(home / "cache"):
            statuses = [
                cli.main(["cache", command]) for command in ("info", "list", "verify", "clear")
            ]
        out, err = capsys.readouterr()
        assert statuses == [0, 0, 0, 1]
        assert f"in {home / 'cache' / 'results'}, read-only" in out
        assert out.endswith("2 entries checked, 0 are damaged.\n")
        assert "cannot be emptied (it is read-only)" in err
        assert len(filled_store.entries()) == 2

    @pytest.mark.parametrize(
        ("damage", "command"),
        list(zip(DAMAGES, cycle(["info", "list", "clear", "verify"]), strict=False)),
    )
    def test_a_damaged_index_is_told_in_a_line_and_made_anew(
        self, filled_store: Store, home: Path, capsys: Output, damage: str | bytes, command: str
    ) -> None:
        filled_store.close()
        damage_index(home / "cache", damage)
        assert cli.main(["cache", command]) == 0
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert "set aside" in err
        assert cli.main(["cache", command]) == 0
        assert capsys.readouterr().err == ""

    @pytest.mark.parametrize("command", ["info", "list", "verify", "clear"])
    def test_a_folder_whose_name_is_no_text(
        self, home: Path, monkeypatch: pytest.MonkeyPatch, command: str
    ) -> None:
        out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="strict")
        monkeypatch.setattr("sys.stdout", out)
        folder = home / "q\udcff"
        (folder / "results").mkdir(parents=True)
        assert cli.main(["cache", command, "--cache-dir", str(folder)]) == 0

    @pytest.mark.parametrize("command", ["info", "list", "verify", "clear"])
    def test_another_programs_cache_is_named_and_left(
        self, home: Path, capsys: Output, command: str
    ) -> None:
        with diskcache.Cache(str(home / "proj" / "results")) as theirs:
            theirs["k"] = "v"
        assert cli.main(["cache", command, "--cache-dir", str(home / "proj")]) == 1
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert f"{home / 'proj' / 'results' / 'cache.db'} is left as it is" in err
        assert "choose another --cache-dir" in err
        with diskcache.Cache(str(home / "proj" / "results")) as theirs:
            assert theirs["k"] == "v"

    @pytest.mark.parametrize("command", ["info", "list", "clear", "verify"])
    def test_looking_at_a_cache_does_not_make_one(
        self, home: Path, capsys: Output, command: str
    ) -> None:
        assert cli.main(["cache", command, "--cache-dir", str(home / "typo")]) == 0
        assert not (home / "typo").exists()


def test_help_names_the_settings_file(home: Path, capsys: Output) -> None:
    assert cli.main(["--help"]) == 0
    assert str(home / "settings.toml") in capsys.readouterr().out


def test_tasks_are_listed(capsys: Output) -> None:
    from depthtui.prompts.dataset_formats import DATASETS
    from depthtui.prompts.tasks import TASKS

    assert cli.main(["tasks"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in (*TASKS, *DATASETS))
    assert all(dataset.hub_id in out for dataset in DATASETS.values())
    assert "1 to 20 digits  3 " in out
    assert "on this disk" in out


def test_metrics_are_listed(capsys: Output) -> None:
    assert cli.main(["metrics"]) == 0
    out = capsys.readouterr().out
    for metric in METRIC_BY_NAME.values():
        (line,) = [line for line in out.splitlines() if line.startswith(f"{metric.name} ")][:1]
        assert metric.description in line
        assert line.rstrip().endswith(metric.cost)
        assert ("Needs an answer." in line) == metric.needs_answer
    assert "DepthScore" in out


def test_models_are_listed(home: Path, capsys: Output) -> None:
    assert cli.main(["models"]) == 0
    (demo,) = (line for line in capsys.readouterr().out.split("\n") if line.startswith("demo"))
    assert demo.endswith("to fetch")


def test_folders_that_the_explorer_has_opened_are_listed(home: Path, capsys: Output) -> None:
    folder = tiny_folder(home)
    (home / "settings.toml").write_text(f'recent_models = ["{folder}"]\n')
    assert cli.main(["models"]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith(f"{folder}  folder")


class TestExplorer:
    @pytest.fixture
    def opened(self, monkeypatch: pytest.MonkeyPatch) -> list[tuple[ModelSpec, Settings]]:
        calls: list[tuple[ModelSpec, Settings]] = []

        def explore(
            spec: ModelSpec,
            settings: Settings,
            option_values: dict[str, object],
            trusted: Sequence[ModelSpec],
            engine_command: str,
            recorder: object,
            continues: Callable[[ModelSpec], bool],
            asks_for_prompt: bool,
        ) -> int:
            assert recorder is None
            self.continues = continues(ModelSpec("some/model"))
            self.asks_for_prompt = asks_for_prompt
            assert option_values.items() <= vars(settings).items()
            self.trusted, self.engine_command = trusted, engine_command
            calls.append((spec, settings))
            return 3

        module = ModuleType("depthtui.tui.app")
        module.main = explore  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "depthtui.tui.app", module)
        for stream in ("stdin", "stdout", "stderr"):
            monkeypatch.setattr(f"sys.{stream}.isatty", lambda: True, raising=False)
        return calls

    def test_it_opens_on_the_demo(self, opened: list[tuple[ModelSpec, Settings]]) -> None:
        assert cli.main([]) == 3
        assert opened == [(ModelSpec("demo"), Settings())]

    def test_it_opens_on_the_last_model(
        self, opened: list[tuple[ModelSpec, Settings]], home: Path
    ) -> None:
        (home / "settings.toml").write_text('last_model = "some/model"')
        cli.main([])
        cli.main(["--model", "other/model"])
        assert [spec.name for spec, _ in opened] == ["some/model", "other/model"]

    @pytest.mark.parametrize(
        ("arguments", "continues"),
        [
            ([], True),
            (["--model", "some/model"], True),
            (["--model", "other/model"], False),
            (["--new"], False),
        ],
    )
    def test_it_continues_the_last_session_unless_another_model_or_a_new_one_is_asked_for(
        self, opened: list[tuple[ModelSpec, Settings]], arguments: list[str], continues: bool
    ) -> None:
        cli.main(arguments)
        assert (self.continues, self.asks_for_prompt) == (continues, arguments == ["--new"])

    def test_options(self, opened: list[tuple[ModelSpec, Settings]], home: Path) -> None:
        arguments = f"--model m --device cpu --dtype float16 --cache-dir {home} --cache-limit 2GiB"
        cli.main([*arguments.split(), "--no-cache"])
        ((spec, settings),) = opened
        assert spec == ModelSpec("m", device="cpu", dtype="float16")
        assert settings == Settings(cache_dir=home, cache_limit=2 << 30, use_cache=False)

    def test_the_named_model_alone_is_trusted(
        self, opened: list[tuple[ModelSpec, Settings]]
    ) -> None:
        cli.main(["--model", "some/model"])
        assert self.trusted == []
        cli.main(["--model", "some/model", "--trust-remote-code"])
        assert self.trusted == [ModelSpec("some/model")]

    def test_an_engine_elsewhere_is_a_command_that_is_there(
        self, capsys: Output, opened: list[tuple[ModelSpec, Settings]]
    ) -> None:
        for command, why in (("no-such-program gpu", "no program"), ("sh 'gpu", "no command")):
            assert cli.main(["--engine-command", command]) == 2
            assert why in capsys.readouterr().err
        assert opened == []

    def test_an_engine_elsewhere_is_handed_on(
        self, opened: list[tuple[ModelSpec, Settings]]
    ) -> None:
        cli.main(["--engine-command", "sh -c 'depthtui engine'"])
        assert self.engine_command == "sh -c 'depthtui engine'"

    def test_an_engine_speaks_to_no_terminal(
        self, capsys: Output, opened: list[tuple[ModelSpec, Settings]]
    ) -> None:
        assert cli.main(["engine"]) == 1
        assert (
            "not to a terminal. Let the explorer start it by --engine-command"
            in capsys.readouterr().err
        )

    @pytest.mark.parametrize("command", [[], ["serve"]])
    def test_the_last_model_is_not_trusted(
        self, command: list[str], opened: list[tuple[ModelSpec, Settings]], capsys: Output
    ) -> None:
        assert cli.main([*command, "--trust-remote-code"]) == 2
        assert "the model that --model names" in capsys.readouterr().err
        assert opened == []

    def test_without_a_terminal_it_says_so(
        self, capsys: Output, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
        assert cli.main([]) == 1
        assert "needs a terminal" in capsys.readouterr().err

    def test_where_standard_error_goes_elsewhere_it_says_so(
        self, capsys: Output, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for stream in ("stdin", "stdout"):
            monkeypatch.setattr(f"sys.{stream}.isatty", lambda: True, raising=False)
        monkeypatch.setattr("sys.stderr.isatty", lambda: False, raising=False)
        assert cli.main([]) == 1
        error = capsys.readouterr().err
        assert "draws on standard error" in error
        assert "needs a terminal" not in error

    def test_metrics_that_replace_the_default_set_are_noted(
        self, engines: list[ScriptedEngine], capsys: Output
    ) -> None:
        run = ["run", "demo", "--prompt", "x"]
        for metrics in ([], ["--metrics", "contributions,logit_lens,kept,ablation"]):
            assert cli.main([*run, *metrics]) == 0
            assert "default set" not in capsys.readouterr().err
        assert cli.main([*run, "--metrics", "logit_lens"]) == 0
        note = "--metrics replaces the default set; not measured: contributions, kept."
        assert note in capsys.readouterr().err

    @pytest.mark.parametrize("term", ["dumb", "unknown"])
    def test_a_terminal_that_cannot_be_drawn_on(
        self, term: str, capsys: Output, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.be_in_a_terminal(monkeypatch)
        monkeypatch.setenv("TERM", term)
        assert cli.main([]) == 1
        assert f"of the kind {term}. Set TERM" in capsys.readouterr().err

    def test_a_locale_that_is_not_utf_8(self, monkeypatch: pytest.MonkeyPatch) -> None:
        err = io.BytesIO()
        monkeypatch.setattr("sys.stderr", io.TextIOWrapper(err, "iso8859-1", write_through=True))
        self.be_in_a_terminal(monkeypatch)
        assert cli.main([]) == 1
        assert b"the encoding of the locale is iso8859-1. Set LC_ALL=C.UTF-8" in err.getvalue()

    def be_in_a_terminal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("TEXTUAL_DRIVER", raising=False)
        monkeypatch.setenv("TERM", "xterm-256color")
        for stream in ("stdin", "stdout", "stderr"):
            monkeypatch.setattr(f"sys.{stream}.isatty", lambda: True, raising=False)

    @pytest.mark.parametrize("name", ["demo", "some/model", "tests"])
    def test_a_model_where_a_command_stands(self, name: str, capsys: Output) -> None:
        assert cli.main([name]) == 2
        assert f"`depthtui --model {name}` opens it" in capsys.readouterr().err

    def test_another_word_where_a_command_stands(self, capsys: Output) -> None:
        assert cli.main(["rnu"]) == 2
        assert "--model" not in capsys.readouterr().err


class TestProcess:
    def depthtui(self, *arguments: str, script: str = "") -> subprocess.Popen[str]:
        start = f"import sys; {script}\nfrom depthtui.cli import main; sys.exit(main())"
        return subprocess.Popen(
            [sys.executable, "-c", start, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )

    @pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["cache", "--help"]])
    def test_help_needs_nothing_heavy(self, arguments: list[str]) -> None:
        script = "import atexit; atexit.register(lambda: print(sorted(sys.modules)))"
        out, err = self.depthtui(*arguments, script=script).communicate(timeout=60)
        assert err == ""
        assert "Usage: depthtui" in out
        for heavy in ("torch", "transformers", "textual", "numpy", "rich"):
            assert f"'{heavy}'" not in out

    def test_as_a_module(self) -> None:
        out = subprocess.check_output([sys.executable, "-m", "depthtui", "--version"], text=True)
        assert out == f"depthtui {__version__}\n"

    def test_the_installed_command(self) -> None:
        command = Path(sys.executable).with_name("depthtui")
        assert subprocess.check_output([command, "--version"], text=True).startswith("depthtui ")

    def test_ctrl_c_in_mid_run(self) -> None:
        script = """
import types, signal
class Engine:
    def __init__(self, *args, **options): pass
    def load(self, spec): pass
    def run(self, *args, **options):
        print("running", file=sys.stderr, flush=True)
        signal.pause()
engine = types.ModuleType("depthtui.engine.engine")
engine.Engine = Engine
sys.modules["depthtui.engine.engine"] = engine
"""
        process = self.depthtui("run", "demo", "--prompt", "x", script=script)
        assert process.stderr is not None
        assert process.stderr.readline() == "running\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "Traceback" not in err
        assert out == ""
