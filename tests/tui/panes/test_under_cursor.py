"""What each pane has under its cursor, for a key or a double click to open."""

from __future__ import annotations

import numpy as np
import pytest

from depthtui.data.run_settings import SummarySettings
from depthtui.depth.reading import reading_of
from depthtui.metrics.registry import MEASURE_BY_NAME
from depthtui.metrics.skip_effects import SkipEffects
from depthtui.tui.panes.curves import DepthCurves
from depthtui.tui.panes.difference_heatmap import DifferenceHeatmap
from depthtui.tui.panes.evidence_pane import EvidencePane
from depthtui.tui.panes.heatmap import HeatmapPane
from depthtui.tui.panes.lens_table import LensTable
from depthtui.tui.panes.pane import Cursor, CursorMoved
from depthtui.tui.panes.prompt_pane import PromptPane
from depthtui.tui.panes.stack_pane import StackPane
from depthtui.tui.panes.under_cursor import (
    CurvePoint,
    HeatmapCell,
    Layer,
    LensRow,
    MeasureRow,
    StackBlock,
)
from depthtui.tui.screens.main_layout import PAGE_ORDER, PAGES, Place
from depthtui.tui.state.what_if import Stack
from tests.builders.results import make_result
from tests.tui.panes.drawing import cell, change, framed, line_with, lines, show, summary_of


async def test_a_heatmap_has_a_cell_and_a_map_of_layers_a_layer() -> None:
    result = make_result(layers=6, tokens=5)
    zero = np.zeros((6, 6), np.float32)
    result.put("skip_effects", SkipEffects("layer", (8,), zero, zero, zero[0], 0.0, 0.0))
    pane = HeatmapPane()
    async with framed(pane):
        assert pane.under_cursor() is None
        show(pane, result)
        pane.cursor = Cursor(3, 2)
        assert pane.under_cursor() == HeatmapCell(3, 2)
        pane.cursor = Cursor(99, 99)
        assert pane.under_cursor() == HeatmapCell(5, 4)
        change(pane, mode="skips", measure=MEASURE_BY_NAME["skip_effects"])
        assert pane.under_cursor() == Layer(5)


async def test_a_column_without_a_token_has_nothing() -> None:
    result = make_result(layers=6, tokens=3)
    columns = np.array([0, -1, 1, 2])
    pane = DifferenceHeatmap(columns, columns)
    async with framed(pane):
        show(pane, result, other_result=result)
        found = []
        for column in range(4):
            pane.cursor = Cursor(1, column)
            found.append(pane.under_cursor())
        assert found == [HeatmapCell(1, 0), None, HeatmapCell(1, 1), HeatmapCell(1, 2)]


async def test_lens_and_prompt_have_their_place() -> None:
    result = make_result(layers=6, tokens=5)
    lens, prompt = LensTable(), PromptPane()
    for pane, found in ((lens, LensRow(6, 4)), (prompt, HeatmapCell(6, 4))):
        async with framed(pane):
            assert pane.under_cursor() is None
            show(pane, result)
            pane.cursor = Cursor(6, 4)
            assert pane.under_cursor() == found


async def test_a_click_on_a_block_of_the_stack_points_at_it() -> None:
    pane = StackPane()
    async with framed(pane, (50, 12)) as pilot:
        show(pane, make_result(layers=4))
        pane.show_stack(Stack.full(4), None)
        pane.cursor = Cursor(2, 0)
        assert pane.under_cursor() == StackBlock(2, "layer")
        await pilot.pause()
        y = line_with(pane, "▸")
        attention, mlp = lines(pane)[y].index("▄"), lines(pane)[y].rindex("▄")
        for x, part in ((attention, "attention"), (mlp, "mlp"), (pane.margin, "layer")):
            await pilot.click(pane, offset=(x + 2, y + 1))
            await pilot.pause()
            assert pane.under_cursor() == StackBlock(2, part)
            accented = [cell(pane, x, y)[1].color == pane.pane_styles.accent.color]
            assert accented == [part != "layer"]
        await pilot.click(pane, offset=(mlp + 2, y + 1))
        await pilot.pause()
        pane.cursor = Cursor(1, 0)
        assert pane.under_cursor() == StackBlock(1, "layer"), (
            "another layer is pointed at as a whole"
        )
        pane.cursor = Cursor(4, 0)
        assert pane.under_cursor() is None


async def test_a_click_on_a_row_of_evidence_points_at_its_measure() -> None:
    result = make_result(layers=10, tokens=12)
    reading = reading_of([result], SummarySettings())
    pane = EvidencePane()
    async with framed(pane, (90, 30)) as pilot:
        show(pane, result, reading, verdict=reading.verdict)
        await pilot.pause()
        assert pane.under_cursor() == MeasureRow(pane._measures[0])
        for title, measure in (("KL ", "kl"), ("overlap ", "overlap"), ("cosine ", "cosine")):
            y = next(y for y, line in enumerate(lines(pane)) if line.startswith(title))
            await pilot.click(pane, offset=(4, y + 1))
            await pilot.pause()
            assert pane.under_cursor() == MeasureRow(measure)
            assert cell(pane, 0, y)[1].color == pane.pane_styles.accent.color
        pane.choose(-1)
        before = pane.under_cursor()
        pane.choose(-99)
        assert before != pane.under_cursor() == MeasureRow(pane._measures[0])


def test_every_measure_of_a_verdict_has_a_page_or_a_heatmap() -> None:
    result = make_result(layers=10, tokens=12)
    reading = summary_of(result)
    assert reading is not None
    assert reading.verdict is not None
    rows = [MeasureRow(found.measure) for found in reading.verdict.evidence]
    rows += [MeasureRow(name) for name in ("ablation", "similarity", "kept", "order")]
    for row in rows:
        assert (row.page in PAGE_ORDER) != (row.heatmap_measure is not None)


@pytest.mark.parametrize(
    "page", [place for place in PAGES if place.id not in ("curves", "evidence")]
)
async def test_every_page_opens_the_layer_of_the_cursor(page: Place) -> None:
    pane = page.pane()
    async with framed(pane):
        assert pane.under_cursor() is None
        show(pane, make_result(layers=6, tokens=5))
        pane.cursor = Cursor(6, 2)
        assert pane.under_cursor() == HeatmapCell(5, 2)


async def test_a_click_on_a_curve_points_at_its_rule_and_layer() -> None:
    result = make_result(layers=10, tokens=12)
    pane = DepthCurves()
    async with framed(pane, (80, 24)) as pilot:
        assert pane.under_cursor() is None
        show(pane, result, summary_of(result))
        pane.cursor = Cursor(4, 0)
        first = pane.under_cursor()
        assert isinstance(first, CurvePoint)
        assert first.layer == 4
        await pilot.pause()
        y = line_with(pane, "overlap")
        await pilot.click(pane, offset=(pane.size.width + 1, y + 1))
        await pilot.pause()
        moved = pilot.app.heard[-1]  # type: ignore[attr-defined]
        assert isinstance(moved, CursorMoved)
        assert moved.layer == 10
        assert pane.under_cursor() == CurvePoint("overlap", 4)
