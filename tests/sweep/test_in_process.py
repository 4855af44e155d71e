"""A sweep that stops, goes on, fails in places, and is split into shards."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from depthtui.data.model import ModelInfo
from depthtui.data.protocol import Progress
from depthtui.data.run import Prompt, RunResult
from depthtui.data.run_settings import Drawing, ModelSpec, RunSettings
from depthtui.errors import DepthError
from depthtui.metrics.registry import METRIC_BY_NAME, OF_THE_PASS
from depthtui.prompts.tasks import make_prompts
from depthtui.sweep import in_process
from depthtui.sweep.folder import FAILURES, SweepFolder, read_manifest
from depthtui.sweep.merge import merge_sweeps
from depthtui.sweep.report.phrases import absences
from depthtui.sweep.saved import open_sweep
from depthtui.sweep.state import MOST_SHARDS, Shard
from depthtui.sweep.summary import summarise_sweep
from tests.builders.engines import ScriptedEngine
from tests.builders.results import full_result, tokens_of
from tests.odd_files import ODD_FILES, put_odd_file
from tests.sweep.sweeps import (
    EXAMPLES,
    QuietWatcher,
    contents,
    count_prompts,
    make_plan,
    put_model,
    sweep,
)


def test_every_model_runs_every_prompt_and_is_loaded_once(tmp_path: Path) -> None:
    engine, watcher = ScriptedEngine(), QuietWatcher()
    outcome = sweep(make_plan(), tmp_path, engine, watcher=watcher)
    assert engine.loads == ["alpha", "beta"]
    assert len(set(engine.runs)) == len(engine.runs) == count_prompts(make_plan())
    assert watcher.waiting == watcher.ended == count_prompts(make_plan())
    assert [len(record) for record in outcome.records.values()] == [3] * 6
    assert not outcome.failures
    assert not (tmp_path / f"{FAILURES}.json").exists()
    for cell, records in outcome.records.items():
        assert [record.number for record in records] == [0, 1, 2]
        assert {record.model.spec for record in records} == {cell.model}
        assert {(record.task, record.level) for record in records} == {
            (cell.task.name, cell.task.level)
        }


def test_nothing_is_computed_twice(tmp_path: Path) -> None:
    sweep(make_plan(), tmp_path)
    engine = ScriptedEngine()
    again = sweep(make_plan(), tmp_path, engine)
    assert engine.loads == engine.runs == []
    assert sum(map(len, again.records.values())) == count_prompts(make_plan())


def test_a_new_sweep_reads_no_weights_before_it_loads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []
    monkeypatch.setattr(in_process, "fingerprint_on_disk", lambda spec, *_: names.append(spec.name))
    sweep(make_plan(), tmp_path / "new")
    assert not names
    sweep(make_plan(), tmp_path / "new")
    assert names == ["alpha", "beta"]


def test_a_resumed_sweep_reports_how_much_of_the_weights_is_read(tmp_path: Path) -> None:
    plan, watcher = make_plan((put_model(tmp_path / "model"),)), QuietWatcher()
    sweep(plan, tmp_path / "swept")
    sweep(plan, tmp_path / "swept", watcher=watcher)
    assert watcher.events == [
        Progress("Taking the fingerprint", done, 1002, "B") for done in (2, 1002)
    ]


def test_a_larger_plan_runs_what_is_new(tmp_path: Path) -> None:
    sweep(make_plan(), tmp_path)
    engine = ScriptedEngine()
    sweep(make_plan(drawing=Drawing(examples=4)), tmp_path, engine)
    assert len(engine.runs) == 6
    engine = ScriptedEngine()
    sweep(make_plan(models=("alpha", "gamma")), tmp_path, engine)
    assert engine.loads == ["gamma"]


def test_an_interrupted_sweep_goes_on(tmp_path: Path) -> None:
    first, second = ScriptedEngine(dies_at=8), ScriptedEngine()

    def interrupt() -> None:
        raise KeyboardInterrupt

    first.death = interrupt
    with pytest.raises(KeyboardInterrupt):
        sweep(make_plan(), tmp_path / "stopped", first)
    manifest = read_manifest(tmp_path / "stopped" / "sweep.json")
    assert sum(map(len, manifest.names.values())) == 7
    sweep(make_plan(), tmp_path / "stopped", second)
    assert len(first.runs) - 1 + len(second.runs) == count_prompts(make_plan())
    assert not set(first.runs[:-1]) & set(second.runs)
    sweep(make_plan(), tmp_path / "whole")
    assert contents(tmp_path / "stopped") == contents(tmp_path / "whole")


def test_a_killed_process_goes_on(tmp_path: Path) -> None:
    script = (
        "from pathlib import Path; from tests.sweep.sweeps import *; "
        f"sweep(make_plan(), Path({str(tmp_path / 'killed')!r}), ScriptedEngine(dies_at=12))"
    )
    process = subprocess.run([sys.executable, "-c", script], check=False, timeout=60)
    assert process.returncode == -9
    assert len(contents(tmp_path / "killed")) == 11
    engine = ScriptedEngine()
    sweep(make_plan(), tmp_path / "killed", engine)
    assert len(engine.runs) == count_prompts(make_plan()) - 11
    sweep(make_plan(), tmp_path / "whole")
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


class TestFailures:
    def test_a_model_that_cannot_be_loaded_is_skipped(self, tmp_path: Path) -> None:
        notices: list[str] = []
        plan = make_plan(models=("alpha", "missing", "beta"))
        outcome = sweep(plan, tmp_path, notices=notices)
        assert [len(record) for record in outcome.records.values()] == [3] * 3 + [0] * 3 + [3] * 3
        assert notices == ["missing: There is no model missing. Choose another."]
        (row,) = json.loads((tmp_path / "failures.json").read_text())
        assert (row["model"], row["task"], row["prompt"]) == ("missing", "", None)

    def test_a_name_that_means_nothing_is_told_before_the_rest(self, tmp_path: Path) -> None:
        engine, notices = ScriptedEngine(), []
        plan = make_plan(models=("alpha", "./no/such/folder"))
        engine.death = lambda: pytest.fail("told too late") if not notices else None
        engine.dies_at = 1
        outcome = sweep(plan, tmp_path, engine, notices)
        assert engine.loads == ["alpha"]
        assert "does not exist" in outcome.failures[0].message

    def test_prompts_that_fail_are_tried_again(self, tmp_path: Path) -> None:
        path = tmp_path / "mine.jsonl"
        texts = ["fine", "this is too long", "a bug here", "fine too"]
        path.write_text("".join(f'{{"text": "{text}"}}\n' for text in texts))
        plan = make_plan(("alpha",), ("mine",), Drawing(4), {"mine": str(path)})
        for _ in range(2):
            engine, notices = ScriptedEngine(), []
            outcome = sweep(plan, tmp_path / "out", engine, notices)
            assert [failure.prompt for failure in outcome.failures] == [1, 2]
            assert notices[0] == "alpha · mine · prompt 2: The prompt is too long. Shorten it."
            assert "(RuntimeError)" in notices[1]
        assert [text for _, text in engine.runs] == ["this is too long", "a bug here"]
        assert [record.number for record in next(iter(outcome.records.values()))] == [0, 3]

    def test_a_metric_that_fails_costs_neither_the_prompt_nor_its_other_metrics(
        self, tmp_path: Path
    ) -> None:
        plan = make_plan(("alpha",), ("facts:1",), metrics=(*OF_THE_PASS, "similarity", "ablation"))

        def short_of_memory(*args: Any) -> RunResult:
            result = full_result(*args)
            if len(engine.runs) == 2:
                result.fail("ablation", "the memory ran out")
            return result

        engine, notices, watcher = ScriptedEngine(results=short_of_memory), [], QuietWatcher()
        outcome = sweep(plan, tmp_path, engine, notices, watcher=watcher)
        words = "Ablation is unavailable: the memory ran out."
        assert notices == [f"alpha · facts, 1 hop · prompt 2: {words}"]
        assert [(failure.prompt, failure.message) for failure in outcome.failures] == [(1, words)]
        assert watcher.ended == watcher.waiting == EXAMPLES
        (records,) = outcome.records.values()
        assert ["ablation" in record.every for record in records] == [True, False, True]
        assert all("similarity" in record.every for record in records)
        assert records[1].unavailable == {"ablation": "the memory ran out"}

        # The same command tries it again, and that prompt alone.
        engine = ScriptedEngine()
        outcome = sweep(plan, tmp_path, engine, watcher=watcher)
        assert (watcher.waiting, len(engine.runs), outcome.failures) == (1, 1, [])
        (records,) = outcome.records.values()
        assert all("ablation" in record.every for record in records)
        assert records[1].failed == ()

    @pytest.mark.parametrize(
        ("metrics", "title", "fails"),
        [
            (("contributions", "ablation"), "Ablation", True),
            (OF_THE_PASS, "Logit lens", False),
            (tuple(METRIC_BY_NAME), "", False),
        ],
        ids=["named", "default", "all"],
    )
    def test_a_metric_that_no_prompt_of_a_cell_can_have_is_a_failure_where_it_is_named(
        self, tmp_path: Path, metrics: tuple[str, ...], title: str, fails: bool
    ) -> None:
        def lacking_two(prompt: Prompt, model: ModelInfo, settings: RunSettings) -> RunResult:
            result = full_result(prompt, model, settings)
            if prompt.task == "addition":
                unavailable = {"logit_lens", "ablation"} & set(metrics)
                result.drop(unavailable)
                result.unavailable |= dict.fromkeys(unavailable, "there is no head")
            return result

        plan = make_plan(("alpha",), metrics=metrics)
        expected = [
            f"alpha · addition, {level}: {title} is unavailable on all 3 prompts: there is no head."
            for level in ("1 digit", "2 digits")
            if title
        ]
        for _ in range(2):
            # Records that are there say it as well.
            engine, notices = ScriptedEngine(results=lacking_two), []
            outcome = sweep(plan, tmp_path, engine, notices)
            assert notices == expected * fails
            assert [str(failure) for failure in outcome.failures] == notices
            assert [remark.text for remark in absences(summarise_sweep(outcome))] == expected
        assert not engine.runs

    def test_a_metric_that_fails_again_leaves_the_rest_as_it_was(self, tmp_path: Path) -> None:
        plan = make_plan(("alpha",), ("facts:1",), metrics=(*OF_THE_PASS, "ablation"))

        def short_of_memory(*args: Any) -> RunResult:
            result = full_result(*args)
            result.fail("ablation", "the memory ran out")
            return result

        for _ in range(2):
            engine = ScriptedEngine(results=short_of_memory)
            outcome = sweep(plan, tmp_path, engine)
            assert (len(engine.runs), len(outcome.failures)) == (EXAMPLES, EXAMPLES)
            assert [len(record) for record in outcome.records.values()] == [EXAMPLES]

    def test_failures_are_forgotten_once_they_are_mended(self, tmp_path: Path) -> None:
        plan = make_plan(("alpha",), ("facts:1",))
        engine = ScriptedEngine(dies_at=2)

        def fail() -> None:
            raise DepthError("The memory ran out.")

        engine.death = fail
        assert sweep(plan, tmp_path, engine).failures
        assert (tmp_path / "failures.json").exists()
        assert not sweep(plan, tmp_path).failures
        assert not (tmp_path / "failures.json").exists()

    def test_a_task_that_cannot_be_read_ends_the_sweep_at_once(self, tmp_path: Path) -> None:
        plan = make_plan(tasks=("mine",), data={"mine": str(tmp_path / "none.jsonl")})
        engine = ScriptedEngine()
        with pytest.raises(DepthError, match="no file"):
            sweep(plan, tmp_path, engine)
        assert not engine.loads

    def test_fewer_prompts_than_asked_for_are_told(self, tmp_path: Path) -> None:
        path = tmp_path / "mine.jsonl"
        path.write_text('{"text": "one"}\n{"text": "two"}\n')
        notices: list[str] = []
        plan = make_plan(("alpha",), ("mine",), Drawing(5), {"mine": str(path)})
        outcome = sweep(plan, tmp_path / "out", notices=notices)
        assert notices == ["mine has 2 prompts, not 5: all are taken."]
        assert [len(record) for record in outcome.records.values()] == [2]


def test_a_damaged_record_is_computed_again(tmp_path: Path) -> None:
    sweep(make_plan(), tmp_path)
    whole = contents(tmp_path)
    for path in list((tmp_path / "records").rglob("0001-*.json"))[:2]:
        path.write_bytes(path.read_bytes()[:100])
    engine, notices = ScriptedEngine(), []
    sweep(make_plan(), tmp_path, engine, notices)
    assert len(engine.runs) == 2
    assert len(notices) == 1
    assert "is damaged: it is not whole" in notices[0]
    assert contents(tmp_path) == whole


@pytest.mark.parametrize("kind", ODD_FILES)
def test_a_record_that_cannot_be_read_stops_the_sweep_and_stays(tmp_path: Path, kind: str) -> None:
    sweep(make_plan(), tmp_path)
    path = sorted((tmp_path / "records").rglob("0001-*.json"))[0]
    before = contents(tmp_path)
    whole = path.rename(tmp_path / "whole")
    put_odd_file(path, kind)
    engine = ScriptedEngine()
    with pytest.raises(DepthError, match=re.escape(str(path))) as caught:
        sweep(make_plan(), tmp_path, engine)
    assert "left as it is" in caught.value.hint
    assert not engine.runs
    assert os.path.lexists(path)
    path.rmdir() if kind == "a folder" else path.unlink()
    whole.rename(path)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["file/x", "n" * 300, "full"])
def test_a_folder_that_cannot_be_written_is_found_before_anything_runs(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "records").touch()
    engine = ScriptedEngine()
    with pytest.raises(DepthError, match="cannot be written to") as caught:
        sweep(make_plan(), tmp_path / name, engine)
    assert caught.value.message.startswith(str(tmp_path / name))
    assert not engine.loads


OF_OTHERS = {
    "sweep.json": ["[]", '{"schema": 1, "plan": "mine"}', "no JSON"],
    "failures.json": ["[]", '[{"when": "monday"}]', '{"model": "mine"}', "no JSON"],
}


@pytest.mark.parametrize(
    ("name", "content"), [(name, content) for name in OF_OTHERS for content in OF_OTHERS[name]]
)
def test_files_of_others_are_found_before_anything_runs_and_stay(
    tmp_path: Path, name: str, content: str
) -> None:
    (tmp_path / name).write_text(content)
    engine = ScriptedEngine()
    with pytest.raises(DepthError, match="no file of a sweep") as caught:
        sweep(make_plan(), tmp_path, engine)
    assert str(tmp_path / name) in caught.value.message
    assert not engine.loads
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == content


def test_a_link_under_the_name_of_a_sweeps_file_stays(tmp_path: Path) -> None:
    plan = make_plan(("missing",))
    sweep(plan, tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "failures.json").symlink_to(tmp_path / "a" / "failures.json")
    with pytest.raises(DepthError, match="no file of a sweep"):
        sweep(plan, tmp_path / "b")
    assert (tmp_path / "b" / "failures.json").is_symlink()


def test_a_sweep_of_another_version_is_known_as_one(tmp_path: Path) -> None:
    plan = make_plan(("alpha", "missing"))
    sweep(plan, tmp_path)
    body = json.loads((tmp_path / "sweep.json").read_text())
    body["plan"]["models"][0]["what_was_once"] = True
    (tmp_path / "sweep.json").write_text(json.dumps(body))
    engine = ScriptedEngine()
    sweep(plan, tmp_path, engine)
    assert not engine.runs


@pytest.mark.parametrize("number", ["1e999", "NaN", "[" * 100_000, "9" * 5000])
def test_one_damaged_number_costs_one_record(tmp_path: Path, number: str) -> None:
    plan = make_plan(("alpha",))
    sweep(plan, tmp_path)
    path = sorted((tmp_path / "records").rglob("0001-*.json"))[0]
    whole = path.read_text()
    path.write_text(re.sub(r'"loss": [\d.]+', f'"loss": {number}', whole))
    assert path.read_text() != whole
    notices: list[str] = []
    out = SweepFolder(tmp_path / "out", notices.append)
    merged = merge_sweeps([tmp_path], out, notices.append)
    assert sum(map(len, merged.records.values())) == count_prompts(plan) - 1
    engine = ScriptedEngine()
    sweep(plan, tmp_path, engine, notices)
    assert len(engine.runs) == 1
    assert [str(path) in words for words in notices] == [True, True]


def test_a_record_under_the_name_of_another_is_not_taken(tmp_path: Path) -> None:
    sweep(make_plan(("alpha",)), tmp_path)
    first, second = sorted((tmp_path / "records" / "alpha" / "addition-1").iterdir())[:2]
    second.write_bytes(first.read_bytes())
    engine = ScriptedEngine()
    sweep(make_plan(("alpha",)), tmp_path, engine)
    assert len(engine.runs) == 1


def test_changed_weights_are_told_and_computed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep(make_plan(), tmp_path)
    engine, notices = ScriptedEngine(), []
    engine.fingerprint = "e" * 16
    on_disk = {"alpha": "e" * 16, "beta": "f" * 16}
    monkeypatch.setattr(in_process, "fingerprint_on_disk", lambda spec, *_: on_disk[spec.name])
    outcome = sweep(make_plan(), tmp_path, engine, notices)
    assert engine.loads == ["alpha"]
    assert len(engine.runs) == 9
    assert len(notices) == 1
    assert "weights of alpha have changed" in notices[0]
    prints = {
        cell.model.name: {record.model.fingerprint for record in records}
        for cell, records in outcome.records.items()
    }
    assert prints == {"alpha": {"e" * 16}, "beta": {"f" * 16}}


def test_weights_that_were_fetched_anew_are_noticed_when_loaded(tmp_path: Path) -> None:
    sweep(make_plan(("alpha",)), tmp_path)
    next((tmp_path / "records").rglob("0001-*.json")).unlink()
    engine, notices = ScriptedEngine(), []
    engine.fingerprint = "e" * 16
    sweep(make_plan(("alpha",)), tmp_path, engine, notices)
    assert len(engine.runs) == 9
    assert len(notices) == 1


def test_a_limit_of_tokens_is_known_without_loading_again(tmp_path: Path) -> None:
    lengths = [len(tokens_of(prompt)) for prompt in make_prompts("commonsense", count=17)]
    limit = sorted(lengths)[8]
    plan = make_plan(("alpha",), ("commonsense",), Drawing(5, max_tokens=limit))
    outcome = sweep(plan, tmp_path)
    (records,) = outcome.records.values()
    assert [record.n_tokens for record in records] == [
        length for length in lengths if length <= limit
    ][:5]
    engine = ScriptedEngine()
    (again,) = sweep(plan, tmp_path, engine).records.values()
    assert [record.key for record in again] == [record.key for record in records]
    assert not engine.loads


def test_random_positions_run_on_through_a_cell(tmp_path: Path) -> None:
    metrics = ("contributions", "logit_lens", "skip_effects")
    plan = make_plan(("alpha",), ("facts:1-2",), metrics=metrics)
    engine = ScriptedEngine()
    outcome = sweep(plan, tmp_path / "whole", engine)
    for records in outcome.records.values():
        lengths = [record.n_tokens for record in records]
        assert [record.settings.lengths_before for record in records] == [
            tuple(lengths[:number]) for number in range(3)
        ]
    sweep(plan, tmp_path / "part", shard=Shard(2, 2))
    whole, part = contents(tmp_path / "whole"), contents(tmp_path / "part")
    assert part.items() <= whole.items()


class TestShards:
    def test_they_split_the_work_and_merge_to_the_whole(self, tmp_path: Path) -> None:
        plan = make_plan()
        whole = sweep(plan, tmp_path / "whole")
        folders, runs = [], []
        for index in (1, 2, 3, 4):
            engine = ScriptedEngine()
            folders.append(tmp_path / str(index))
            sweep(plan, folders[-1], engine, shard=Shard(index, 4))
            runs += engine.runs
            assert 4 <= len(engine.runs) <= 5
        assert len(set(runs)) == len(runs) == count_prompts(plan)
        merged = merge_sweeps(folders, SweepFolder(tmp_path / "out", pytest.fail), pytest.fail)
        assert contents(tmp_path / "out") == contents(tmp_path / "whole")
        assert merged.plan == plan
        assert {
            cell: [record.key for record in of_cell] for cell, of_cell in merged.records.items()
        } == {cell: [record.key for record in of_cell] for cell, of_cell in whole.records.items()}
        engine = ScriptedEngine()
        sweep(plan, tmp_path / "out", engine)
        assert not engine.runs

    def test_they_can_share_a_folder(self, tmp_path: Path) -> None:
        plan = make_plan(models=("alpha", "missing"))
        for index in (1, 2):
            sweep(plan, tmp_path, shard=Shard(index, 2))
        assert {path.name for path in tmp_path.glob("*.json")} == {
            f"{name}-{index}-of-2.json" for name in ("sweep", "failures") for index in (1, 2)
        }
        merged = merge_sweeps([tmp_path], SweepFolder(tmp_path, pytest.fail), pytest.fail)
        assert [len(record) for record in merged.records.values()] == [3, 3, 3, 0, 0, 0]
        assert len(merged.failures) == 1

    def test_a_part_that_is_nowhere_is_told(self, tmp_path: Path) -> None:
        plan = make_plan(("alpha",))
        for index in (1, 3):
            sweep(plan, tmp_path / str(index), shard=Shard(index, 3))
        notices: list[str] = []
        out = SweepFolder(tmp_path / "out", pytest.fail)
        merge_sweeps([tmp_path / "1", tmp_path / "3"], out, notices.append)
        assert notices == ["Part 2 of 3 of the sweep is in none of the folders."]

    def test_a_model_of_other_layers_under_the_same_name_is_left_out(self, tmp_path: Path) -> None:
        plan = make_plan(("alpha",), ("facts:1",))
        for index, n_layers in ((1, 4), (2, 6)):
            engine = ScriptedEngine({"alpha": n_layers})
            sweep(plan, tmp_path / str(index), engine, shard=Shard(index, 2))
        notices: list[str] = []
        out = SweepFolder(tmp_path / "out", pytest.fail)
        merged = merge_sweeps([tmp_path / "1", tmp_path / "2"], out, notices.append)
        (cell,) = summarise_sweep(merged).cells
        assert (len(cell.records), len(cell.curves["kl"])) == (2, 5)
        assert ["other layers" in words for words in notices] == [True]

    def test_many_parts_that_are_nowhere_are_one_sentence(self, tmp_path: Path) -> None:
        sweep(make_plan(("alpha",)), tmp_path, shard=Shard(3, MOST_SHARDS))
        notices: list[str] = []
        merge_sweeps([tmp_path], SweepFolder(tmp_path / "out", pytest.fail), notices.append)
        assert notices == ["Parts 1-2, 4-10000 of 10000 of the sweep are in none of the folders."]

    @pytest.mark.parametrize("part", ["1-of-1000000000000", "3-of-2", "0-of-1"])
    def test_an_absurd_part_ends_at_once(self, tmp_path: Path, part: str) -> None:
        sweep(make_plan(("alpha",)), tmp_path)
        (tmp_path / "sweep.json").rename(tmp_path / f"sweep-{part}.json")
        with pytest.raises(DepthError, match="no sweep has more than 10,000 parts"):
            merge_sweeps([tmp_path], SweepFolder(tmp_path / "out", pytest.fail), pytest.fail)

    def test_what_one_could_do_did_not_fail(self, tmp_path: Path) -> None:
        plan = make_plan(("alpha",), ("facts:1",))
        engine = ScriptedEngine(dies_at=2)

        def fail() -> None:
            raise DepthError("The memory ran out.")

        engine.death = fail
        sweep(plan, tmp_path / "a", engine)
        folders = [tmp_path / "a", tmp_path / "b"]
        out = SweepFolder(tmp_path / "out", pytest.fail)
        sweep(make_plan(("beta",), ("facts:1",)), tmp_path / "b")
        assert len(merge_sweeps(folders, out, pytest.fail).failures) == 1
        sweep(plan, tmp_path / "b")
        assert not merge_sweeps(folders, out, pytest.fail).failures

    @pytest.mark.parametrize("into", ["a", "b"])
    def test_failures_outlive_a_merge_into_one_of_its_inputs(
        self, tmp_path: Path, into: str
    ) -> None:
        sweep(make_plan(("alpha", "missing")), tmp_path / "a")
        sweep(make_plan(("beta",)), tmp_path / "b")
        folders = [tmp_path / "a", tmp_path / "b"]
        out = SweepFolder(tmp_path / into, pytest.fail)
        (failure,) = merge_sweeps(folders, out, pytest.fail).failures
        assert failure.model == "missing"
        assert open_sweep(tmp_path / into, pytest.fail).failures == [failure]
        assert open_sweep(tmp_path / into, pytest.fail).plan.models == tuple(
            map(ModelSpec, ("alpha", "missing", "beta"))
        )

    def test_a_merge_that_cannot_be_forgets_no_failures(self, tmp_path: Path) -> None:
        sweep(make_plan(("alpha", "missing")), tmp_path / "a")
        sweep(make_plan(("beta",), lens_top_k=3), tmp_path / "b")
        before = (tmp_path / "a" / "failures.json").read_text()
        out = SweepFolder(tmp_path / "a", pytest.fail)
        with pytest.raises(DepthError, match="different settings"):
            merge_sweeps([tmp_path / "a", tmp_path / "b"], out, pytest.fail)
        assert (tmp_path / "a" / "failures.json").read_text() == before

    def test_a_merge_replaces_no_file_of_others(self, tmp_path: Path) -> None:
        sweep(make_plan(("alpha",)), tmp_path / "a")
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "failures.json").write_text("[]")
        out = SweepFolder(tmp_path / "out", pytest.fail)
        with pytest.raises(DepthError, match="no file of a sweep"):
            merge_sweeps([tmp_path / "a"], out, pytest.fail)
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["failures.json"]

    def test_sweeps_of_other_models_and_tasks_merge(self, tmp_path: Path) -> None:
        sweep(make_plan(("alpha",)), tmp_path / "a")
        sweep(make_plan(("beta",), ("addition:2-3",)), tmp_path / "b")
        out = SweepFolder(tmp_path / "out", pytest.fail)
        merged = merge_sweeps([tmp_path / "a", tmp_path / "b"], out, pytest.fail)
        assert merged.plan.models == (ModelSpec("alpha"), ModelSpec("beta"))
        assert [task.title for task in merged.plan.tasks] == [
            "addition, 1 digit",
            "addition, 2 digits",
            "commonsense",
            "addition, 3 digits",
        ]
        assert [len(record) for record in merged.records.values()] == [3, 3, 3, 0, 0, 3, 0, 3]

    def test_what_was_measured_otherwise_is_refused(self, tmp_path: Path) -> None:
        sweep(make_plan(("alpha",)), tmp_path / "a")
        sweep(make_plan(("beta",), lens_top_k=3), tmp_path / "b")
        sweep(make_plan(("beta",), drawing=Drawing(2)), tmp_path / "c")
        (tmp_path / "d").mkdir()
        out = SweepFolder(tmp_path / "out", pytest.fail)
        for other, problem in (
            ("b", "different settings"),
            ("c", "different prompts"),
            ("d", "holds no sweep"),
        ):
            with pytest.raises(DepthError, match=problem):
                merge_sweeps([tmp_path / "a", tmp_path / other], out, pytest.fail)

    def test_a_manifest_cannot_name_files_elsewhere(self, tmp_path: Path) -> None:
        sweep(make_plan(("alpha",)), tmp_path)
        path = tmp_path / "sweep.json"
        text = path.read_text()
        name = next(iter(read_manifest(path).names.values()))[0]
        path.write_text(text.replace(name, "../../secret.json"))
        with pytest.raises(DepthError, match="cannot be read"):
            merge_sweeps([tmp_path], SweepFolder(tmp_path / "out", pytest.fail), pytest.fail)

    def test_a_record_that_is_gone_is_told(self, tmp_path: Path) -> None:
        sweep(make_plan(("alpha",)), tmp_path / "a")
        next((tmp_path / "a" / "records").rglob("0001-*.json")).unlink()
        notices: list[str] = []
        merged = merge_sweeps(
            [tmp_path / "a"], SweepFolder(tmp_path / "out", notices.append), notices.append
        )
        assert sum(map(len, merged.records.values())) == 8
        assert len(notices) == 1


def test_the_same_model_in_two_ways_is_two_models(tmp_path: Path) -> None:
    plan = make_plan(("alpha",))
    plan = replace(plan, models=(*plan.models, ModelSpec("alpha", dtype="bfloat16")))
    engine = ScriptedEngine()
    outcome = sweep(plan, tmp_path, engine)
    assert engine.loads == ["alpha", "alpha"]
    assert sum(map(len, outcome.records.values())) == count_prompts(plan)
