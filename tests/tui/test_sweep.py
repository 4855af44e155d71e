"""The screen of sweeps: started, watched, stopped, gone on with, opened again, exported."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest
from textual.widgets import Checkbox, Input, SelectionList

from depthtui.data.lens import LensFit
from depthtui.data.protocol import LoadModel, StartRun, StartSweep
from depthtui.data.run_settings import Drawing, ModelSpec, SummarySettings, Writing
from depthtui.data.verdict import Headline
from depthtui.metrics.reduced_lens import ReducedFittedLens, ReducedSettling
from depthtui.settings import Settings
from depthtui.sweep.plan import TaskChoice, with_written
from depthtui.sweep.questions import questions
from depthtui.sweep.records import Record
from depthtui.sweep.report.export import sweep_report
from depthtui.sweep.saved import default_folder, open_sweep, plan_from_text
from depthtui.sweep.state import Outcome
from depthtui.sweep.summary import CellSummary, summarise_sweep
from depthtui.tui.panes.findings_pane import FindingsPane
from depthtui.tui.panes.pane import Pane
from depthtui.tui.panes.sweep_table import (
    HEADS,
    SortedBy,
    SweepTable,
    columns_of,
    in_order,
    shorten,
)
from depthtui.tui.screens.dialogs.ask import Ask
from depthtui.tui.screens.dialogs.explanation_screen import ExplanationScreen
from depthtui.tui.screens.dialogs.export_screen import ExportScreen
from depthtui.tui.screens.dialogs.prompt_picker import PromptPicker
from depthtui.tui.screens.dialogs.sweep_dialog import SweepDialog
from depthtui.tui.screens.dialogs.sweep_list import SweepList
from depthtui.tui.screens.main_screen import MainScreen
from depthtui.tui.screens.sweep_screen import SweepScreen
from depthtui.tui.state.phase import Phase
from depthtui.tui.state.session import Session
from depthtui.tui.state.sweep_analysis import SweepAnalysis
from depthtui.tui.state.sweep_rows import SweepFinding, SweepRow, SweepViewBuilder
from depthtui.tui.state.sweeping import Sweeping, sweep_of_session
from tests.builders.engines import FakeEngine, ScriptedEngine
from tests.hostile import HOSTILE
from tests.sweep.sweeps import make_plan, sweep
from tests.tui.app_helpers import SIZES, Explored, explore
from tests.tui.panes.drawing import framed, lines
from tests.tui.test_lenses import open_reading

TASKS = ("addition:1-2", "commonsense")


@cache
def _ran(models: tuple[str, ...], examples: int) -> tuple[Outcome, Path]:
    """A sweep, run once, and its folder."""
    folder = Path(mkdtemp())
    plan = make_plan(models, TASKS, Drawing(examples=examples))
    return sweep(plan, folder, ScriptedEngine({"alpha": 12, "beta": 8})), folder


def ran(path: Path, models: tuple[str, ...] = ("alpha", "beta"), examples: int = 3) -> Sweeping:
    """A sweep that was run before."""
    outcome, folder = _ran(models, examples)
    shutil.copytree(folder, path, dirs_exist_ok=True)
    return Sweeping.opened(deepcopy(outcome), path)


async def show(it: Explored, opened: Sweeping | None = None) -> SweepScreen:
    """Press S, and wait until all is worked out."""
    if opened is not None:
        it.app.explorer.work.sweep = opened
    await it.press("b", "S", until=SweepScreen)
    screen = it.app.screen
    assert isinstance(screen, SweepScreen)
    await surveyed(it, screen)
    return screen


async def surveyed(it: Explored, screen: SweepScreen) -> None:
    """Wait until the rows are those of now."""

    def is_done() -> bool:
        sweep = screen.sweep
        if sweep is None:
            return True
        shown = sum(row.n_done for row in screen.sweep_view.rows)
        return screen.is_current and shown == sum(map(len, sweep.records.values()))

    await it.until(is_done, "what the sweep says")
    await it.pilot.pause()


# Without a screen -------------------------------------------------------------


def test_the_papers_depths_stand_beside_a_model_of_the_paper(tmp_path: Path) -> None:
    models = ("Qwen/Qwen2.5-7B-Instruct", "beta")
    plan = make_plan(models, ("grade_school", "commonsense"), Drawing(examples=2))
    outcome = sweep(plan, tmp_path, ScriptedEngine({models[0]: 28, "beta": 8}))
    builder = SweepViewBuilder()
    rows = builder.rows(outcome, "cells")
    (paper,) = [column for column in columns_of(rows, 120) if column.key == ("paper", "kl")]
    assert [paper.text(row) for row in rows] == ["≈26", "≈26", "", ""]
    assert [paper.value(row) for row in rows] == [26, 26, None, None]
    # Pooled over data sets, there is no one value.
    pooled = builder.rows(outcome, "models")
    assert not [column for column in columns_of(pooled, 120) if column.key.part == "paper"]


def test_rows_pool_what_they_say_they_pool(tmp_path: Path) -> None:
    opened = ran(tmp_path)
    outcome, builder = opened.outcome, SweepViewBuilder()
    cells = builder.build(outcome, "cells", False, False).rows
    assert [(row.model, row.task, row.n_done) for row in cells][:2] == [
        ("alpha", "addition, 1 digit", 3),
        ("alpha", "addition, 2 digits", 3),
    ]
    models = builder.build(outcome, "models", False, False).rows
    assert [(row.model, row.task, row.n_done) for row in models] == [
        ("alpha", "3 tasks", 9),
        ("beta", "3 tasks", 9),
    ]
    records = [
        record
        for cell, found in outcome.records.items()
        if cell.model.name == "beta"
        for record in found
    ]
    whole = CellSummary(outcome.plan.cells[-1], records, SummarySettings())
    assert models[1].depth("kl") == whole.depth("kl")
    # Models of 12 and of 8 layers have no mean curve.
    levels = builder.build(outcome, "levels", False, False).rows
    assert [(row.task, row.model) for row in levels] == [
        (task, model)
        for task in ("addition, 1 digit", "addition, 2 digits", "commonsense")
        for model in ("alpha", "beta")
    ]


def test_levels_pool_models_of_one_depth(tmp_path: Path) -> None:
    opened = Sweeping.opened(
        sweep(make_plan(("alpha", "beta"), TASKS), tmp_path, ScriptedEngine()), tmp_path
    )
    rows = SweepViewBuilder().build(opened.outcome, "levels", False, False).rows
    assert [(row.model, row.n_done) for row in rows] == [("2 models", 6)] * 3


def test_a_survey_is_not_worked_out_twice(tmp_path: Path) -> None:
    builder, opened = SweepViewBuilder(), ran(tmp_path)
    first = builder.build(opened.outcome, "cells", False, False)
    second = builder.build(opened.outcome, "cells", False, False)
    assert all(a.summary is b.summary for a, b in zip(first.rows, second.rows, strict=True))
    assert first.questions is second.questions
    opened.change(include_first_token=False)
    third = builder.build(opened.outcome, "cells", False, False)
    assert third.rows[0].summary is not None
    assert not third.rows[0].summary.settings.include_first_token


def read_by_affine_lens(record: Record) -> Record:
    """The record of a prompt that an affine lens has read, too, and as the logit lens did."""
    plain, n_layers = record.every["logit_lens"], record.model.n_layers
    settling = ReducedSettling(
        tokens=plain.tokens,
        divergence=np.zeros(n_layers + 1),
        mean_depth=0.0,
        late_share=0.0,
        settled=np.ones(n_layers + 1),
    )
    unknown = np.full(n_layers, np.nan)
    fitted = ReducedFittedLens(
        **vars(plain),
        settling=settling,
        fit=LensFit("affine", "texts", 40, 5760),
        held_out_kl=unknown,
        logit_held_out_kl=unknown,
    )
    lens = {"affine_lens": fitted}
    return replace(record, every={**record.every, **lens}, rest={**record.rest, **lens})


def test_a_sweep_is_read_through_every_lens_that_read_it(tmp_path: Path) -> None:
    opened = ran(tmp_path)
    assert opened.lenses == ("logit",)
    for found in opened.records.values():
        for number, record in found.items():
            found[number] = read_by_affine_lens(record)
    assert opened.lenses == ("logit", "affine")
    opened.change(lens="affine")
    row = SweepViewBuilder().build(opened.outcome, "cells", False, False).rows[0]
    assert row.summary is not None
    assert row.summary.settings.lens == "affine"


def test_a_threshold_without_a_curve_is_fixed(tmp_path: Path) -> None:
    opened = ran(tmp_path)
    assert not opened.why_fixed
    for found in opened.records.values():
        for number, record in found.items():
            every = {name: one for name, one in record.every.items() if name != "logit_lens"}
            found[number] = replace(record, every=every)
    assert set(opened.why_fixed) == {"kl_threshold", "overlap_threshold"}


def read_so(rows: Sequence[SweepRow], settings: SummarySettings) -> bool:
    """Whether the rows of a sweep are read by these settings."""
    return [row.summary and row.summary.settings for row in rows] == [settings] * 6


async def test_u_chooses_how_a_sweep_is_read_by_the_lenses_that_read_it(it: Explored) -> None:
    screen = await show(it, ran(it.folder))
    assert screen.sweep is not None
    before = screen.sweep.settings
    await open_reading(it)
    assert "No other lens has read these prompts." in " ".join(it.screen_text().split())
    assert "affine" not in it.screen_text()
    await it.press("escape")
    for found in screen.sweep.records.values():
        for number, record in found.items():
            found[number] = read_by_affine_lens(record)
    for last in ("escape", "enter"):
        await open_reading(it)
        await it.press("right", "down", "minus", "minus", "minus")
        tried = replace(before, lens="affine", kl_threshold=0.35)
        # The table behind the form shows what is tried.
        await it.until(lambda: read_so(screen.rows, tried), "the rows")  # noqa: B023
        await it.press(last)
        kept = before if last == "escape" else tried
        assert screen.sweep.settings == kept
        await it.until(lambda: read_so(screen.rows, kept), "the rows")  # noqa: B023
    # How runs are read is another thing.
    assert it.app.explorer.settings.lens == "logit"


def test_one_thing_is_worked_out_at_a_time_and_only_where_something_changed(
    tmp_path: Path,
) -> None:
    opened = ran(tmp_path)
    analysis = SweepAnalysis(opened)
    request = analysis.begin("cells")
    assert request is not None
    assert analysis.begin("cells") is None
    assert analysis.begin("models") is None
    analysis.show_rows(analysis.rows(request))
    assert len(analysis.view.rows) == 6
    assert analysis.view.summary is None
    analysis.finish(request, analysis.view_of(request))
    assert analysis.view.summary is not None
    assert analysis.is_current("cells")
    assert not analysis.is_current("models")
    assert analysis.begin("cells") is None
    opened.change(include_first_token=False)
    changed = analysis.begin("cells")
    assert changed is not None
    assert not changed.outcome.plan.summary.include_first_token


def test_a_live_sweep_compares_whole_cells_alone(tmp_path: Path) -> None:
    opened = ran(tmp_path)
    cell = opened.plan.cells[0]
    del opened.records[cell][2]
    live = SweepViewBuilder().build(opened.outcome, "cells", False, True)
    assert live.summary is not None
    assert cell not in [cell.cell for cell in live.summary.cells]
    assert live.rows[0].n_done == 2


def test_rows_are_sorted_by_any_column_unknown_ones_last(tmp_path: Path) -> None:
    opened = ran(tmp_path)
    opened.records[opened.plan.cells[1]].clear()
    rows = SweepViewBuilder().build(opened.outcome, "cells", False, False).rows
    columns = columns_of(rows, 120)
    for column in columns:
        for falls in (False, True):
            values = [
                column.value(row) for row in in_order(rows, columns, SortedBy(column.key, falls))
            ]
            known = [value for value in values if value is not None]
            assert known == sorted(known, reverse=falls)  # type: ignore[type-var]
            assert values[: len(known)] == known
    assert in_order(rows, columns, None) == list(rows)


@pytest.mark.parametrize(("layers", "words"), [(12.44, "12.4"), (None, "too little")])
def test_the_mean_depth_has_the_words_of_the_report(
    monkeypatch: pytest.MonkeyPatch, layers: float | None, words: str
) -> None:
    headline = Headline("kept", layers, None, None, None, layers, 4.0)
    monkeypatch.setattr(SweepRow, "headline", headline)
    row = SweepRow(("a",), "a", "facts", "facts", 1, 1, (), None, None)
    (mean,) = [column for column in columns_of([row], 120) if column.key.part == "mean"]
    assert (mean.text(row), mean.value(row)) == (words, layers)


def test_names_keep_both_ends() -> None:
    assert shorten("SmolLM2-135M-Instruct", 11) == "SmolL…truct"
    assert shorten("short", 8) == "short   "


def test_a_session_without_runs_is_no_sweep() -> None:
    assert sweep_of_session(Session(), SummarySettings()) is None


# The screen -------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
async def test_a_sweep_fits_every_size(it: Explored, size: tuple[int, int]) -> None:
    opened = ran(it.folder / "sweep")
    await it.resize(*size)
    screen = await show(it, opened)
    await it.press("space", "2", "j", "space", "j")
    text = it.screen_text()
    assert "18 of 18 prompts" in text
    assert "KL" in text
    assert "overlap" in text
    assert "cosine" in text
    # The answers come first.
    answer = "Not known: too few prompts"
    assert 0 < text.index("Does effective depth grow with size?") < text.index(answer)
    assert text.index(answer) < text.index("cosine ─")
    # The row under the cursor and those that are compared.
    assert "◆ beta · addition, 1 digit" in text
    if size[0] >= 120:
        assert "a alpha · addition, 1 digit" in text
        assert "b alpha · commonsense" in text or size[1] <= 40
    await it.press("tab", "tab", "G", until="▸ alpha on commonsense")
    assert all(len(line) <= size[0] for line in text.split("\n"))
    assert screen.row is not None
    estimate = screen.row.depth("kl")
    assert estimate is not None
    assert f"{estimate.layer}" in next(
        line for line in text.split("\n") if "▸" in line and "beta" in line
    )


async def test_a_sweep_has_a_name_its_rows_a_verdict_and_its_columns_an_explanation(
    it: Explored,
) -> None:
    await it.resize(200, 60)
    screen = await show(it, ran(it.folder / "0123456789abcdef"))
    top = it.screen_text().split("\n")[0]
    assert "alpha, beta x addition, 1 digit, addition, 2 digits, commonsense" in top
    assert "0123456789abcdef" not in top
    await it.resize(120, 40)
    await it.until(lambda: "alpha, beta x addition, commonsense " in it.screen_text())
    for _ in range(2):
        said = screen.row.verdict.sentence
        await it.until(lambda words=said: words in " ".join(it.screen_text().split()), said)
        await it.press("3", "j")
    await it.press("dollar_sign", "I", until=ExplanationScreen)
    assert "Ratio of the depth by decided" in it.screen_text()


async def test_runs_of_the_session_are_rows(tmp_path: Path) -> None:
    settings = Settings(cache_dir=tmp_path, palette="blue-yellow")
    async with explore(tmp_path, settings=settings) as it:
        await it.press("n")
        await it.ready()
        await it.until(lambda: len(it.session.results) == 2, "a second run")
        await it.ready()
        screen = await show(it)
        assert [(row.task, row.n_done) for row in screen.rows] == [("commonsense", 2)]
        assert "runs of this session" in it.screen_text()
        assert {pane.view.palette for pane in screen.query(Pane)} == {"blue-yellow"}
        # Nothing is loaded or run to show one of them.
        n_commands = len(it.engine.commands)
        await it.press("enter", until=MainScreen)
        assert it.session.current.number == 1
        assert len(it.engine.commands) == n_commands


@pytest.mark.parametrize(
    ("width", "left_out"), [(120, set()), (106, {"interval"}), (60, {"interval", "ratio"})]
)
async def test_columns_make_way_for_names(tmp_path: Path, width: int, left_out: set[str]) -> None:
    sweep = ran(tmp_path / "sweep", examples=5)
    rows = SweepViewBuilder().rows(sweep.outcome, "cells")
    table = SweepTable()
    async with framed(table, (width, 12)):
        table.show_rows(rows, {}, None, ("", ""))
        shown = lines(table)[HEADS:]
        task = rows[1].task if table.area.width >= 100 else rows[1].short_task
        assert f"alpha {task}" in " ".join(shown[1].split())
        assert not any("…" in line for line in shown)
        parts = {column.key.part for column in table.columns}
        assert {"layer", "interval", "ratio"} - parts == left_out


async def test_rows_are_grouped_sorted_filtered(it: Explored) -> None:
    opened = ran(it.folder / "sweep")
    screen = await show(it, opened)
    assert len(screen.rows) == 6
    await it.press("v")
    await it.until(lambda: len(screen.rows) == 2, "rows of models")
    await it.press("v")
    await it.until(lambda: screen.rows[0].task == "addition, 1 digit", "rows of levels")
    await it.press("v")
    await it.until(lambda: screen.rows[1].task == "addition, 2 digits", "rows of cells")
    # The column of the layers, the deepest first, then the other way, then as planned.
    columns = [column.head for column in screen.query_one(SweepTable).columns]
    await it.press(*"l" * columns.index("L"), "s")
    assert [row.model for row in screen.rows] == ["alpha"] * 3 + ["beta"] * 3
    await it.press("s")
    assert [row.model for row in screen.rows] == ["beta"] * 3 + ["alpha"] * 3
    assert "▲" in it.screen_text()
    await it.press("s")
    assert [row.model for row in screen.rows] == ["alpha"] * 3 + ["beta"] * 3
    await it.press("slash")
    screen.query_one("#filter", Input).value = "beta 2"
    await it.press("enter")
    assert [row.title for row in screen.rows] == ["beta · addition, 2 digits"]
    assert isinstance(screen.focused, SweepTable)
    await it.press("slash", "escape")
    assert len(screen.rows) == 6
    assert it.app.screen is screen


async def test_a_dialog_starts_a_sweep_and_rows_fill_in(it: Explored) -> None:
    it.engine.manual = True
    screen = await show(it)
    await it.press("n", until=SweepDialog)
    dialog = it.app.screen
    models = dialog.query_one("#models", SelectionList)
    await it.until(lambda: models.option_count, "the models")
    await it.until(lambda: models.has_focus, "the list")
    await it.until(lambda: "X" in models.render_line(0).text[:4], "the mark")
    await it.press("space")
    # What is off has no mark, in colour or without.
    await it.until(lambda: "X" not in models.render_line(0).text[:4], "no mark")
    await it.press("space")
    dialog.query_one("#task-addition", Checkbox).value = True
    for field, text, words in (
        ("#levels-addition", "99", "no level '99'"),
        ("#levels-addition", "1", "cells"),
        ("#more-tasks", "nonsense", "no task 'nonsense'"),
        ("#more-tasks", "", "cells"),
        ("#examples", "0", "whole number"),
    ):
        dialog.query_one(field, Input).value = text
        if words != "cells":
            await it.press("f5")
        await it.until(lambda words=words: words in it.screen_text(), words)
        assert it.app.screen is dialog
    assert not it.engine.sent(StartSweep)
    dialog.query_one("#more-models", Input).value = "alpha, beta"
    dialog.query_one("#levels-addition", Input).value = "1, 3"
    dialog.query_one("#examples", Input).value = "2"
    dialog.query_one("#write", Checkbox).value = True
    await it.until(lambda: "3 x 6 cells, 36 prompts" in it.screen_text(), "twice the count")
    assert dialog._plan() == with_written(dialog._plan(), Writing())
    dialog.query_one("#write", Checkbox).value = False
    await it.until(lambda: "3 x 3 cells, 18 prompts" in it.screen_text(), "the count")
    dialog.query_one("#choices", Checkbox).value = True
    await it.until(lambda: "commonsense has no options" in it.screen_text(), "the mistake")
    dialog.query_one("#task-commonsense", Checkbox).value = False
    await it.until(lambda: "3 x 2 cells" in it.screen_text(), "sums alone")
    assert all(task.choices for task in dialog._plan().tasks)
    dialog.query_one("#choices", Checkbox).value = False
    dialog.query_one("#task-commonsense", Checkbox).value = True
    await it.press("f5")
    await it.until(lambda: it.app.screen is screen, "the sweep")
    (command,) = it.engine.sent(StartSweep)
    assert isinstance(command, StartSweep)
    plan = plan_from_text(command.plan)
    assert [model.name for model in plan.models] == ["demo", "alpha", "beta"]
    assert [choice.title for choice in plan.tasks] == [
        "commonsense",
        "addition, 1 digit",
        "addition, 3 digits",
    ]
    cache_dir = it.app.explorer.cache_dir
    assert Path(command.folder) == default_folder(plan, cache_dir)
    assert it.app.explorer.phase is Phase.SWEEPING
    # Row by row, with what runs now.
    it.engine.advance(8)
    await it.until(lambda: screen.sweep and screen.sweep.n_done == 2, "two prompts")
    await it.until(lambda: "2 of 18 prompts" in it.screen_text(), "how far it is")
    assert "esc stops" in it.screen_text()
    it.engine.advance()
    await it.until(lambda: it.app.explorer.phase is Phase.READY, "the end")
    await surveyed(it, screen)
    assert all(row.n_done == row.n_prompts for row in screen.rows)
    assert "done, 18 of 18 prompts · beta is loaded" in it.screen_text()
    assert "beta is loaded now" in it.toasts()[-1]
    assert it.app.explorer.engine.spec.name == "beta"


async def test_escape_stops_and_r_goes_on_where_it_was_left(it: Explored) -> None:
    opened = ran(it.folder / "sweep")
    screen = await show(it, opened)
    folder = it.folder / "again"
    it.engine.sweep_halts_at = 5
    it.app.explorer.start_sweep(opened.plan, folder)
    screen.changed()
    await it.until(lambda: screen.sweep and screen.sweep.n_done == 5, "five prompts")
    await it.press("escape")
    await it.until(lambda: screen.sweep and screen.sweep.stage == "stopped", "its end")
    assert it.app.screen is screen
    assert len(open_sweep(folder, print).records[opened.plan.cells[0]]) == 3
    it.engine.sweep_halts_at = -1
    await it.press("r")
    await it.until(lambda: screen.sweep and screen.sweep.stage == "done", "the rest")
    await surveyed(it, screen)
    assert [row.n_done for row in screen.rows] == [3] * 6
    # The one that was stopped ran twice, every other once.
    assert len(it.engine.swept) == 19
    await it.press("escape")
    assert it.app.screen is it.main


async def test_files_that_a_sweep_was_opened_with_are_named_before_they_are_read(
    it: Explored,
) -> None:
    (it.folder / "own.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n')
    data = str(it.folder / "own.jsonl")
    task = TaskChoice("own", data=data, examples=2)
    plan = replace(make_plan(("alpha",)), tasks=(task,))
    outcome = sweep(plan, it.folder / "sweep", ScriptedEngine())
    del outcome.records[outcome.plan.cells[0]][1]
    await it.resize(200, 60)
    await show(it, Sweeping.opened(outcome, it.folder / "sweep"))
    await it.press("r", until=Ask)
    await it.until(lambda: f"takes texts from {data}. r reads them" in it.screen_text())
    await it.press("enter")
    assert it.engine.sent(StartSweep) == []
    await it.press("r", "r")
    await it.until(lambda: it.engine.sent(StartSweep), "the sweep")


async def test_the_main_screen_waits_for_a_sweep_but_loads_in_spite_of_it(it: Explored) -> None:
    opened = ran(it.folder / "sweep")
    it.engine.sweep_halts_at = 2
    it.app.explorer.start_sweep(opened.plan, it.folder / "again")
    await it.until(lambda: "2 of 18 prompts" in it.screen_text(), "the second prompt")
    assert it.status.state == "sweeping"
    n_runs = len(it.engine.sent(StartRun))
    await it.press("r")
    await it.press("p", until=PromptPicker)
    await it.press("f5")
    await it.until(lambda: "A sweep is running" in it.toasts()[-1], "why it does not run")
    assert len(it.engine.sent(StartRun)) == n_runs
    it.app.explorer.load(ModelSpec("gamma"))
    await it.until(lambda: it.app.explorer.phase is Phase.READY, "the other model")
    assert it.app.explorer.engine.model.name == "gamma"
    assert it.app.explorer.work.sweep.stage == "stopped"
    # The engine dies in another one: what it did stays.
    screen = await show(it)
    it.app.explorer.start_sweep(opened.plan, it.folder / "again")
    it.engine.die()
    await it.until(lambda: screen.sweep and screen.sweep.stage == "failed", "its end")
    await surveyed(it, screen)
    assert screen.rows[0].n_done == 3
    await it.press("r")
    assert "R on the main screen" in it.toasts()[-1]


async def test_enter_opens_a_prompt_on_its_model_or_tells_what_failed(it: Explored) -> None:
    plan = make_plan(("alpha", "missing"), TASKS)
    outcome = sweep(plan, it.folder / "sweep", ScriptedEngine())
    await it.resize(120, 40)
    screen = await show(it, Sweeping.opened(outcome, it.folder / "sweep"))
    assert [len(row.failures) for row in screen.rows] == [0, 0, 0, 1, 1, 1]
    assert "failed" in it.screen_text()
    await it.press("G", "enter")
    assert "There is no model missing" in it.toasts()[-1]
    assert it.app.screen is screen
    assert "doubt" in [finding.kind for finding in screen.sweep_view.findings]
    await it.press("g", "j")
    assert screen.row is not None
    assert screen.row.first is not None
    _, record = screen.row.first
    await it.press("enter", until=MainScreen)
    assert it.engine.sent(LoadModel)[-1] == LoadModel(ModelSpec("alpha"))
    await it.until(lambda: it.session.current.prompt == record.prompt, "its prompt")
    assert it.session.current.model.name == "alpha"


async def test_sweeps_are_opened_again(it: Explored) -> None:
    opened = ran(it.folder / "cache" / "sweeps" / "kept")
    ran(it.folder / "elsewhere", ("alpha",))
    screen = await show(it)
    await it.press("o", until="18 of 18")
    await it.press("enter")
    await it.until(lambda: it.app.screen is screen, "the sweep")
    await surveyed(it, screen)
    assert screen.sweep is not None
    assert screen.sweep.plan == opened.plan
    assert len(screen.rows) == 6
    await it.press("o", until=SweepList)
    field = it.app.screen.query_one("#name", Input)
    field.value = str(it.folder)
    field.focus()
    await it.press("enter", until="holds no sweep")
    field.value = "~nosuchuser/sweep"
    await it.press("enter", until="no user 'nosuchuser'")
    field.value = str(it.folder / "elsewhere")
    await it.press("enter")
    await it.until(lambda: it.app.screen is screen, "the sweep")
    await surveyed(it, screen)
    assert len(screen.rows) == 3
    # Back to the runs of the session.
    await it.press("o", until="18 of 18")
    await it.press("up", "enter")
    await it.until(lambda: screen.sweep and screen.sweep.is_session, "the session")


async def test_the_report_is_exported_as_it_is_shown(it: Explored) -> None:
    opened = ran(it.folder / "sweep")
    screen = await show(it, opened)
    before = screen.rows[0].summary
    await open_reading(it)
    await it.press("up", "up", "space", "enter")
    await surveyed(it, screen)
    after = screen.rows[0].summary
    assert before is not None
    assert after is not None
    assert after.n_tokens == before.n_tokens - 3
    assert "token 0 out" in it.screen_text()
    await it.press("e", until=ExportScreen)
    it.app.screen.query_one("#file-name", Input).value = "report"
    await it.press("f5")
    await it.until(lambda: it.app.screen is screen, "the files")
    summary = summarise_sweep(opened.outcome)
    report = sweep_report(summary, questions(summary))
    for name in ("md", "csv", "json", "html"):
        written = (it.folder / "exports" / f"report.{name}").read_bytes()
        assert report.files(name) == {"": written}
    assert (it.folder / "exports" / "report.svg").exists()


async def test_hostile_names_are_harmless(it: Explored) -> None:
    hostile = "".join(text for text in HOSTILE.values() if text).replace("/", "")
    opened = ran(it.folder / "sweep", (f"a[/]{hostile}", "beta"))
    screen = await show(it, opened)
    await it.press("space", "v", "slash", "a", "left_square_bracket", "enter", "e", "escape")
    assert it.app.screen is screen
    assert "\x1b[2J" not in it.screen_text()


async def test_enter_on_a_finding_goes_to_its_rows(it: Explored) -> None:
    screen = await show(it, ran(it.folder / "sweep", examples=5))
    pane = screen.query_one(FindingsPane)
    # Keys that arrive together are for the pane that tab went to.
    for key in ("tab", "tab", "j", "enter"):
        it.app.simulate_key(key)
    await it.until(lambda: pane.note, "the rows of a finding")
    assert it.app.screen is screen
    assert "⏎ open" in it.screen_text().splitlines()[-1]
    trends = [found for found in pane.findings if "addition, 1 to 2" in found.text]
    (trend,) = (one for one in trends if "beta takes" in one.text and one.number == "cosine")
    await it.press("g")
    while pane.finding is not trend:
        await it.press("j")
    assert f"▸ {trend.text[:20]}" in it.screen_text()
    visited = []
    for _ in range(3):
        await it.press("enter")
        visited.append((screen.row.model, screen.row.short_task))
    assert visited == [("beta", "addition 1"), ("beta", "addition 2"), ("beta", "addition 1")]
    assert screen.query_one(SweepTable).columns[screen.cursor.token].key == ("layer", "cosine")
    assert "at row 1 of 2, enter: next" in it.screen_text()
    assert isinstance(screen.focused, FindingsPane)
    # The keys of the table are its own again where it has the focus.
    await it.press("tab")
    assert "⏎ open" in it.screen_text().splitlines()[-1]
    # Rows that are hidden, pooled, and not there.
    await it.press("slash", "x", "q", "enter", "tab", "tab", "enter")
    assert it.toasts()[-1] == "The filter hides the rows of this finding: / changes it."
    await it.press("slash", "escape", "v")
    await surveyed(it, screen)
    await it.press("tab", "tab", "G", "enter")
    assert pane.finding.is_about(screen.row)
    assert screen.row.is_pooled
    pane.show_findings([SweepFinding("It is gone.", "doubt")], ("", ""))
    await it.press("enter")
    assert it.toasts()[-1] == "This finding has no row in the table."


def test_what_failed_is_of_its_rows(tmp_path: Path) -> None:
    plan = make_plan(("alpha", "missing"), ("facts:1", "facts:2"))
    outcome = sweep(plan, tmp_path, ScriptedEngine({"alpha": 12}))
    view = SweepViewBuilder().build(outcome, "cells", False, False)
    *_, missing = view.findings
    assert [row.model for row in view.rows if missing.is_about(row)] == ["missing", "missing"]


async def test_nothing_to_show_says_what_to_do(tmp_path: Path) -> None:
    async with explore(tmp_path, lambda: FakeEngine(manual=True), wait=False) as it:
        await it.until(lambda: it.main.is_mounted, "the main screen")
        screen = await show(it)
        assert screen.sweep is None
        await it.until(lambda: "n starts a sweep" in it.screen_text(), "what to do")
        await it.press("enter", "space", "s", "v", "e", "G", "r")
        assert it.app.screen is screen
