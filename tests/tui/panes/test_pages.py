"""The pages of the depth pane, alone: what they say of planted results."""

from __future__ import annotations

import numpy as np
import pytest
from depthtui.tui.panes.sufficient_pane import SufficientPane

from depthtui.data.lens import LogitLens
from depthtui.data.run import RunResult
from depthtui.metrics.settling import Settling
from depthtui.metrics.similarity import Similarity
from depthtui.tui.draw.bars import BarScale, axis_labels, axis_of, layers_in, upright_bars
from depthtui.tui.panes.decided_pane import DecidedPane
from depthtui.tui.panes.exit_pane import DIAL, ExitPane
from depthtui.tui.panes.page import Page
from depthtui.tui.panes.pane import Cursor
from depthtui.tui.panes.prune_pane import PrunePane
from tests.builders.metrics import smooth_metric
from tests.builders.results import half_run, make_result
from tests.tui.panes.drawing import cells, framed, line_with, lines, show, summary_of

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


async def test_how_many_tokens_are_decided_at_each_depth():
    result = decided_at([2, 2, 2, 6, 8])
    pane = DecidedPane()
    async with framed(pane, (62, 16)):
        pane.cursor = Cursor(0, 3)
        show(pane, result, summary_of(result))
        title = lines(pane)[0]
        assert "prediction depth 4.00 of 10 · token 3: 6" in title
        last = max(y for y, line in enumerate(lines(pane)) if "█" in line or "▅" in line)
        known = [lines(pane)[last][4 * index] != "·" for index in range(11)]
        assert [depth for depth, flag in enumerate(known) if flag] == [2, 6, 8]
        styles = [style for _, style in cells(pane.render_line(last))]
        assert styles[4 * 6].color == pane.pane_styles.accent.color
        assert styles[4 * 2].color == pane.pane_styles.text.color
        show(pane, result, summary_of(result, include_first_token=False))
        assert "prediction depth 4.50 of 10" in lines(pane)[0]
        assert pane.border_subtitle is not None
        assert "token 0 left out" in pane.border_subtitle


async def test_parts_stand_beside_the_layers_that_suffice():
    result = make_result(layers=10, tokens=14)
    pane = SufficientPane()
    async with framed(pane, (100, 16)):
        result.put("kept", smooth_metric("kept", result))
        show(pane, result, summary_of(result))
        assert "by parts" not in text_of(pane)
        result.put("parts", smooth_metric("parts", result))
        show(pane, result, summary_of(result))
        layers, beside = lines(pane)[:2]
        assert "of its own output: 7 of 10 layers" in layers
        assert "by parts 7 MLPs and 6 attentions" in beside
        pane.tolerance = 3.0
        assert "by parts 4 MLPs and 3 attentions" in lines(pane)[1]


async def test_tokens_that_settle_late_stand_out():
    result = decided_at([2, 2, 2, 2])
    divergence = np.full((11, 4), 0.6, np.float32)
    for token, depth in enumerate((1, 3, 9, 10)):
        divergence[depth:, token] = 0.1
    result.put("settling", Settling(divergence))
    pane = DecidedPane()
    async with framed(pane, (62, 16)):
        show(pane, result, summary_of(result))
        assert "settling depth 5.75 of 10 · 50.0% late · token 0: 1" in text_of(pane)
        row = list(cells(pane.render_line(line_with(pane, "settling depth") + 1)))
        assert row[4 * 9][1].color == pane.pane_styles.warning.color
        assert row[4 * 3][1].color == pane.pane_styles.text.color


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


async def test_the_best_block_is_the_one_that_was_planted():
    result = make_result(layers=10)
    distance = np.full((10, 10), np.nan, np.float32)
    for n in range(1, 11):
        distance[n - 1, : 11 - n] = 0.1 * n
    distance[2, 5] = 0.05
    result.put("similarity", Similarity(np.full((10, 5), 0.1, np.float32), distance, distance))
    pane = PrunePane()
    async with framed(pane, (62, 14)):
        show(pane, result, summary_of(result))
        assert "n = 1  without layer 0 · angular distance 0.100" in text_of(pane)
        pane.turn_dial(2)
        assert "n = 3  without layers 5 to 7 · angular distance 0.0500" in text_of(pane)
        y = line_with(pane, "▴n 3") - 1
        assert list(cells(pane.render_line(y)))[4 * 2][1].color == pane.pane_styles.accent.color
        first = line_with(pane, "distance over 3 layers")
        ends = next(y for y in range(first, 20) if "▴0" in lines(pane)[y])
        assert (
            list(cells(pane.render_line(ends - 1)))[4 * 5][1].color == pane.pane_styles.good.color
        )
        pane.turn_dial(99)
        assert pane.block == 9


async def test_the_gains_of_a_shorter_model_follow_the_dial():
    result = make_result(layers=10, tokens=20)
    result.put("similarity", smooth_metric("similarity", result))
    pane = PrunePane()
    async with framed(pane, (120, 20)):
        show(pane, result, summary_of(result))
        assert "speed: i computes it" in text_of(pane)
        for name in ("kept", "speed"):
            result.put(name, smooth_metric(name, result))
        show(pane, result, summary_of(result))
        assert "a token: 92% of the time · 27.5 ms of 30 ms" in text_of(pane)
        assert "10 of 11 million parameters" in text_of(pane)
        pane.turn_dial(2)
        assert "a token: 75% of the time · 22.5 ms of 30 ms" in text_of(pane)
        assert "draft, layers of the order: " in text_of(pane)
        assert "draft, early exit: " in text_of(pane)


async def test_a_stream_that_is_not_finite_has_no_best_block():
    result = make_result(layers=4)
    unknown = np.full((4, 4), np.nan, np.float32)
    result.put("similarity", Similarity(np.full((4, 5), np.nan, np.float32), unknown, unknown))
    pane = PrunePane()
    async with framed(pane, (62, 14)):
        show(pane, result, summary_of(result))
        assert "No angular distance is known" in text_of(pane)


@pytest.mark.parametrize("make", [DecidedPane, ExitPane, PrunePane])
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
    pane = DecidedPane()
    async with framed(pane, (40, 10)):
        values = np.array([4.0, 2.0, 0.0, np.nan])
        rows = upright_bars(
            values, 4, 2, pane.pane_styles, lambda value, layers: pane.pane_styles.text
        )
        assert ["".join(text for text, _ in row) for row in rows] == ["█   ", "██▁·"]
