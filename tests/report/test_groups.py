"""Which runs are pooled."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from depthtui.data.run import RunResult
from depthtui.data.run_settings import RunSettings, Skip
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


def choosing(text: str, *metrics: str, **choices: Any) -> RunResult:
    """A run that was asked for some metrics and choices."""
    result = run(text)
    metrics = (*result.settings.metrics, *metrics)
    return replace(result, settings=replace(result.settings, metrics=metrics, **choices))


def titles(*runs: RunResult) -> list[str]:
    """What the headings of the runs' groups say beside the model."""
    return [group.title.removeprefix("tiny, float32 on cpu") for group in group_runs(runs)]


def test_choices_of_slower_metrics_are_told_apart() -> None:
    erasing = {"erase_tokens": 1, "erase_search": "bisect", "erase_threshold": 0.2}
    assert titles(
        choosing("1", "ablation"),
        choosing("1", "ablation", layers="0-1,3"),
        choosing("1", "skip_effects", skip_positions=(8, 20)),
        choosing("1", "skip_effects", skip_positions=(8,)),
        choosing("1", "residual_erasure", **erasing),
        choosing("1", "residual_erasure", erase_tokens=32),
    ) == [
        "",
        ", layers 0-1,3",
        ", skipped before tokens 8,20",
        ", skipped before token 8",
        ", 1 token erased, depths bisected at 0.2",
        ", 32 tokens erased",
    ]


def test_choices_that_mean_the_same_are_one_group() -> None:
    written = [choosing(text, "ablation", layers=text) for text in ("1,0", "0-1", "0-2/3,1")]
    assert titles(*written) == [", layers 0-1"]
    assert titles(choosing("1", "ablation", layers="/2")) == [", layers /2"]
    assert titles(choosing("1", "ablation"), choosing("2", "ablation", layers="0-3")) == [""]
    same = [
        choosing(str(effect), "residual_erasure", erase_threshold=effect) for effect in (0.1, 0.2)
    ]
    assert titles(*same) == [""]


def test_choices_part_no_runs_for_which_they_do_not_matter() -> None:
    quick = [
        choosing("1"),
        choosing("2", layers="0-1"),
        choosing("3", "similarity", erase_tokens=4),
    ]
    assert titles(*quick) == [""]
    # Quick runs that were made with the choice stay with the slow ones.
    slow = choosing("4", "ablation", layers="0-1", erase_tokens=8)
    assert titles(slow, choosing("2", layers="0-1")) == [", layers 0-1"]
    off = choosing("5", "ablation", layers="0-2", skipped=(Skip(1),))
    assert titles(off, choosing("6", skipped=(Skip(1),)), slow) == [
        ", without layer 1",
        ", layers 0-1",
    ]


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
