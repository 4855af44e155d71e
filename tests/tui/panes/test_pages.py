"""The pages of the depth pane, alone: what they say of planted results."""

from __future__ import annotations

import numpy as np
import pytest

from depthtui.data.lens import LogitLens
from depthtui.data.run import RunResult
from depthtui.metrics.settling import Settling
from depthtui.metrics.similarity import Similarity
from depthtui.tui.draw.bars import BarScale, axis_labels, axis_of, layers_in, upright_bars
from depthtui.tui.panes.exit_pane import DIAL, ExitPane
from depthtui.tui.panes.page import Page
from depthtui.tui.panes.pane import Cursor
from depthtui.tui.panes.token_depths_pane import TokenDepthsPane
from tests.builders.results import half_run, make_result
from tests.tui.panes.drawing import framed, lines, show, summary_of

SIZES = [(34, 8), (62, 12), (100, 30)]


def decided_at(depths: list[int], layers: int = 10) -> RunResult:
    """A run whose tokens have these prediction depths."""
    result = make_result(layers=layers, tokens=len(depths))
    lens = result.get(LogitLens)
    assert lens is not None
    for token, depth in enumerate(depths):
        lens.top_ids[:depth, token] = [1, 7, 3]
        lens.top_ids[depth:, token] = [7, 1, 3]
    return result


def text_of(pane: Page) -> str:
    return "\n".join(lines(pane))


async def test_early_exit_tells_the_token_under_the_cursor():
    result = decided_at([2, 8])
    lens = result.get(LogitLens)
    assert lens is not None
    lens.top_probabilities[:, :, 0] = 0.1
    lens.top_probabilities[4:, 0, 0] = 0.95
    lens.top_probabilities[2:, 1, 0] = 0.95
    pane = ExitPane()
    async with framed(pane, (100, 16)):
        show(pane, result, summary_of(result))
        assert "agreement        50.0%" in text_of(pane)
        assert "7.00 of 10 layers" in text_of(pane)
        assert 'token 0 leaves before layer 4: "·Paris", as the output' in text_of(pane)
        assert "95% agreement: over 0.95, 0 of 10 layers saved" in text_of(pane)
        pane.cursor = Cursor(0, 1)
        assert 'leaves before layer 2: "·one", not "·Paris"' in text_of(pane)
        show(pane, result, summary_of(result, include_first_token=False))
        assert "agreement        0%" in text_of(pane)
        assert "8.00 of 10 layers" in text_of(pane)
        show(pane, result, summary_of(result))
        pane.turn_dial(-99)
        assert pane.confidence == DIAL[0]
        pane.turn_dial(+99)
        assert pane.confidence == DIAL[-1] == 0.99
        assert "agreement        100%" in text_of(pane)
        assert "token 1 runs every layer" in text_of(pane)
        lens.top_probabilities[2, 1, 0] = 1.0
        show(pane, result, summary_of(result))
        assert "95% agreement: at no confidence" in text_of(pane)


@pytest.mark.parametrize("make", [TokenDepthsPane, ExitPane])
@pytest.mark.parametrize("size", SIZES, ids=["34x8", "62x12", "100x30"])
async def test_every_page_fits_and_says_why_it_is_empty(make, size):
    pane = make()
    async with framed(pane, size):
        assert "r runs the prompt" in " ".join(text_of(pane).split())
        whole = make_result(layers=60, tokens=1)
        distance = np.full((60, 60), 0.2, np.float32)
        whole.put("similarity", Similarity(np.zeros((60, 1), np.float32), distance, distance))
        whole.put("settling", Settling(np.zeros((61, 1), np.float32)))
        for result in (
            half_run(make_result(layers=12), 5),
            make_result(layers=12, metrics=("contributions",)),
            make_result(layers=1, tokens=1),
            whole,
        ):
            for include in (True, False):
                show(pane, result, summary_of(result, include_first_token=include))
                assert all(len(line) == pane.size.width for line in lines(pane))
                assert text_of(pane).strip()


def test_columns_of_several_layers():
    assert layers_in(1, 7, 1 / 2) == range(2, 4)
    assert layers_in(3, 7, 1 / 2) == range(6, 7)
    assert layers_in(3, 7, 2) == range(3, 4)


def test_bars_have_an_axis_a_sign_and_a_scale():
    assert axis_of(np.array([4.0, 2.0, np.nan]), 2) == BarScale(2, 0, 2.0)
    # 95 % of the values are at most 1; the one beyond stands out.
    values = np.array([9.5, *[1.0] * 20, 0.5, -0.25])
    axis = axis_of(values, 4)
    assert (axis.above, axis.below) == (3, 1)
    assert [axis.bar(value, 0) for value in (9.5, 1.0)] == ["▲", "█"]
    assert [axis.bar(-0.25, line) for line in range(4)] == [" ", " ", " ", "▀"]
    assert axis_labels(values, 4) == ["1.00", "", "0", "-0.333"]


async def test_a_bar_is_as_high_as_its_value():
    pane = ExitPane()
    async with framed(pane, (40, 10)):
        values = np.array([4.0, 2.0, 0.0, np.nan])
        rows = upright_bars(
            values, 4, 2, pane.pane_styles, lambda value, layers: pane.pane_styles.text
        )
        assert ["".join(text for text, _ in row) for row in rows] == ["█   ", "██▁·"]
