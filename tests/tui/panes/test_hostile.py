"""Hostile tokens, names and sizes: nothing crashes and nothing raw reaches the terminal."""

from __future__ import annotations

import unicodedata
from dataclasses import replace

import numpy as np
import pytest
from textual.widget import Widget

from depthtui.data.lens import LENS_CLASSES, LENSES, LogitLens
from depthtui.data.protocol import Progress
from depthtui.data.run import Prompt, RunResult
from depthtui.data.run_settings import SummarySettings
from depthtui.metrics.contributions import Contributions
from depthtui.metrics.registry import MEASURE_BY_NAME, MEASURES
from depthtui.tui.panes.answers_pane import AnswersPane
from depthtui.tui.panes.curves import DepthCurves
from depthtui.tui.panes.evidence_pane import EvidencePane
from depthtui.tui.panes.exit_pane import ExitPane
from depthtui.tui.panes.heatmap import HeatmapPane
from depthtui.tui.panes.left_out_pane import LeftOutPane
from depthtui.tui.panes.lens_table import LensTable
from depthtui.tui.panes.pane import Cursor, Pane
from depthtui.tui.panes.progress_pane import ProgressPane
from depthtui.tui.panes.prompt_pane import PromptPane
from depthtui.tui.panes.status_line import StatusLine
from depthtui.tui.panes.token_depths_pane import TokenDepthsPane
from depthtui.tui.panes.verdict_pane import VerdictPane
from depthtui.tui.state.status import Status
from tests.builders.lenses import smooth_lens
from tests.builders.metrics import smooth_metric
from tests.builders.models import tiny_model
from tests.builders.readings import verdict
from tests.builders.results import half_run, make_result
from tests.hostile import HOSTILE
from tests.tui.panes.drawing import change, framed, show, strips, summary_of

PANES = [
    PromptPane,
    HeatmapPane,
    LensTable,
    DepthCurves,
    EvidencePane,
    VerdictPane,
    LeftOutPane,
    AnswersPane,
]
SIZES = [(1, 1), (5, 3), (6, 4), (9, 5), (24, 6), (40, 8), (81, 25), (200, 60)]
RAW = {"Cc", "Cs", "Co", "Cn", "Zl", "Zp", "Cf"}
LEFT_TO_RIGHT_MARK = "\u200e"


def check(widget: Widget) -> None:
    """Every line is as wide as the widget and holds nothing that a terminal obeys."""
    for strip in strips(widget):
        assert strip.cell_length == widget.size.width
        for char in strip.text:
            assert char == LEFT_TO_RIGHT_MARK or unicodedata.category(char) not in RAW


def show_run(pane: Pane, result: RunResult | None) -> None:
    """A run with its curves and, where that is drawn, its verdict."""
    found = None if result is None else verdict([result], SummarySettings())
    show(pane, result, summary_of(result) if result else None, verdict=found)


def hostile_result():
    texts = list(HOSTILE.values())
    result = make_result(layers=6, texts=texts)
    lens = result.get(LogitLens)
    lens.vocabulary.update(dict(zip((1, 2, 3, 7), texts[::25], strict=False)))
    lens.vocabulary.update({1000 + i: text for i, text in enumerate(texts)})
    for i in range(len(texts)):
        lens.top_ids[:, i, 0] = 1000 + i
    result.prompt = Prompt(result.prompt.text, texts[0], choices=tuple(texts))
    result.put("accuracy", smooth_metric("accuracy", result))
    return result


@pytest.mark.parametrize("ramp", ["truecolor", pytest.param("glyph", marks=pytest.mark.by_hand)])
@pytest.mark.parametrize("kind", PANES)
async def test_hostile_tokens_are_drawn_safely(kind: type[Pane], ramp: str):
    result = hostile_result()
    pane = kind()
    change(pane, ramp=ramp)
    async with framed(pane, (81, 25)) as pilot:
        show_run(pane, result)
        for token in range(len(result.tokens)):
            pane.cursor = Cursor(token % 7, token)
            check(pane)
        await pilot.pause()
        # The titles, too, are plain text.
        for strip in pilot.app.screen._compositor.render_strips():
            assert not any(unicodedata.category(char) in {"Cc", "Cs"} for char in strip.text)


@pytest.mark.parametrize("kind", [*PANES, TokenDepthsPane, ExitPane])
@pytest.mark.parametrize(
    "lens", [LENSES[1], *(pytest.param(lens, marks=pytest.mark.by_hand) for lens in LENSES[2:])]
)
async def test_hostile_tokens_through_another_lens_are_drawn_safely(kind: type[Pane], lens: str):
    result = hostile_result()
    fitted = smooth_lens(LENS_CLASSES[lens], result)
    own = result.get(LogitLens)
    fitted.vocabulary, fitted.top_ids[:] = own.vocabulary, own.top_ids
    fitted.top_ids[0] = -1
    fitted.kl[0] = np.nan
    fitted.held_out_kl[2] = np.inf
    fitted.fit = replace(fitted.fit, source="\x1b[2J[/]")
    unread = replace(result, unavailable={f"{lens}_lens": "\x1b[2J[/]\ud83d"})
    result.put(f"{lens}_lens", fitted)
    pane = kind()
    async with framed(pane, (81, 25)):
        for run in (result, unread):
            show(pane, run, summary_of(run, lens=lens), lens=lens)
            for measure in ("kl", "says_final", "settling"):
                change(pane, measure=MEASURE_BY_NAME[measure])
                for token in range(0, len(result.tokens), 7):
                    pane.cursor = Cursor(token % 7, token)
                    check(pane)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", PANES)
async def test_every_size_is_drawn(kind: type[Pane], size: tuple[int, int]):
    pane = kind()
    pane.styles.border = None
    pane.styles.padding = 0
    async with framed(pane, size):
        for result in (
            None,
            make_result(layers=1, tokens=1),
            make_result(layers=40, tokens=90),
            half_run(make_result(layers=12, tokens=4), 3),
            half_run(make_result(layers=12, tokens=4), 0),
        ):
            show_run(pane, result)
            for cursor in (Cursor(0, 0), Cursor(40, 89), Cursor(10_000, 10_000), Cursor(-1, -1)):
                pane.cursor = cursor
                check(pane)
            if result is not None:
                summary = summary_of(result)
                show(pane, result, summary, result, summary)
                check(pane)


@pytest.mark.parametrize("ramp", ["truecolor", "256", "glyph"])
async def test_every_measure_mode_and_ramp_is_drawn(ramp: str):
    result = make_result(layers=12, tokens=9)
    result.get(Contributions).layer_norm_ratio[:] = 0
    result.get(Contributions).mlp_norm_ratio[0, 0] = float("inf")
    pane = HeatmapPane()
    change(pane, ramp=ramp)
    async with framed(pane, (50, 12)):
        show(pane, result, summary_of(result))
        for measure in MEASURES:
            for mode in ("tokens", "means"):
                for order in ("up", "down"):
                    change(pane, measure=measure, mode=mode, layer_order=order)
                    check(pane)


async def test_hostile_names_in_status_and_progress():
    line, pane = StatusLine(), ProgressPane()
    async with framed(line, (80, 3)):
        for text in HOSTILE.values():
            line.show(Status(model=replace(tiny_model(3), name=text, device=text), task=text))
            check(line)
    async with framed(pane, (80, 12)):
        for text in HOSTILE.values():
            pane.start(text)
            pane.advance(Progress(text, 1, 2, text))
            pane.advance(Progress("next", 1, 0, text))
            check(pane)
