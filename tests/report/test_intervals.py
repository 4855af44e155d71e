"""Every report shows how sure a depth is, or says why that cannot be said."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from depthtui.data.depth import DepthEstimate
from depthtui.data.run import RunResult
from depthtui.data.run_settings import SummarySettings
from depthtui.depth.reading import reading_of
from depthtui.depth.verdict_words import spread
from depthtui.report.as_html import html_bytes
from depthtui.report.as_markdown import markdown_bytes
from depthtui.report.as_rich import rich_lines
from depthtui.report.phrases import interval
from depthtui.report.run_document import run_document
from depthtui.report.summary_json import summary_json
from tests.builders.readings import group_of
from tests.builders.results import random_result

SETTINGS = SummarySettings(kl_threshold=0.97)


def runs(n: int) -> list[RunResult]:
    return [random_result(12, 20, seed=seed) for seed in range(n)]


def documents(results: list[RunResult], settings: SummarySettings = SETTINGS) -> list[str]:
    group = group_of(results, settings=settings)
    console = Console(file=StringIO(), width=100)
    console.print(rich_lines(run_document([group])))
    assert isinstance(console.file, StringIO)
    return [
        console.file.getvalue(),
        markdown_bytes(run_document([group])).decode(),
        html_bytes(run_document([group])).decode(),
    ]


def test_intervals_are_shown_and_written() -> None:
    results = runs(6)
    summary = reading_of(results, SETTINGS)
    assert summary.verdict is not None
    rows = [row for row in summary.verdict.evidence if row.kind == "readable" and row.interval]
    assert rows
    for text in documents(results):
        assert "95% intervals by bootstrap over prompts" in " ".join(text.split())
        for row in rows:
            assert f"{spread(row)}, {row.reliability}" in text
            assert "±½" not in text, "a second range of the same count"
    estimates = json.loads(summary_json(group_of(results, settings=SETTINGS)))["effective_depth"]
    assert [text["interval"] for text in estimates] == [
        list(estimate.interval) if estimate.interval else None for estimate in summary.depths
    ]


@pytest.mark.parametrize(
    ("tasks", "words"),
    [
        (["addition"], "other draws of this generator"),
        (["addition", "facts"], "other draws of these generators"),
        (["grade_school"], "other prompts like these"),
        (["typed", "addition"], "other draws of this generator and other prompts like these"),
    ],
)
def test_the_prompts_that_a_firm_count_is_about_are_named(tasks: list[str], words: str) -> None:
    results = runs(6)
    for number, result in enumerate(results):
        result.prompt = replace(result.prompt, task=tasks[number % len(tasks)])
    for text in documents(results):
        assert f"Firm is a claim about {words}." in " ".join(text.split())


@pytest.mark.parametrize("n", [1, 4])
def test_too_few_prompts_are_said(n: int) -> None:
    for text in documents(runs(n)):
        assert f"No interval: too few prompts to say ({n}; 5 are needed)." in " ".join(text.split())


def test_prompts_of_uneven_length_are_warned_of() -> None:
    even, uneven = runs(6), [random_result(12, tokens, seed=tokens) for tokens in (5, 6, 7, 300)]
    for text in documents(even):
        assert "each prompt once" not in text
        assert "so much in length" not in text
    for text in documents(uneven):
        assert "each prompt once" in text or "Each prompt counted once: cosine" in text
        assert (
            "The 4 prompts differ so much in length that the mean over tokens is worth 1.1 prompts "
            "of one length: prefer the depths where each prompt counts once."
        ) in " ".join(text.split())
    (kl,) = (
        row
        for row in json.loads(summary_json(group_of(uneven, settings=SETTINGS)))["effective_depth"]
        if row["rule"] == "kl"
    )
    assert kl["count"] == kl["layer"] + 1
    assert kl["prompt_weighted"]["count"] == kl["prompt_weighted"]["layer"] + 1
    pooled = json.loads(summary_json(group_of(uneven, settings=SETTINGS)))["pooled"]
    assert pooled == {
        "prompts": 4,
        "tokens": 318,
        "effective_prompts": pytest.approx(318**2 / (25 + 36 + 49 + 90_000)),
    }


def test_whole_layers_have_no_decimals() -> None:
    assert interval(DepthEstimate("kl", 3, 0.5, 0.5, interval=(2.0, 11.0))) == "3 … 12"
    assert interval(DepthEstimate("kl", 3, 0.5, 0.5)) == "–"
