"""The map of pairs of layers: the partners of the cursor's layer, and pairs that say little."""

from __future__ import annotations

import numpy as np
import pytest

from depthtui import ramps
from depthtui.data.run import RunResult
from depthtui.metrics.registry import MEASURE_BY_NAME
from depthtui.tui.panes.difference_heatmap import DifferenceHeatmap
from depthtui.tui.panes.heatmap import HeatmapPane
from depthtui.tui.panes.heatmap_views import copied, mode_of
from depthtui.tui.panes.pane import Cursor
from tests.builders.metrics import pairs_of
from tests.builders.results import make_result
from tests.tui.panes.drawing import cell, change, framed, lines, show

MEASURE = MEASURE_BY_NAME["pairs"]


def with_pairs(layers: int = 5, noise: float = 0.0) -> RunResult:
    """Layer 1 covers for 2 and is needed only with 3; the last layer is a wreck."""
    result = make_result(layers=layers)
    alone, beyond = np.full(layers, 0.25), np.full((layers, layers), 0.01)
    alone[-1] = 1.5
    beyond[1, 2], beyond[1, 3] = 0.375, -0.125
    result.put("pairs", pairs_of(alone, beyond, len(result.tokens), noise))
    return result


def line_of(pane: HeatmapPane, rows: tuple[int, int]) -> int:
    """The line whose upper and lower half have these rows."""
    return next(y for y in range(pane.grid.lines) if pane.grid.rows_on(y) == rows)


@pytest.mark.parametrize("ramp", ["truecolor", "256", "glyph"])
async def test_pairs_that_say_little_are_hatched_and_a_layer_has_no_pair_with_itself(
    ramp: str,
) -> None:
    pane = HeatmapPane()
    change(pane, ramp=ramp, mode=mode_of(MEASURE), measure=MEASURE, cursor=Cursor(1, 0))
    async with framed(pane, (72, 12)) as pilot:
        show(pane, with_pairs())
        await pilot.pause()
        marks = []
        for row in range(5):
            y = line_of(pane, (row, row))
            found = ""
            for column in range(5):
                char, style = cell(pane, pane.grid.x_of(column) + 1, y)
                blank = not char.strip() and style.bgcolor in (None, pane.pane_styles.background)
                found += char if char == ramps.HATCHED_GLYPH else "_" if blank else "x"
            marks.append(found)
        if ramp == "glyph":
            # A small value is a blank there.
            assert [mark[-1] for mark in marks] == ["╱", "╱", "╱", "╱", "_"]
            assert marks[-1] == "╱╱╱╱_"
        else:
            assert marks == ["_xxx╱", "x_xx╱", "xx_x╱", "xxx_╱", "╱╱╱╱_"]
        shown = "\n".join(lines(pane))
        assert "layer 1: .375 with 2, -.125 with 3" in shown.replace("0.", ".")
        assert str(pane.border_title) == "Pairs of layers · C(i, j) - C(i) - C(j), nats"
        assert str(pane.border_subtitle) == "╱ above 1 nat, says little"


async def test_where_two_layers_share_a_line_hatching_is_grey() -> None:
    pane = HeatmapPane()
    change(pane, ramp="truecolor", mode="pairs", measure=MEASURE, cursor=Cursor(9, 0))
    async with framed(pane, (72, 8)) as pilot:
        show(pane, with_pairs(layers=10))
        await pilot.pause()
        char, style = cell(pane, pane.grid.x_of(3), line_of(pane, (9, 8)))
        assert char == "▀"
        assert style.color == pane.pane_styles.faint.color
        assert style.bgcolor not in (style.color, pane.pane_styles.background)


async def test_a_layer_without_a_pair_to_read_says_so() -> None:
    result, pane = with_pairs(), HeatmapPane()
    change(pane, mode="pairs", measure=MEASURE, cursor=Cursor(4, 0))
    async with framed(pane, (72, 12)) as pilot:
        show(pane, result)
        await pilot.pause()
        assert "layer 4: no pair to read" in "\n".join(lines(pane))
    value, words = copied(MEASURE, result, Cursor(4, 0)) or ("", "")
    assert (value, words) == ("nan", "Pairs of layers, layers 4 and 4")


def test_the_strongest_partner_is_copied() -> None:
    expected = "0.375", "Pairs of layers, layers 2 and 1"
    assert copied(MEASURE, with_pairs(), Cursor(2, 0)) == expected


async def test_models_of_unlike_depth_are_subtracted_and_hatched_where_one_is() -> None:
    columns = np.arange(5)
    pane = DifferenceHeatmap(columns, columns)
    change(pane, ramp="glyph", mode="pairs", measure=MEASURE, cursor=Cursor(0, 0))
    async with framed(pane, (72, 14)) as pilot:
        show(pane, with_pairs(5), other_result=with_pairs(9))
        await pilot.pause()
        assert pane.grid.rows.count == 9
        assert cell(pane, pane.grid.x_of(0), line_of(pane, (8, 8)))[0] == ramps.HATCHED_GLYPH
