"""The page Left out, alone: a row for each number of layers, the dial, and its sentence."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import takewhile

import numpy as np
import pytest

from depthtui.data.protocol import Pace
from depthtui.data.run import RunResult
from depthtui.data.run_settings import RunSettings, Skip
from depthtui.depth.left_out import CHOICES, CHOSEN, KL, KNOWLEDGE, LOSS, TIME, LeftOut
from depthtui.depth.reading import Reading
from depthtui.metrics.column import LeftOutColumn
from depthtui.tui.panes.left_out_pane import LeftOutPane
from tests.builders.metrics import smooth_metric
from tests.builders.results import make_result
from tests.tui.panes.drawing import cells, change, framed, line_with, lines, show, summary_of

LAYERS = 30
ORDER = (18, 16, 19, 14, 5, *(layer for layer in range(LAYERS) if layer not in (5, 14, 16, 18, 19)))


def planted(kind: str = "model") -> LeftOut:
    """Half a percent of the knowledge goes with each layer squared, all other numbers with it."""
    gone = np.arange(LAYERS + 1)
    time = np.where(gone < LAYERS, 1 - 0.03 * gone, np.nan)
    columns = {
        KNOWLEDGE: LeftOutColumn("known", 1 - 0.005 * gone**2, ".2f", falls=True),
        LOSS: LeftOutColumn("nats", 0.01 * gone**2, "+.2f"),
        KL: LeftOutColumn("KL", 0.02 * gone**2, ".2f"),
        CHOICES: LeftOutColumn("choices", 1 - gone / 40, ".2f", falls=True),
        CHOSEN: LeftOutColumn("right", np.maximum(0, 10 - gone // 3) / 10, "", falls=True, of=10),
        TIME: LeftOutColumn("time", time, ".0%"),
    }
    return LeftOut("layer", LAYERS, kind, "ranked", ORDER, columns)


def read(result: RunResult, left_out: LeftOut | None, parts: LeftOut | None = None) -> Reading:
    """A reading of the run in which this is left as layers leave."""
    reading = summary_of(result)
    assert reading is not None
    vars(reading).update(left_out=left_out, parts_left_out=parts)
    return reading


def stays(pane: LeftOutPane) -> list[int]:
    """The numbers of layers of the rows in sight."""
    rows = lines(pane)[line_with(pane, " goes ") + 1 :]
    found = (re.match("[▸ ] +([0-9]+) +(–|[0-9]+) ", row) for row in rows)
    return [int(row[1]) for row in takewhile(bool, found) if row]


@pytest.mark.parametrize("size", [(80, 24), (58, 14), (44, 12), (120, 60)])
async def test_the_rows_lie_around_the_dial_and_its_own_is_in_words(size: tuple[int, int]) -> None:
    result, pane = make_result(layers=LAYERS, tokens=12), LeftOutPane()
    left_out = planted()
    async with framed(pane, size):
        show(pane, result, read(result, left_out))
        assert left_out.least(KNOWLEDGE, 0.9) == 26
        for steps, kept_count in ((0, 26), (1, 27), (-99, 0), (99, 30), (-5, 25)):
            pane.turn_dial(steps)
            text = " ".join(" ".join(lines(pane)).split())
            assert left_out.sentence(kept_count) in text
            row = line_with(pane, "▸")
            assert lines(pane)[row].split()[1] == str(kept_count)
            assert list(cells(pane.render_line(row)))[4][1].color == pane.pane_styles.accent.color
            assert ("── " in text and kept_count == 25) == (" 30 ▴25 20 15 " in text)
            shown = stays(pane)
            assert kept_count in shown
            assert len(shown) >= 3
            assert shown == sorted(shown, reverse=True)
        assert (len(stays(pane)) == LAYERS + 1) == (size[1] == 60)
        assert ("── known" in pane.text) == (size[1] == 60), "the curves, where there is room"


async def test_without_a_count_the_dial_begins_at_one_layer_less() -> None:
    result, pane = make_result(layers=LAYERS, tokens=12), LeftOutPane()
    left_out = planted()
    known = {name: column for name, column in left_out.columns.items() if name != KNOWLEDGE}
    async with framed(pane, (80, 24)):
        assert "r runs the prompt" in " ".join(pane.text.split())
        show(pane, result, read(result, None))
        assert "i computes it" in " ".join(pane.text.split())
        show(pane, result, read(result, replace(left_out, columns=known)))
        assert lines(pane)[line_with(pane, "▸")].split()[1] == "29"


async def test_the_what_if_begins_without_the_layers_of_the_dial() -> None:
    result, pane = make_result(layers=LAYERS, tokens=12), LeftOutPane()
    settings = RunSettings(skipped=(Skip(3, "mlp"),))
    async with framed(pane, (80, 24)):
        assert pane.what_if_settings(settings) == settings
        show(pane, result, read(result, planted()))
        pane.turn_dial(-1)
        skipped = pane.what_if_settings(settings).skipped
        assert skipped == tuple(Skip(layer, "layer") for layer in (5, 14, 16, 18, 19))


async def test_the_key_computes_the_quick_columns_and_then_the_model_s_order() -> None:
    result, pane = make_result(layers=LAYERS, tokens=12), LeftOutPane()
    change(pane, pace=Pace(forward=0.005))
    async with framed(pane, (100, 24)):
        show(pane, result, read(result, planted("own")))
        assert pane.computes() == ("kept",)
        result.put("kept", smooth_metric("kept", result))
        show(pane, result, read(result, planted("own")))
        assert pane.computes() == ("speed",), "the prompt has no answer"
        assert "i computes speed" in pane.text
        show(pane, replace(result, settings=RunSettings(metrics=("speed",))), pane.reading)
        assert "i computes" not in pane.text, "it is being computed"
        assert "in an order of other tokens" in pane.text
        result.put("speed", smooth_metric("speed", result))
        show(pane, result, read(result, planted("own")))
        assert "i finds the model's order, about" in pane.text
        assert pane.computes_with()["order_source"] == "model"
        show(pane, result, read(result, planted()))
        assert "the model's order" in pane.text
        assert "i finds" not in pane.text


async def test_parts_stand_beside_the_layers() -> None:
    result, pane = make_result(layers=LAYERS, tokens=12), LeftOutPane()
    gone = np.arange(2 * LAYERS + 1)
    known = {KNOWLEDGE: LeftOutColumn("known", 1 - gone / 100, ".2f", falls=True)}
    parts = LeftOut("part", LAYERS, "model", "ranked", tuple(range(2 * LAYERS)), known)
    async with framed(pane, (100, 24)):
        show(pane, result, read(result, planted()))
        assert "by parts" not in pane.text
        show(pane, result, read(result, planted(), parts))
        assert "by parts 25 MLPs and 25 attentions keep 90%" in pane.text
