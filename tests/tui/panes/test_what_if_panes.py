"""The panes of a what-if and of useful layers, alone: what stands where."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from textual.content import Content

from depthtui.data.lens import LogitLens
from depthtui.data.protocol import Pace
from depthtui.data.run import Prompt
from depthtui.data.run_settings import Skip
from depthtui.metrics.ablation import Ablation
from depthtui.metrics.accuracy import Accuracy
from depthtui.metrics.direct_effects import DirectEffects
from depthtui.metrics.parts import KeptParts
from depthtui.metrics.registry import MEASURE_BY_NAME
from depthtui.metrics.repeat import Repeat
from depthtui.metrics.similarity import Similarity
from depthtui.metrics.skip_effects import SkipEffects
from depthtui.tui.draw.bars import column_cells, sum_up
from depthtui.tui.panes.heatmap import HeatmapPane
from depthtui.tui.panes.heatmap_views import copied, mode_of
from depthtui.tui.panes.layer_bars import LayerBars
from depthtui.tui.panes.lens_pair import LensPair
from depthtui.tui.panes.output_bars import OptionBars, OutputBars
from depthtui.tui.panes.pane import Cursor, CursorMoved
from depthtui.tui.panes.stack_pane import StackPane
from depthtui.tui.panes.what_if_summary import WhatIfPrompts, WhatIfSummary
from depthtui.tui.state.what_if import Stack, WhatIfEffect, scored_loss
from tests.builders.metrics import ablation, smooth_metric
from tests.builders.results import lacking, make_result
from tests.report.test_answers import WRONG, answered
from tests.tui.panes.drawing import cell, change, framed, line_with, lines, show


def ablated(values: list[float]) -> Ablation:
    return ablation(np.array(values, np.float32)[:, None])


def similarity(values: list[float]) -> Similarity:
    """At two tokens, the first of which is not turned at all."""
    unknown = np.full((len(values), len(values)), np.nan, np.float32)
    influence = np.outer(values, [0, 2]).astype(np.float32)
    return Similarity(influence, unknown, unknown)


async def test_the_stack_draws_what_is_on():
    pane = StackPane()
    stack = Stack.full(4).switch([0], "layer").switch([1], "attention").switch([2], "mlp")
    async with framed(pane, (40, 12)):
        show(pane, make_result(layers=4))
        pane.show_stack(stack, None)
        shown = [line.split() for line in lines(pane)[1:6]]
        assert [line[-2:] for line in shown[1:]] == [
            ["▄▄▄▄", "▄▄▄▄"],
            ["▄▄▄▄", "····"],
            ["····", "▄▄▄▄"],
            ["····", "····"],
        ]
        assert shown[0][-2:] == ["out", "┃"]
        # A layer that is off as a whole does not touch the stream.
        assert [line[-3] for line in shown[1:]] == ["┣", "┣", "┣", "┃"]


async def test_the_stack_numbers_the_parts_by_their_order():
    pane, result = StackPane(), make_result(layers=6)
    found = smooth_metric("parts", result)
    assert isinstance(found, KeptParts)
    order = (11, *range(11))
    stack = Stack.full(6).switch([5], "mlp")
    async with framed(pane, (40, 12)):
        result.put("parts", found)
        result.put("ablation", ablated([1.0] * 6))
        show(pane, result)
        pane.show_stack(stack, None, kept_parts=replace(found, orders=(order,)))
        shown = [line.split("┣")[1].strip() for line in lines(pane)[2:8]]
        # Attention 0 is the second to go, MLP 5 the first; it is off.
        assert shown[-1] == "▄▄ 2 ▄▄ 3"
        assert shown[0] == "▄▄12 ·· 1"
        assert "numbers: order" in str(pane.border_subtitle)
        pane.show_stack(stack, None)
        assert lines(pane)[7].split("┣")[1].strip() == "▄▄▄▄ ▄▄▄▄"


async def test_the_key_of_the_stack_computes_the_ranking_then_the_order_of_parts():
    pane, result = StackPane(), make_result(layers=6)

    def subtitle() -> str:
        show(pane, result)
        pane.show_stack(Stack.full(6), None)
        lines(pane)
        return str(pane.border_subtitle)

    async with framed(pane, (50, 12)):
        assert subtitle() == "i ablation"
        result.put("ablation", ablated([1.0] * 6))
        assert subtitle() == "i parts kept"
        change(pane, pace=Pace(forward=0.01, tokens=4))
        assert subtitle().startswith("i parts kept, about ")
        result.model = replace(result.model, split_missing="it has none")
        assert subtitle() == "None"


async def test_the_stack_tells_how_useful_layers_are():
    pane = StackPane()
    async with framed(pane, (50, 12)):
        show(pane, make_result(layers=3))
        pane.show_stack(Stack.full(3), ablated([2.0, 1.0, -0.5]))
        assert "loss change" in lines(pane)[0]
        bars = [lines(pane)[line_with(pane, f"{value:.3f}")] for value in (2.0, 1.0, -0.5)]
        # 13 cells right of zero, 3 left of it, of one length for one value.
        assert [line.count("━") + line.count("╸") / 2 for line in bars] == [12, 6, 3]
        axis = [line.index("│") for line in bars]
        assert axis[0] == axis[1] == axis[2]
        assert [line.index("━") > axis[0] for line in bars] == [True, True, False]
        assert pane.border_title == Content("Layers · full bar 2.17")
        y = line_with(pane, "-0.500")
        x = lines(pane)[y].index("━")
        assert cell(pane, x, y)[1].color == pane.pane_styles.good.color
        influence = similarity([0.1, 0.2, 0.3])
        pane.show_stack(Stack.full(3), influence)
        assert "influence" in lines(pane)[0]


async def test_stack_and_lens_have_a_layer_on_the_same_line():
    result = make_result(layers=40)
    stack, pair = StackPane(), LensPair()
    for order in ("up", "down"):
        tops = []
        for pane in (stack, pair):
            change(pane, cursor=Cursor(20, 0), layer_order=order)
            async with framed(pane, (50, 16)):
                show(pane, result, None, result)
                if isinstance(pane, StackPane):
                    pane.show_stack(Stack.full(40), None)
                tops.append([line[:5] for line in lines(pane)[1:]])
        assert tops[0] == tops[1]


async def test_the_lens_marks_where_the_first_choice_differs():
    clean, changed = make_result(layers=4), make_result(layers=4)
    assert changed.get(LogitLens) is not None
    changed.get(LogitLens).top_ids[2, 0] = [3, 1, 2]
    pane = LensPair()
    changed.settings = replace(changed.settings, skipped=(Skip(1),))
    async with framed(pane, (60, 12)):
        show(pane, changed, None, clean)
        differing = [y for y, line in enumerate(lines(pane)) if "≠" in line]
        assert differing == [line_with(pane, "  2 ")]
        y = line_with(pane, "  1 ")
        x = lines(pane)[y].rindex("one")
        assert cell(pane, x, y)[1].color == pane.pane_styles.faint.color


async def test_a_click_in_the_stack_moves_the_cursor_to_that_layer():
    pane = StackPane()
    async with framed(pane, (40, 12)) as pilot:
        show(pane, make_result(layers=4))
        pane.show_stack(Stack.full(4), None)
        await pilot.click(StackPane, offset=(6, 1 + line_with(pane, "  3 ")))
        heard = [message for message in pilot.app.heard if isinstance(message, CursorMoved)]
        assert heard[-1].layer == 3


async def test_both_bars_share_a_line():
    clean, changed = make_result(), make_result()
    assert changed.get(LogitLens) is not None
    changed.get(LogitLens).top_probabilities[-1, 0] = [0.25, 0.125, 0.0]
    pane = OutputBars()
    change(pane, ramp="truecolor")
    async with framed(pane, (60, 12)):
        show(pane, changed, None, clean)
        first = lines(pane)[0]
        assert "Paris" in first
        assert ".50 → .25" in first
        styles = pane.pane_styles
        row_styles = [
            (char, style.color, style.bgcolor)
            for char, style in (cell(pane, x, 0) for x in range(len(first)))
            if char in "▀▄█"
        ]
        both = [
            style for style in row_styles if style[1:] == (styles.muted.color, styles.text.color)
        ]
        alone = [
            style for style in row_styles if style[1:] == (styles.muted.color, styles.background)
        ]
        assert len(both) == pytest.approx(len(alone), abs=1)
        assert len(both) + len(alone) == len(row_styles)


async def test_a_token_that_one_run_does_not_list_has_a_bound():
    clean, changed = make_result(), make_result()
    assert changed.get(LogitLens) is not None
    changed.get(LogitLens).top_ids[-1, 0] = [3, 1, 2]
    pane = OutputBars()
    async with framed(pane, (60, 12)):
        show(pane, changed, None, clean)
        assert ".50 → <.05" in lines(pane)[line_with(pane, "Paris")]
        assert "<.05 → .50" in lines(pane)[line_with(pane, "three")]


async def test_options_move_while_layers_leave():
    clean, changed = answered(along="rrrrr"), answered(WRONG)
    pane = OptionBars()
    async with framed(pane, (60, 12)):
        show(pane, changed, None, clean)
        assert [line.split()[-3:] for line in lines(pane)[:2]] == [
            [".73", "→", ".27"],
            [".27", "→", ".73"],
        ]
        assert lines(pane)[0].startswith("✓ 46 ")
        pane.cursor = Cursor(1, 2)
        assert lines(pane)[0].startswith("✓ 46 ")
        show(pane, changed, None, lacking(clean, "accuracy"))
        assert "– → .27" in lines(pane)[0]
        show(pane, lacking(changed, "accuracy"), None, lacking(clean, "accuracy"))
        assert "x leaves a layer out" in "\n".join(lines(pane))


def with_loss(layers: int, value: float):
    result = make_result(layers=layers)
    assert result.get(LogitLens) is not None
    result.get(LogitLens).next_log_probability[:] = -value
    return result


async def test_the_outcome_in_numbers():
    pane = WhatIfSummary()
    clean, changed = with_loss(4, 2.0), with_loss(4, 2.25)
    stack = Stack.full(4).exit_at(3)
    async with framed(pane, (44, 8)):
        pane.show_effect(stack, WhatIfEffect(clean.prompt, clean, changed))
        text = "\n".join(lines(pane))
        assert "1 of 4 layers off" in text
        assert "3 / 4" in text
        assert "4 / 4" in text
        assert "2.00 → 2.25  +0.25" in text
        pane.show_effect(stack, WhatIfEffect(clean.prompt, clean, None))
        assert "2.00 → …" in "\n".join(lines(pane))
        assert "… running, u undoes" in "\n".join(lines(pane))
        pane.show_effect(stack, WhatIfEffect(clean.prompt, clean, None, "no [/] room"))
        assert "This change did not run: no [/]" in "\n".join(lines(pane))
        assert "Any change tries again; u undoes" in "\n".join(lines(pane))


async def test_the_loss_is_of_the_tokens_that_the_page_left_out_counts() -> None:
    run = with_loss(4, 2.0)
    run.get(LogitLens).next_log_probability[-1, :4] = [-9, -1, -2, -6]
    text = replace(run, tokens=replace(run.tokens, answer_start=len(run.tokens)))
    assert scored_loss(text) == pytest.approx(3.0), "not token 1, which token 0 alone predicts"
    answered = replace(run, tokens=replace(run.tokens, answer_start=3))
    assert scored_loss(answered) == pytest.approx(4.0)
    pane = WhatIfSummary()
    async with framed(pane, (44, 8)):
        stack = Stack.full(4).exit_at(3)
        pane.show_effect(stack, WhatIfEffect(run.prompt, answered, answered))
        assert "answer loss   4.00 → 4.00  +0.00" in pane.text


async def test_the_survey_lists_what_fits_and_counts_the_rest():
    clean, changed = with_loss(4, 2.0), with_loss(4, 2.5)
    effects = [WhatIfEffect(Prompt(f"prompt {index}"), clean, changed) for index in range(9)]
    effects[1] = WhatIfEffect(Prompt("broken"), clean, None, "why")
    effects[2] = WhatIfEffect(Prompt("to come"), clean, None)
    pane = WhatIfPrompts()
    async with framed(pane, (50, 7)) as pilot:
        pane.show_effects(effects, "block influence")
        shown = lines(pane)
        await pilot.pause()
        assert "+0.50" in shown[0]
        assert "did not run" in shown[1]
        assert "…" in shown[2]
        assert shown[4].strip() == "… 5 more lines, z shows all"
        assert "by block influence · mean +0.50" in str(pane.border_subtitle)


def test_columns_of_more_layers_than_cells_show_the_largest():
    assert column_cells(30, 40) == 1
    assert column_cells(4, 40) == 4
    values = np.array([1.0, 5, 2, np.nan, np.nan, np.nan, 7])
    np.testing.assert_array_equal(sum_up(values, column_cells(7, 4)), [5, 2, np.nan, 7])


async def test_useful_layers_stand_taller():
    pane = LayerBars()
    result = make_result(layers=6)
    async with framed(pane, (40, 10)):
        show(pane, result)
        assert "i computes both" in " ".join(lines(pane))
        result.put("ablation", ablated([4.0, 2.0, 1.0, 0.5, 0.0, -1.0]))
        show(pane, result)
        shown = lines(pane)
        assert "least 5 4 3 2 1" in shown[0]
        heights = [sum(line[4 * layer] != " " for line in shown[1:-2]) for layer in range(6)]
        assert heights == sorted(heights, reverse=True)
        assert heights[0] == 4
        # Below zero is a line of its own, and the scale is beside it all.
        assert [line[24:].strip() for line in shown[1:-1]] == ["5.00", "", "", "", "0", "-1.00"]
        assert shown[6][:24].strip() == "████"
        assert cell(pane, 20, 6)[1].color == pane.pane_styles.good.color
        assert pane.border_title == Content("Usefulness of layers")
        result.settings = replace(result.settings, skip_part="mlp")
        result.put("ablation", replace(result.get(Ablation), part="mlp"))
        show(pane, result)
        assert "loss change without MLP" in lines(pane)[0]
        assert "without MLP" in str(pane.border_title)


async def test_right_answers_rank_too_where_they_are_known():
    """They are not computed here: the order of layers that they need takes longer to find."""
    pane = LayerBars()
    result = make_result(layers=3)
    result.put("similarity", smooth_metric("similarity", result))
    values = Accuracy.unknown(
        3, 4, right=-1, order=(), chosen=(), is_written=True, written="", is_changed=False
    )
    result.put("accuracy", values)
    async with framed(pane, (70, 10)):
        show(pane, result)
        assert pane.computes() == ("ablation", "similarity")
        assert "chance of the right answer" not in " ".join(lines(pane))
        values.written_right[0], values.written_without[:] = 1, [0, 1, 1]
        show(pane, result)
        assert "chance of the right answer lost · max 1.00 · least 1 2 0" in lines(pane)[0]


async def test_the_map_of_reads_names_the_reader():
    result = make_result(layers=4)
    effects = np.triu(np.arange(16, dtype=np.float32).reshape(4, 4), 1)
    result.put("direct_effects", DirectEffects("layer", (8,), effects, 0.0))
    pane = HeatmapPane()
    measure = MEASURE_BY_NAME["direct_effects"]
    assert mode_of(measure) == "reads"
    change(pane, mode="reads", measure=measure, cursor=Cursor(1, 0))
    async with framed(pane, (70, 12)) as pilot:
        show(pane, result)
        await pilot.pause()
        assert "layer 1 is read most by layer 3: 7.00" in "\n".join(lines(pane))
        assert "Direct effects · |c - c'| / |c|" in str(pane.border_title)
    value, words = copied(measure, result, Cursor(1, 0))
    assert (value, words) == ("6.5", "mean direct effect of layer 1 on later layers")


async def test_the_map_of_repeated_blocks_is_a_band():
    result = make_result(layers=4)
    found = Repeat.unknown(4, 0)
    found.kl[0], found.kl[1, :3], found.kl[2, :2], found.kl[3, 0] = 2.5, 1.5, 3.5, 4.5
    result.put("repeat", found)
    pane, measure = HeatmapPane(), MEASURE_BY_NAME["repeat"]
    assert mode_of(measure) == "repeats"
    change(pane, mode="repeats", measure=measure, cursor=Cursor(1, 0))
    async with framed(pane, (70, 12)) as pilot:
        show(pane, result)
        await pilot.pause()
        shown = "\n".join(lines(pane))
        assert "layer 1 twice: 2.50, least 1.50, layers 1 to 2" in shown
        assert "Repeated blocks · KL(p || p~), nats" in str(pane.border_title)
    assert copied(measure, result, Cursor(1, 0)) == ("2.5", "Repeated blocks, layer 1 twice")


def test_the_columns_follow_the_measure():
    modes = [
        mode_of(MEASURE_BY_NAME[name], averaged)
        for name in ("layer_cosine", "skip_effects", "direct_effects", "repeat", "pairs", "kl")
        for averaged in (False, True)
    ]
    maps = ["skips", "skips", "reads", "reads", "repeats", "repeats", "pairs", "pairs"]
    assert modes == ["tokens", "means", *maps, "tokens", "tokens"]


@pytest.mark.parametrize("ramp", ["truecolor", "256", "glyph"])
async def test_the_skip_map_is_a_triangle_with_the_output_beside_it(ramp: str):
    result = make_result(layers=6)
    effects = np.triu(np.ones((6, 6), np.float32), 1)
    output = np.arange(6, dtype=np.float32)
    result.put("skip_effects", SkipEffects("layer", (8,), effects, effects, output, 0.0, 0.0))
    pane = HeatmapPane()
    change(
        pane,
        ramp=ramp,
        mode="skips",
        measure=MEASURE_BY_NAME["skip_effects"],
        cursor=Cursor(1, 0),
    )
    async with framed(pane, (60, 12)) as pilot:
        show(pane, result)
        await pilot.pause()
        assert pane.grid.columns.count == 6
        blank = pane.pane_styles.background
        for row in range(6):
            y = next(index for index in range(pane.grid.lines) if row in pane.grid.rows_on(index))
            inside = []
            for column in range(6):
                char, style = cell(pane, pane.grid.x_of(column) + 1, y)
                inside.append(char.strip() != "" or style.bgcolor not in (blank, None))
            expected = [column > row for column in range(6)]
            if row == 1:
                # The glyphs and edges of the cursor stand beside the middle of its cell.
                expected[1] = inside[1]
            assert inside == expected
        assert "without 1: output 1.00, most 1.00 at 2" in "\n".join(lines(pane))
        assert "out" in lines(pane)[pane.grid.lines]
        # Sum of l e_l over sum of e_l, with e_l = l.
        assert "DepthScore 3.7" in str(pane.border_subtitle)


async def test_the_skip_map_names_the_part_that_was_skipped():
    result = make_result(layers=3)
    zero = np.zeros((3, 3), np.float32)
    result.put("skip_effects", SkipEffects("mlp", (8,), zero, zero, zero[0], 0.0, 0.0))
    pane = HeatmapPane()
    change(pane, mode="skips", measure=MEASURE_BY_NAME["skip_effects"])
    async with framed(pane, (60, 12)) as pilot:
        show(pane, result)
        lines(pane)
        await pilot.pause()
        assert "MLP skipped" in str(pane.border_title)
        assert not str(pane.border_subtitle or "")
