"""The map of layers x heads at the cursor's token."""

from __future__ import annotations

import numpy as np

from depthtui.data.run import RunResult
from depthtui.metrics.heads import AttentionHeads
from depthtui.metrics.registry import MEASURE_BY_NAME
from depthtui.tui.panes.difference_heatmap import DifferenceHeatmap
from depthtui.tui.panes.heatmap import HeatmapPane
from depthtui.tui.panes.heatmap_views import copied, mode_of
from depthtui.tui.panes.pane import Cursor, CursorMoved
from depthtui.tui.panes.under_cursor import Layer
from tests.builders.results import make_result
from tests.tui.panes.drawing import change, framed, lines, show

MEASURE = MEASURE_BY_NAME["head_direct"]


def with_heads(heads: int = 3) -> RunResult:
    """Head 1 of layer 2 writes -7 at token 3, the last of layer 1 writes 4 at token 1."""
    result = make_result(layers=4, tokens=5)
    found = AttentionHeads.unknown(4, 5).widened("H", heads)
    for name in ("norm", "direct", "sink", "entropy"):
        getattr(found, name)[:] = 0.5
    found.direct[2, 1, 3], found.direct[1, -1, 1] = -7, 4
    found.done[:] = True
    result.put("heads", found)
    return result


async def test_columns_are_heads_at_the_cursors_token() -> None:
    assert mode_of(MEASURE) == mode_of(MEASURE, averaged=True) == "heads"
    pane, result = HeatmapPane(), with_heads()
    change(pane, mode="heads", measure=MEASURE, cursor=Cursor(2, 3))
    async with framed(pane, (60, 12)) as pilot:
        show(pane, result)
        await pilot.pause()
        assert pane.grid.columns.count == 3
        assert "layer 2, most by head 1: -7.00" in "\n".join(lines(pane))
        assert lines(pane)[-2].split() == ["0", "1", "2"]
        assert "Heads, direct logits · " in str(pane.border_title)
        assert "token 3" in str(pane.border_subtitle)
        assert pane.under_cursor() == Layer(2)

        pane.cursor = Cursor(2, 1)
        await pilot.pause()
        assert "layer 2, most by head 0: 0.50" in "\n".join(lines(pane))
        assert "token 1" in str(pane.border_subtitle)
        pane.cursor = Cursor(1, 1)
        await pilot.pause()
        assert "layer 1, most by head 2: 4.00" in "\n".join(lines(pane))


async def test_a_click_goes_to_a_layer_and_leaves_the_token() -> None:
    pane, result = HeatmapPane(), with_heads()
    change(pane, mode="heads", measure=MEASURE, cursor=Cursor(0, 3))
    async with framed(pane, (60, 12)) as pilot:
        show(pane, result)
        await pilot.pause()
        grid = pane.grid
        line = next(y for y in range(grid.lines) if 2 in grid.rows_on(y))
        await pilot.click(offset=(2 + grid.x_of(2) + 1, 1 + line))
        await pilot.pause()
        moved = [event for event in pilot.app.heard if isinstance(event, CursorMoved)]  # type: ignore[attr-defined]
        assert (moved[-1].layer, moved[-1].token) == (2, 3)


async def test_nothing_is_drawn_of_heads_that_are_not_known() -> None:
    pane, result = HeatmapPane(), make_result(layers=4)
    change(pane, mode="heads", measure=MEASURE, cursor=Cursor(0, 0))
    async with framed(pane, (60, 12)) as pilot:
        show(pane, result)
        await pilot.pause()
        assert ("Attention heads: The tokens that each head reads") in " ".join(
            "\n".join(lines(pane)).split()
        )
        # Layers so far have none.
        result.put("heads", AttentionHeads.unknown(4, len(result.tokens)))
        show(pane, result)
        await pilot.pause()
        assert "Attention heads" in "\n".join(lines(pane))


def test_the_value_under_the_cursor_is_the_strongest_heads() -> None:
    result = with_heads()
    value, words = copied(MEASURE, result, Cursor(2, 3)) or ("", "")
    assert value == "-7"
    assert words.startswith("Heads, direct logits, layer 2, head 1, token 3 (")


async def test_two_runs_are_compared_at_the_tokens_of_a_column() -> None:
    ours, theirs = with_heads(), with_heads()
    found = theirs.get(AttentionHeads)
    assert found is not None
    found.direct[2, 1, 3] = 1
    columns = np.array([-1, 0, 1, 2, 3, 4])
    pane = DifferenceHeatmap(columns, columns)
    change(pane, mode="heads", measure=MEASURE, cursor=Cursor(2, 4))
    async with framed(pane, (60, 12)) as pilot:
        show(pane, ours, other_result=theirs)
        await pilot.pause()
        shown = "\n".join(lines(pane))
        assert "head 1: -8.00" in shown
        # No token of theirs stands in this column.
        pane.cursor = Cursor(2, 0)
        await pilot.pause()
        assert "not run yet" in "\n".join(lines(pane))


async def test_models_with_other_numbers_of_heads_have_no_difference() -> None:
    columns = np.arange(5)
    pane = DifferenceHeatmap(columns, columns)
    change(pane, mode="heads", measure=MEASURE, cursor=Cursor(2, 3))
    async with framed(pane, (60, 12)) as pilot:
        show(pane, with_heads(3), other_result=with_heads(2))
        await pilot.pause()
        assert "different numbers of heads" in "\n".join(lines(pane))
