"""Maps of metrics of other packages, whose columns are heads or layers."""

from __future__ import annotations

import numpy as np

from depthtui.metrics.spec import Measure
from depthtui.tui.panes.heatmap import HeatmapPane
from depthtui.tui.panes.heatmap_views import copied, mode_of
from depthtui.tui.panes.pane import Cursor
from tests.builders.results import make_result
from tests.tui.panes.drawing import change, framed, lines, show

LAYERS, HEADS, TOKENS = 4, 3, 5


async def test_columns_are_heads_of_a_run_without_the_metric_of_heads() -> None:
    values = np.zeros((LAYERS, HEADS, TOKENS), np.float32)
    values[2, 1, 3] = -7
    measure = Measure("parts", "Parts", "", lambda run: values, columns="heads", metric="gain")
    pane = HeatmapPane()
    change(pane, mode=mode_of(measure), measure=measure, cursor=Cursor(2, 3))
    async with framed(pane, (60, 12)) as pilot:
        show(pane, make_result(layers=LAYERS, tokens=TOKENS))
        await pilot.pause()
        assert "layer 2, most by head 1: -7.00" in "\n".join(lines(pane))
        assert lines(pane)[-2].split() == ["0", "1", "2"]


async def test_columns_are_layers_of_a_run_without_skip_effects() -> None:
    values = np.zeros((LAYERS, LAYERS), np.float32)
    values[2, 1] = 9
    measure = Measure("turns", "Turns", "", lambda run: values, columns="layers", metric="gain")
    result, pane = make_result(layers=LAYERS, tokens=TOKENS), HeatmapPane()
    change(pane, mode=mode_of(measure), measure=measure, cursor=Cursor(2, 3))
    async with framed(pane, (60, 12)) as pilot:
        show(pane, result)
        await pilot.pause()
        assert "layer 2: 9.00 with 1, 0 with 0" in "\n".join(lines(pane))
    # Layers before the row's are values, too.
    assert copied(measure, result, Cursor(2, 3)) == ("9", "Turns, layers 2 and 1")
