"""A row and a verdict for each run, beside what is read of the run alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console

from depthtui.data.run import Prompt, RunResult
from depthtui.data.run_settings import RunSettings, SummarySettings
from depthtui.depth.reading import reading_of
from depthtui.depth.verdict_words import spread
from depthtui.report.as_rich import rich_lines
from depthtui.report.blocks import Block, Chapter, Document, Noted, Table, View, blocks_in
from depthtui.report.run_rows import run_counts, run_rows, run_verdicts
from tests.builders.results import full_result, full_run, run, stopped_run

SETTINGS = SummarySettings()


def rows_of(results: Sequence[RunResult], view: View = "text") -> list[dict[str, str]]:
    """The cells of each run's row by the heads of their columns."""
    return cells_of(blocks_of(results, view), view)


def cells_of(blocks: Sequence[Block], view: View = "text") -> list[dict[str, str]]:
    """The cells of each row of the only table, by the heads of their columns."""
    (table,) = (block for block in blocks if isinstance(block, Table))
    columns, rows = table.in_view(view)
    heads = [column.title for column in columns]
    return [
        {
            head: f"{cell.text}|{cell.note}" if isinstance(cell, Noted) else str(cell)
            for head, cell in zip(heads, row, strict=True)
        }
        for row in rows
    ]


def blocks_of(results: Sequence[RunResult], view: View) -> list[Block]:
    return list(blocks_in(run_rows(reading_of(results, SETTINGS).alone), view))


def test_a_row_has_what_is_kept_of_the_run_alone() -> None:
    settings = RunSettings(metrics=("contributions", "logit_lens", "kept"))
    prompt, short = (Prompt("one two three four five six " * times) for times in (4, 2))
    results = [full_result(prompt, settings=settings), run("It boils at noon", tokens=12)]
    few, full, quick = rows_of([full_result(short, settings=settings), *results])
    verdict = reading_of(results[:1], SETTINGS).verdict
    assert verdict is not None
    headline = verdict.headline
    assert headline is not None
    assert headline.count is not None
    (row,) = (row for row in verdict.evidence if row.measure == headline.measure)
    ends = f"{headline.low}–{headline.high}, {row.reliability}"
    assert full["nine tenths"] == f"{math.ceil(headline.count)} ({ends})"
    assert few["nine tenths"] == few["mean depth"] == "–", "no range"
    assert few["nats known"] != "–"
    assert full["mean depth"] == f"{headline.mean_depth:.1f}"
    assert full["nats known"] == f"{headline.gain:.1f}"
    assert {quick[title] for title in ("nine tenths", "mean depth", "nats known")} == {"–"}


def test_counts_follow_in_a_chapter_or_take_the_place_of_what_is_kept() -> None:
    results = [full_run("To Paris", tokens=12, seed=2), run("It boils at noon", tokens=7)]
    readings = reading_of(results, SETTINGS).alone
    (chapter,) = blocks_in([run_counts(readings)], "text")
    assert isinstance(chapter, Chapter)
    for number, (result, row) in enumerate(
        zip(results, cells_of(list(chapter.blocks)), strict=True), start=1
    ):
        alone = reading_of([result], SETTINGS)
        assert row["prompt"] == f"{number} · {result.prompt.text}|"
        assert row["tokens"] == str(len(result.tokens))
        assert row["loss"] == f"{result.loss:.2f}"
        counts = {
            **{
                {"kl": "KL"}.get(evidence.rule, evidence.rule): evidence.count
                for evidence in alone.depths
            },
            **{
                each.title: f"{each.count} ({spread(each)}, {each.reliability})"
                for each in alone.evidence
                if each.kind == "causal" and (each.low != each.high or not each.is_fragile)
            },
        }
        assert "kept" in row.keys() - counts.keys(), "few tokens have no range"
        for title in row.keys() - {"prompt", "tokens", "loss"}:
            count = counts.get({"decided": "margin"}.get(title, title))
            assert row[title] == ("–" if count is None else str(count)), title
    quick = results[1:]
    assert list(blocks_in([run_counts(reading_of(quick, SETTINGS).alone)], "text")) == []
    assert {"KL", "overlap"} < rows_of(quick)[0].keys()


def test_tasks_are_named_where_there_are_several() -> None:
    typed = replace(run("Mine"), prompt=Prompt("Mine"))
    assert [row["prompt"] for row in rows_of([run("a"), typed])] == [
        "1 · a|commonsense, 2",
        "2 · Mine|typed",
    ]
    assert [row["prompt"] for row in rows_of([run("a"), run("b")])] == ["1 · a|", "2 · b|"]


def test_a_stopped_run_says_how_far_it_is() -> None:
    for view in ("text", "brief"):
        rows = rows_of([run("a"), stopped_run("b")], view)
        assert rows[1]["prompt"] == "2 · b|stopped after 2 of 4 layers"


def test_a_terminal_has_the_first_rows_and_files_have_all() -> None:
    results = [run(f"prompt {number}") for number in range(23)]
    assert len(rows_of(results)) == 23
    assert len(rows_of(results, "brief")) == 20
    console = Console(width=100)
    with console.capture() as captured:
        console.print(rich_lines(Document("", blocks_of(results, "brief"))))
    assert "… and 3 more in the report." in captured.get()
    assert "prompt 19" in captured.get()
    assert "prompt 20" not in captured.get()


def test_each_verdict_is_the_run_s_own() -> None:
    results = [full_run("To Paris", seed=2), run("It boils"), full_run("Snow", seed=3)]
    verdicts = [reading_of([result], SETTINGS).verdict for result in results]
    assert all(verdicts)
    items = run_verdicts(reading_of(results, SETTINGS).alone)
    assert items.texts == [
        f"{number}: {verdict.sentence}" for number, verdict in enumerate(verdicts, start=1)
    ]
    assert len(set(items.texts)) == 3


def test_runs_of_one_verdict_are_named_together() -> None:
    readings = reading_of([run("a"), run("b", tokens=20), run("c")], SETTINGS).alone
    of_short, of_long = (readings[number].verdict for number in (0, 1))
    assert of_short is not None
    assert of_long is not None
    not_counted, wrong = of_long.text.split(". ")
    assert run_verdicts(readings).texts == [
        f"1, 3: {of_short.text}",
        f"2: {not_counted}.",
        f"2: {wrong}",
    ]
    assert run_verdicts(readings[::2]).texts == [f"Every run: {of_short.text}"]
