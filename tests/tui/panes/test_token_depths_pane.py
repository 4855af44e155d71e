"""The depth of each token along a run: what the page says of planted results."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from depthtui.data.lens import LogitLens
from depthtui.data.run import RunResult
from depthtui.data.run_settings import SummarySettings
from depthtui.depth.reading import reading_of
from depthtui.metrics.settling import Settling
from depthtui.metrics.token_depths import TOKEN_DEPTHS
from depthtui.tui.panes.pane import Cursor
from depthtui.tui.panes.token_depths_pane import TokenDepthsPane
from tests.builders.results import run
from tests.tui.panes.drawing import cells, framed, lines, show, summary_of
from tests.tui.panes.test_pages import decided_at


def answered() -> RunResult:
    """Five tokens, decided at 2, 2, 8, 6 and 4, of which the last two are the answer."""
    result = decided_at([2, 8, 6, 4, 9])
    return replace(result, tokens=replace(result.tokens, answer_start=3))


async def test_it_has_the_depth_of_each_token_and_the_means_of_its_spans():
    result = answered()
    pane = TokenDepthsPane()
    async with framed(pane, (62, 16)):
        pane.cursor = Cursor(0, 3)
        show(pane, result, summary_of(result))
        assert pane.text.startswith("Prediction depth by token")
        assert lines(pane)[0].startswith("prediction depth 5.00 of 10 · prompt 5.00 · answer 5.00")
        assert "token 3: 6 · last 16: 5.33 · + - measure" in pane.text
        pane.cursor = Cursor(0, 0)
        assert "token 0: –" in pane.text, "nothing predicts it"
        show(pane, result, summary_of(result, include_first_token=False))
        assert lines(pane)[0].startswith("prediction depth 6.00 of 10 · prompt 8.00")


async def test_its_dial_turns_through_the_measures():
    result = run(tokens=12)
    pane = TokenDepthsPane()
    async with framed(pane, (62, 16)):
        show(pane, result, summary_of(result))
        seen = []
        for _ in TOKEN_DEPTHS:
            seen.append(pane.depth_measure.title)
            assert pane.depth_measure.title.lower() in pane.text.lower()
            pane.turn_dial(1)
        assert seen == [measure.title for measure in TOKEN_DEPTHS]
        pane.turn_dial(-1)
        assert pane.depth_measure is TOKEN_DEPTHS[-1]


async def test_settling_is_computed_first():
    result = answered()
    pane = TokenDepthsPane()
    async with framed(pane, (62, 16)):
        show(pane, result, summary_of(result))
        assert pane.computes() == ()
        pane.turn_dial(1)
        assert pane.computes() == ("settling",)
        assert "Settling depth: The depth from which" in pane.text
        divergence = np.full((11, 5), 0.6, np.float32)
        divergence[7:] = 0.1
        result.put("settling", Settling(divergence))
        show(pane, result, summary_of(result))
        assert lines(pane)[0].startswith("settling depth 7.00 of 10 · 0% late")
        divergence[:9] = 0.6
        show(pane, result, summary_of(result))
        assert "100% late" in lines(pane)[0]


async def test_bars_beside_the_dots_count_the_tokens_of_each_depth():
    result = decided_at([2, 2, 2, 6, 9, 9])
    pane = TokenDepthsPane()
    async with framed(pane, (62, 14)):
        pane.cursor = Cursor(0, 4)
        show(pane, result, summary_of(result))
        # A title, eleven depths in ten lines, the axis; token 0 has no depth.
        bars = {y: line.split("━")[-1].strip() for y, line in enumerate(lines(pane)) if "━" in line}
        places = [pane.panels[0].plot.line_of(depth) + 1 for depth in (9, 6, 2)]
        assert bars == dict(zip(places, "113", strict=True))
        styles = [dict(cells(pane.render_line(y)))["━"] for y in places]
        assert [style.color == pane.pane_styles.accent.color for style in styles] == [0, 1, 0]
        _, bars = pane.figures()
        assert [(depth, n) for depth, n in enumerate(bars.picture.values) if n] == [
            (2, 3),
            (6, 1),
            (9, 1),
        ]
        show(pane, result, summary_of(result, include_first_token=False))
        assert "━ 2" in lines(pane)[places[2]]


async def test_a_threshold_moves_the_curve_without_a_run():
    result = run(tokens=12)
    lens = result.get(LogitLens)
    lens.kl[:] = np.linspace(1, 0, len(lens.kl))[:, None]
    pane = TokenDepthsPane()
    async with framed(pane, (62, 16)):
        pane.place = [measure.name for measure in TOKEN_DEPTHS].index("kl")
        means = []
        for threshold in (0.9, 0.3):
            show(pane, result, reading_of([result], SummarySettings(kl_threshold=threshold)))
            means.append(lines(pane)[0])
        assert means[0] != means[1]
