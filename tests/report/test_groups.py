"""Which runs are pooled."""

from __future__ import annotations

from dataclasses import replace

from depthtui.data.run_settings import RunSettings
from depthtui.report.groups import group_runs
from tests.builders.results import run, stopped_run


def test_models_and_settings_are_kept_apart() -> None:
    runs = [
        run("1"),
        run("2", dtype="bfloat16"),
        run("3"),
        replace(run("4"), settings=RunSettings(chat_template=True, top_k=3)),
        run("5", fingerprint="other weights"),
    ]
    groups = group_runs(runs)
    texts = [[result.prompt.text for result in group.results] for group in groups]
    assert texts == [["1", "3"], ["2"], ["4"], ["5"]]
    assert groups[1].title == "tiny, bfloat16 on cpu"
    assert groups[2].title == "tiny, float32 on cpu, chat template"


def test_of_a_prompt_run_twice_the_last_counts() -> None:
    first, other, last = run("1"), run("2"), run("1", seed=1)
    (group,) = group_runs([first, other, last])
    assert [result is last or result is other for result in group.results] == [True, True]


def test_a_stopped_rerun_does_not_replace_a_finished_run() -> None:
    finished = run("1")
    (group,) = group_runs([finished, stopped_run("1")])
    assert group.results == (finished,)


def test_stopped_runs_are_left_out_where_there_are_finished_ones() -> None:
    finished, stopped = run("1"), stopped_run("2")
    (group,) = group_runs([finished, stopped])
    assert (group.results, group.stopped) == ((finished,), 1)
    (group,) = group_runs([stopped])
    assert (group.results, group.stopped) == ((stopped,), 0)
