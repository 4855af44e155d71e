"""Which runs are pooled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from depthtui.data.pool import Pool
from depthtui.data.run import Prompt, RunResult
from depthtui.data.run_settings import RunSettings, Skip, SummarySettings
from depthtui.report.groups import RunGroup, group_runs, pools_of
from tests.builders.results import run, stopped_run


def groups_of(runs: Sequence[RunResult], pool: Pool = "model") -> list[RunGroup]:
    return group_runs(runs, SummarySettings(), pool)


def test_models_and_settings_are_kept_apart() -> None:
    runs = [
        run("1"),
        run("2", dtype="bfloat16"),
        run("3"),
        replace(run("4"), settings=RunSettings(chat_template=True, lens_top_k=3)),
        run("5", fingerprint="other weights"),
    ]
    groups = groups_of(runs)
    texts = [[result.prompt.text for result in group.results] for group in groups]
    assert texts == [["1", "3"], ["2"], ["4"], ["5"]]
    assert groups[1].title == "tiny, bfloat16 on cpu"
    assert groups[2].title == "tiny, float32 on cpu, chat template"


def test_a_title_names_the_ranks_of_a_model_that_is_cut() -> None:
    result = run("1")
    cut = replace(result.model, spec=replace(result.model.spec, tensor_parallel=4))
    (group,) = groups_of([replace(result, model=cut)])
    assert group.title == "tiny, float32 on cpu, over 4 ranks"


def choosing(text: str, *metrics: str, **choices: Any) -> RunResult:
    """A run that was asked for some metrics and choices."""
    result = run(text)
    metrics = (*result.settings.metrics, *metrics)
    return replace(result, settings=replace(result.settings, metrics=metrics, **choices))


def titles(*runs: RunResult) -> list[str]:
    """What the headings of the runs' groups say beside the model."""
    return [group.title.removeprefix("tiny, float32 on cpu") for group in groups_of(runs)]


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
    runs = [choosing(text, "ablation", layers=text) for text in ("1,0", "0-1", "0-2/3,1")]
    assert titles(*runs) == [", layers 0-1"]
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
    (group,) = groups_of([first, other, last])
    assert [result is last or result is other for result in group.results] == [True, True]


def test_a_stopped_rerun_does_not_replace_a_finished_run() -> None:
    finished = run("1")
    (group,) = groups_of([finished, stopped_run("1")])
    assert group.results == [finished]


def test_stopped_runs_are_left_out_where_there_are_finished_ones() -> None:
    finished, stopped = run("1"), stopped_run("2")
    (group,) = groups_of([finished, stopped])
    assert (group.results, group.parts[0].n_stopped) == ([finished], 1)
    (group,) = groups_of([stopped])
    assert (group.results, group.parts[0].n_stopped) == ([stopped], 0)


SESSION = [
    replace(run(str(number)), prompt=Prompt(str(number), "", task, level))
    for number, (task, level) in enumerate(
        [("typed", ""), ("sums", "2"), ("file", ""), ("sums", "2"), ("sums", "3"), ("typed", "")]
    )
]


def pooled(pool: Pool) -> list[str]:
    """The prompts of a session's groups, those that are pooled in one text."""
    (group,) = groups_of(SESSION, pool)
    return ["".join(result.prompt.text for result in part.results) for part in group.parts]


def test_prompts_are_pooled_as_is_asked() -> None:
    assert pooled("none") == ["0", "1", "2", "3", "4", "5"]
    assert pooled("task") == ["0", "13", "2", "4", "5"]
    assert pooled("model") == ["012345"]


def test_only_ways_to_pool_that_differ_are_offered() -> None:
    typed, sums, file, *_ = SESSION
    other = replace(sums, model=run(dtype="bfloat16").model)
    assert pools_of(SESSION) == ["none", "task", "model"]
    assert pools_of([typed, sums, file]) == ["none", "model"]
    assert pools_of([sums, SESSION[3]]) == ["none", "task"]
    assert pools_of([sums, other]) == ["none"]
    assert pools_of([typed]) == ["none"]
    assert pools_of([]) == ["none"]


def test_no_pool_has_runs_of_two_models() -> None:
    other = replace(SESSION[1], model=run(dtype="bfloat16").model)
    groups = groups_of([*SESSION, other], "task")
    assert [len(group.parts) for group in groups] == [5, 1]
    assert groups[1].results == [other]


def test_a_run_by_itself_is_never_left_out() -> None:
    again, stopped = run("0", seed=1), stopped_run("9")
    (group,) = groups_of([*SESSION, again, stopped], "none")
    assert [*group.results] == [*SESSION, again, stopped]
    assert sum(part.n_stopped for part in group.parts) == 0


def test_a_stopped_run_is_left_out_of_its_task_alone() -> None:
    stopped = [replace(stopped_run(), prompt=Prompt("9", "", task)) for task in ("sums", "typed")]
    stopped[0].prompt = Prompt("9", "", "sums", "2")
    (group,) = groups_of([*SESSION, *stopped], "task")
    assert [part.n_stopped for part in group.parts] == [0, 1, 0, 0, 0, 0]
    assert group.parts[1].results == [SESSION[1], SESSION[3]]
    assert group.results[-1] is stopped[1]
