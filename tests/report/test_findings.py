"""What was found beyond the effective depth, in words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from depthtui.data.lens import LogitLens
from depthtui.data.run import RunResult
from depthtui.data.run_settings import Skip, SummarySettings
from depthtui.depth.reading import reading_of
from depthtui.metrics.similarity import Similarity
from depthtui.metrics.skip_effects import SkipEffects
from depthtui.report.findings import findings, published_sentences
from depthtui.report.groups import group_runs
from tests.builders.metrics import ablation, random_metric
from tests.builders.results import full_run, lacking, run, stopped_run

SETTINGS = SummarySettings()


def told(*results: RunResult) -> dict[str, tuple[str, str]]:
    rows = findings(reading_of(results, SETTINGS))
    return {line.title: (line.value, line.remark) for line in rows}


def test_a_plain_run_tells_what_the_lens_knows() -> None:
    assert list(told(run())) == ["Answer margin", "Prediction depth"]
    assert told(lacking(run(), "logit_lens")) == {}
    assert told(stopped_run()) == {}


def test_the_lens_in_words() -> None:
    result = run(tokens=12)
    assert result.get(LogitLens) is not None
    choices = [[1, 1], [1, 1], [2, 1], [2, 1], [2, 1]]
    shares = [[1, 0], [1, 0], [1, 0.95], [1, 1], [1, 1]]
    result.get(LogitLens).top_ids[:, :, 0] = np.tile(choices, 6)
    result.get(LogitLens).top_probabilities[:, :, 0] = np.tile(shares, 6)
    result.get(LogitLens).next_log_probability[-1] = -2
    assert told(result) == {
        "Answer margin": (
            "-2.00 nats",
            "at the output; the answer's first token comes first in 0 of 1",
        ),
        "Prediction depth": ("1.0 of 4", "first choice stays, the next token's too"),
    }


def test_layers_are_ranked_by_the_loss_where_it_is_known() -> None:
    result = full_run()
    result.put(
        "ablation",
        ablation(np.array([[3.0], [-0.01], [0.5], [0.2]])),
    )
    distance = np.full((4, 4), 0.25)
    influence = np.array([[0.1], [0.2], [0.3], [0.4]])
    result.put("similarity", Similarity(influence, distance, distance))
    by_title = told(result)
    assert by_title["Most useful layers"] == ("0, 2, 3", "loss +3, +0.5, +0.2 nats")
    assert by_title["Least useful layers"] == ("1, 3, 2", "loss -0.01, +0.2, +0.5 nats")
    assert by_title["Best block to prune"] == ("layer 0", "n = 1, angular distance 0.250")
    by_title = told(lacking(result, "ablation"))
    assert by_title["Least useful layers"] == ("0, 1, 2", "block influence 0.1, 0.2, 0.3")


def published(result: RunResult) -> list[str]:
    return published_sentences(reading_of([result], SETTINGS))


PUBLISHED = (
    "Published for Mistral-7B-v0.1, by block influence: least over layers 26, 25, 24, 27, in this "
    "order (CASE-Lab-UMD/LLM-Drop)."
)


@pytest.mark.parametrize(
    ("least", "begins"),
    [
        ((24, 25, 27, 3), "Like the published layers: 3 of these 4 are among the 4 of least"),
        ((24, 25, 2, 3), "Unlike the published layers: 2 of these 4 are among the 4 of least"),
    ],
)
def test_published_layers_are_like_those_by_the_same_measure(
    least: tuple[int, ...], begins: str
) -> None:
    result = run(layers=32, name="Mistral-7B-v0.1")
    assert published(result) == [PUBLISHED]
    influence, distances = np.ones((32, 5)), np.ones((32, 32))
    influence[list(least)] = 0.5
    result.put("similarity", Similarity(influence, distances, distances))
    assert published(result) == [f"{begins} block influence here. {PUBLISHED}"]
    influence[0] = np.nan
    assert published(result) == [PUBLISHED]


def test_layers_published_by_another_measure_are_compared_with_nothing() -> None:
    result = run(layers=30, name="SmolLM2-135M-Instruct")
    result.put("ablation", ablation(np.ones((30, 4))))
    assert published(result) == [
        "Published for SmolLM2-135M, the base of this model, by another measure, perplexity "
        "without a layer: worst for layers 8, 9, 10, 11; better than the whole model's for layers "
        "14, 17 (arXiv 2603.19348)."
    ]
    assert published(run(layers=30)) == []


def test_published_perplexities_stand_beside_the_costs_here() -> None:
    result = run(layers=32, name="Llama-2-7b", tokens=24)
    _, words = published(result)
    assert words == (
        "Published for Llama-2-7b-hf, by perplexity without a layer: from the least, layers 6-15, "
        "17-28 (ties, within 5%), then 5, 29, 4, 16, 30, 3, 2, 31, 1, 0 (arXiv 2402.02834, "
        "Nota-NetsPresso/shortened-llm)."
    )
    result.put("kept", random_metric("kept", result, np.random.default_rng(0)))
    assert f"{words} Here, by the model's order, " in published(result)[1]
    result.put("ablation", ablation(0.01 * np.arange(32.0)[:, None]))
    begin, _, end = published(result)[1].partition(" (ties, within 5%), then 5, 6, 7, 8, 9, 10, ")
    assert begin == f"{words} Here, by ablation: from the least, layers 0-4"
    assert end.endswith("; 0.58 to 0.69 of other models of as many layers.")
    result.settings = replace(result.settings, skipped=(Skip(3),))
    assert published(result)[1] == words


def test_completeness_that_was_missed_is_not_hidden() -> None:
    assert told(full_run())["Completeness error"] == (
        "at most 3.00%",
        "wanted 0.01; missed in 1 layer",
    )


def test_scores_of_layers_that_do_nothing() -> None:
    result = full_run()
    assert result.get(SkipEffects) is not None
    for item in (result.get(SkipEffects).output, result.get(SkipEffects).mean_layers):
        item[...] = 0
    assert told(result)["DepthScore"] == ("–", "skipping a layer changes nothing")


def test_the_depth_score_in_words() -> None:
    result = full_run()
    assert result.get(SkipEffects) is not None
    result.get(SkipEffects).output[...] = [0, 1, 0, 1]
    result.get(SkipEffects).mean_layers[...] = 1
    result.get(SkipEffects).part = "layer"
    assert told(result)["DepthScore"] == (
        "2.0 and 1.0 of 4",
        "by effect on output and later layers",
    )
    result.get(SkipEffects).part = "mlp"
    assert told(result)["DepthScore"][1].endswith("later layers; only the MLP left out")
    result.put(
        "ablation",
        ablation(np.array([[3.0], [2.0], [1.0], [0.5]]), part="attention"),
    )
    assert told(result)["Most useful layers"][1].endswith("nats; only the attention left out")


def test_prompts_of_one_command_are_one_group_whatever_came_before() -> None:
    first, second = run("one"), run("two")
    second = replace(second, settings=replace(second.settings, lengths_before=(5,), answer_start=2))
    assert len(group_runs([first, second], SETTINGS)) == 1


def test_a_what_if_is_a_group_of_its_own_and_says_so() -> None:
    unchanged, what_if = run("one"), run("one")
    skipped = (Skip(3), Skip(0, "mlp"))
    what_if = replace(what_if, settings=replace(what_if.settings, skipped=skipped))
    clean, changed = group_runs([unchanged, what_if], SETTINGS)
    assert "without" not in clean.title
    assert changed.title.endswith(", without layer 3, layer 0 MLP")
