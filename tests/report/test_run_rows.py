"""A row and a verdict for each run, beside what is read of the run alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console

from depthtui.data.run import Prompt, RunResult
from depthtui.data.run_settings import SummarySettings
from depthtui.depth.reading import reading_of
from depthtui.report.as_rich import rich_lines
from depthtui.report.blocks import Block, Document, Noted, Table, View, blocks_in
from depthtui.report.run_rows import run_rows, run_verdicts
from tests.builders.results import full_run, run, stopped_run

SETTINGS = SummarySettings()


def rows_of(results: Sequence[RunResult], view: View = "text") -> list[dict[str, str]]:
    """The cells of each run's row by the heads of their columns."""
    (table,) = (block for block in blocks_of(results, view) if isinstance(block, Table))
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


def test_a_row_has_what_is_read_of_the_run_alone() -> None:
    results = [full_run("To Paris", seed=2), run("It boils at noon", tokens=7)]
    for result, row in zip(results, rows_of(results), strict=True):
        alone = reading_of([result], SETTINGS)
        assert row["prompt"] == f"{result.prompt.text}|"
        assert row["tokens"] == str(len(result.tokens))
        assert row["loss"] == f"{result.loss:.2f}"
        counts = {
            **{
                {"kl": "KL"}.get(evidence.rule, evidence.rule): evidence.count
                for evidence in alone.depths
            },
            **{
                evidence.title: evidence.count
                for evidence in alone.evidence
                if evidence.kind == "causal"
            },
        }
        for title in row.keys() - {"", "prompt", "tokens", "loss"}:
            count = counts.get(title)
            assert row[title] == ("–" if count is None else str(count)), title
    full, quick = (reading_of([result], SETTINGS) for result in results)
    causal = [evidence.title for evidence in full.evidence if evidence.kind == "causal"]
    assert "context depth" in causal
    assert not any(evidence.kind == "causal" for evidence in quick.evidence)
    assert {rows_of(results)[1][title] for title in causal} == {"–"}


def test_tasks_are_named_where_there_are_several() -> None:
    typed = replace(run("Mine"), prompt=Prompt("Mine"))
    assert [row["prompt"] for row in rows_of([run("a"), typed])] == [
        "a|commonsense, 2",
        "Mine|typed",
    ]
    assert [row["prompt"] for row in rows_of([run("a"), run("b")])] == ["a|", "b|"]


def test_a_stopped_run_says_how_far_it_is() -> None:
    for view in ("text", "brief"):
        rows = rows_of([run("a"), stopped_run("b")], view)
        assert rows[1]["prompt"] == "b|stopped after 2 of 4 layers"


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
