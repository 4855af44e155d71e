"""The heatmap: what stands where, in which colour, and how little a cursor move repaints."""

from __future__ import annotations

import numpy as np
import pytest
from rich.color import Color
from textual.events import MouseScrollUp

from depthtui import ramps
from depthtui.data.depth import DepthEstimate
from depthtui.data.run import RunResult
from depthtui.metrics.contributions import Contributions
from depthtui.metrics.registry import MEASURE_BY_NAME
from depthtui.metrics.residual_erasure import ResidualErasure
from depthtui.report.phrases import rule_title
from depthtui.tui.draw.scale import scale_of
from depthtui.tui.panes.heatmap import HeatmapPane
from depthtui.tui.panes.pane import Cursor, CursorMoved
from tests.builders.results import half_run, make_result
from tests.tui.panes.drawing import (
    Frame,
    cell,
    cells,
    change,
    framed,
    line_with,
    lines,
    show,
    summary_of,
    with_depths,
)


def heatmap(
    ramp: str = "truecolor", measure: str = "layer_norm_ratio", **attributes
) -> HeatmapPane:
    pane = HeatmapPane()
    change(pane, ramp=ramp)
    change(pane, measure=MEASURE_BY_NAME[measure])
    change(pane, **attributes)
    return pane


def label(line: str) -> str:
    """The layer number at the start of a line."""
    return line[:4].strip(" ▸◆")


def rgb(colour: Color | None) -> ramps.RGB:
    assert colour is not None
    return tuple(colour.get_truecolor())  # type: ignore[return-value]


async def test_layer_0_is_at_the_bottom_and_the_lowest_value_the_first_colour():
    pane = heatmap(cursor=Cursor(3, 4))
    async with framed(pane, (60, 12)):
        show(pane, make_result(layers=6, tokens=5))
        numbers = [label(line) for line in lines(pane)]
        assert [number for number in numbers[:8] if number.isdigit()] == [
            "5",
            "4",
            "3",
            "2",
            "1",
            "0",
        ]
        ramp = ramps.sequential(dark=True)
        _, bottom = cell(pane, 4, numbers.index("0"))
        _, top = cell(pane, 4, numbers.index("5"))
        lightnesses = [
            ramps.lightness(rgb(cell(pane, 4, numbers.index(str(layer)))[1].bgcolor))
            for layer in range(6)
        ]
        assert lightnesses == sorted(lightnesses)
        assert rgb(bottom.bgcolor) == ramp[round(23 / 6 / 1.04)]
        assert rgb(top.bgcolor) in ramp[-3:]


async def test_layer_order_turns_it_over():
    pane = heatmap(layer_order="down")
    async with framed(pane, (60, 12)):
        show(pane, make_result(layers=6))
        numbers = [label(line) for line in lines(pane)]
        assert [number for number in numbers[:8] if number.isdigit()] == [
            "0",
            "1",
            "2",
            "3",
            "4",
            "5",
        ]


async def test_two_layers_share_a_line_as_half_blocks():
    pane = heatmap(cursor=Cursor(0, 4))
    result = make_result(layers=30, tokens=6)
    async with framed(pane, (60, 22)):
        show(pane, result)
        y = next(y for y, line in enumerate(lines(pane)) if label(line) == "10")
        char, style = cell(pane, 5, y)
        assert char == "▀"
        values = result.get(Contributions).layer_norm_ratio
        high = scale_of(values, diverging=False).high
        level = ramps.levels(values, 0, high, ramps.LEVELS)
        ramp = ramps.sequential(dark=True)
        assert rgb(style.color) == ramp[level[11, 0]]
        assert rgb(style.bgcolor) == ramp[level[10, 0]]


async def test_a_layer_is_taller_where_there_is_room():
    pane = heatmap()
    async with framed(pane, (60, 18)):
        show(pane, make_result(layers=4))
        numbers = [label(line) for line in lines(pane)][:-2]
        places = [numbers.index(str(layer)) for layer in range(4)]
        assert places == [12, 8, 5, 1]


async def test_the_cursor_marks_label_cell_and_column():
    pane = heatmap(cursor=Cursor(3, 2))
    async with framed(pane, (60, 12)):
        show(pane, make_result(layers=6, tokens=5))
        accent = pane.pane_styles.accent.color
        y = line_with(pane, "▸3")
        assert cell(pane, 1, y)[1].color == accent
        first, width = pane.grid.x_of(2), pane.grid.width_of(2)
        assert {cell(pane, first + x, y)[1].bgcolor for x in range(width)} == {accent}
        assert f"{4 / 6 + 0.02:.3f}" in lines(pane)[y], "the value of the cell is in it"
        names = line_with(pane, "·t2")
        column = lines(pane)[names].index("·t2")
        assert cell(pane, column, names)[1].color == accent
        assert cell(pane, lines(pane)[names].index("·t1"), names)[1].color != accent
        assert lines(pane)[-1].endswith(f"layer 3, token 2: {4 / 6 + 0.02:.3f}")


async def test_a_narrow_cell_is_all_accent():
    pane = heatmap(cursor=Cursor(2, 20))
    async with framed(pane, (60, 12)):
        show(pane, make_result(layers=6, tokens=50))
        y = line_with(pane, "▸2")
        assert cell(pane, pane.grid.x_of(20), y)[1].bgcolor == pane.pane_styles.accent.color
        assert "▴·t20" in lines(pane)[-2]


async def test_a_long_prompt_scrolls_sideways_with_the_cursor():
    pane = heatmap()
    async with framed(pane, (60, 12)):
        show(pane, make_result(layers=6, tokens=300))
        assert "▴·t0" in lines(pane)[-2]
        for token in (150, 299, 250, 0):
            pane.cursor = Cursor(0, token)
            assert f"·t{token}" in lines(pane)[-2].replace("▴", "")
            y = line_with(pane, "▸0")
            accents = [
                x
                for x in range(3, 56)
                if pane.pane_styles.accent.color == cell(pane, x, y)[1].bgcolor
            ]
            assert len(accents) == 1


@pytest.mark.parametrize("ramp", ["truecolor", "glyph"])
@pytest.mark.parametrize(("layers", "tokens"), [(6, 5), (30, 37), (20, 2), (13, 52)])
async def test_cells_fill_the_pane_up_to_blank_lines(ramp: str, layers: int, tokens: int):
    result = make_result(layers=layers, tokens=tokens)
    result.get(Contributions).layer_norm_ratio[:] = 1
    pane = heatmap(ramp, cursor=Cursor(0, 0))
    async with framed(pane, (60, 24)):
        show(pane, result)
        assert lines(pane)
        blank = -(-pane.grid.blank // (1 if ramp == "glyph" else 2))
        for y in range(blank, 20):
            last = list(cells(pane.render_line(y)))[-4:]
            drawn = [
                char == "█" or style.bgcolor not in (pane.pane_styles.background, None)
                for char, style in last
            ]
            assert drawn == [True] * 4, y


def long_run() -> RunResult:
    """2,000 tokens, the last quarter of which is deep."""
    result = make_result(layers=6, tokens=2000)
    result.get(Contributions).layer_norm_ratio[:] = np.where(np.arange(2000) < 1500, 0.1, 1.0)
    return result


async def test_a_line_shows_all_of_a_long_prompt_and_marks_what_is_in_sight():
    pane = heatmap(cursor=Cursor(2, 0))
    async with framed(pane, (60, 14)):
        show(pane, long_run())
        accent, ramp = pane.pane_styles.accent.color, ramps.sequential(True)
        for token in (0, 1000, 1999):
            pane.cursor = Cursor(2, token)
            y = line_with(pane, "overview ")
            drawn = list(cells(pane.render_line(y)))[9:]
            assert len(drawn) == 47
            assert [rgb(style.color or style.bgcolor) == ramp[-1] for _, style in drawn] == (
                [False] * 36 + [True] * 11
            )
            marked = [place for place, (_, style) in enumerate(drawn) if style.bgcolor == accent]
            assert token * 47 // 2000 in marked
            assert len(marked) <= 3


async def test_a_click_on_all_tokens_goes_there():
    pane = heatmap(cursor=Cursor(2, 0))
    async with framed(pane, (60, 14)) as pilot:
        show(pane, long_run())
        await pilot.pause()
        await pilot.click(pane, offset=(2 + 9 + 46, 1 + line_with(pane, "overview")))
        await pilot.pause()
        moved = pilot.app.heard[-1]
        assert moved.layer == 2
        assert moved.token >= 1950


async def test_a_prompt_that_is_in_sight_needs_no_line_of_all_tokens():
    pane = heatmap(cursor=Cursor(2, 0))
    async with framed(pane, (60, 14)):
        show(pane, make_result(layers=6, tokens=53))
        assert not any("overview" in line for line in lines(pane))


async def test_a_deep_model_scrolls_with_the_cursor():
    pane = heatmap()
    async with framed(pane, (60, 12)):
        show(pane, make_result(layers=90, tokens=4))
        for layer in (0, 89, 40, 3, 88):
            pane.cursor = Cursor(layer, 0)
            (line,) = [line for line in lines(pane) if line[0] == "▸"]
            assert int(line[1:4]) == layer
            seen = pane.grid.rows.visible
            assert f"layers {seen[0]}-{seen[-1]} of 0-89" in str(pane.border_subtitle)


async def test_the_numbers_stay_where_they_are_as_the_cursor_moves():
    pane = heatmap()
    async with framed(pane, (60, 22)):
        show(pane, make_result(layers=30, tokens=4))
        before = [line[1:4] for line in lines(pane)[:-2]]
        assert before[:3] == ["   ", "   ", "   "], "blank lines, and no thicker layers"
        assert [int(number) for number in before[3:]] == [*range(28, -1, -2)]
        for layer in range(30):
            pane.cursor = Cursor(layer, 0)
            (y,) = [y for y, line in enumerate(lines(pane)) if line[0] == "▸"]
            assert int(before[y]) == layer // 2 * 2
            own = f"{layer:>2} "
            numbers = [line[1:4] for line in lines(pane)[:-2]]
            assert numbers == [*before[:y], own, *before[y + 1 :]]


async def test_the_legend_marks_the_end_that_takes_larger_values():
    result = make_result(layers=20, tokens=20)
    result.get(Contributions).layer_norm_ratio[3, 0] = 310
    pane = heatmap()
    async with framed(pane, (100, 30)):
        show(pane, result)
        legend = lines(pane)[-1]
        assert legend.startswith("0 ")
        assert " ≥ " in legend
        assert "310" not in legend
        change(pane, measure=MEASURE_BY_NAME["overlap"])
        legend = lines(pane)[-1]
        assert legend.startswith("0 ")
        assert " 1.00" in legend
        assert "≥" not in legend


async def test_one_outlier_does_not_flatten_the_rest():
    result = make_result(layers=20, tokens=20)
    result.get(Contributions).layer_norm_ratio[0, 0] = 1e6
    pane = heatmap()
    async with framed(pane, (100, 30)):
        show(pane, result)
        top, bottom = line_with(pane, " 19"), line_with(pane, "  1")
        assert rgb(cell(pane, 10, top)[1].bgcolor) in ramps.sequential(True)[-5:]
        assert rgb(cell(pane, 10, bottom)[1].bgcolor) in ramps.sequential(True)[1:4]


@pytest.mark.parametrize(("measure", "rule"), [("layer_cosine", "cosine"), ("kl", "kl")])
async def test_the_depth_of_the_measure_s_rule_is_marked_at_its_layer(measure: str, rule: str):
    result = make_result(layers=6)
    summary = summary_of(result)
    layer = next(estimate.layer for estimate in summary.depths if estimate.rule == rule)
    pane = heatmap(measure=measure, cursor=Cursor(0, 0))
    async with framed(pane, (100, 14)):
        show(pane, result, summary)
        ticked = [label(line) for line in lines(pane)[:-1] if "◆" in line]
        assert ticked == [str(layer)]
        assert pane.border_subtitle == f"◆ {rule_title(rule)} depth {layer + 1}"


async def test_of_two_layers_on_a_line_the_marked_one_has_the_number():
    result = make_result(layers=12)
    pane = heatmap(measure="kl", cursor=Cursor(0, 0))
    async with framed(pane, (80, 10)):
        for layer in (5, 4):
            depths = (DepthEstimate("kl", layer, (layer + 1) / 12, 0.5),)
            show(pane, result, with_depths(summary_of(result), *depths))
            (marked,) = [line for line in lines(pane)[:-1] if "◆" in line[:6]]
            assert marked.split("◆")[0].strip() == str(layer)
            assert f"◆ KL depth {layer + 1}" in str(pane.border_subtitle)
        # The cursor's layer has the number of the line that they share, and no mark of another.
        pane.cursor = Cursor(5, 0)
        (line,) = [line for line in lines(pane)[:-1] if "▸" in line[:6]]
        assert line[:6].split()[0] == "▸"
        assert "◆" not in line[:6]


async def test_a_measure_that_no_rule_reads_has_no_mark():
    result = make_result(layers=6)
    pane = heatmap(measure="entropy", cursor=Cursor(0, 0))
    async with framed(pane, (80, 14)):
        show(pane, result, summary_of(result))
        assert not pane.border_subtitle


async def test_what_has_not_run_is_dots():
    pane = heatmap(cursor=Cursor(0, 0))
    async with framed(pane, (60, 12)):
        show(pane, half_run(make_result(layers=6, tokens=5), 2))
        y = line_with(pane, " 4")
        assert lines(pane)[y][3:].count("·") == 5
        assert "·" not in lines(pane)[line_with(pane, " 1")]
        show(pane, half_run(make_result(layers=6, tokens=5), 0))
        assert "not run yet" in lines(pane)[-1]


async def test_growing_rows_appear_when_shown_again():
    whole = make_result(layers=6, tokens=5)
    growing = half_run(make_result(layers=6, tokens=5), 1)
    pane = heatmap(cursor=Cursor(5, 4))
    async with framed(pane, (60, 12)):
        show(pane, growing)
        before = lines(pane)[line_with(pane, " 2")]
        growing.measured["contributions"].put(0, whole.get(Contributions))
        show(pane, growing)
        after = lines(pane)[line_with(pane, " 2")]
        assert "·" in before
        assert "·" not in after


@pytest.mark.parametrize(
    ("measure", "model", "metrics", "says"),
    [
        ("mlp_cosine", {"split_missing": "Mamba has no MLP."}, ("contributions",), "Mamba"),
        ("kl", {"lens_missing": "The head is not linear."}, ("logit_lens",), "not linear"),
        ("kl", {}, ("contributions",), "This run has no logit lens."),
        ("layer_cosine", {}, ("logit_lens",), "This run has no contributions."),
        ("expert_first", {"experts_missing": "no experts"}, (), "is unavailable: no experts."),
        ("adapter_layer", {}, (), "is unavailable: the model has no adapter"),
    ],
)
async def test_what_is_unavailable_says_why(measure, model, metrics, says):
    pane = heatmap(measure=measure)
    async with framed(pane, (60, 12)):
        show(pane, make_result(metrics=metrics, **model))
        assert says in " ".join(" ".join(lines(pane)).split())


async def test_a_metric_of_the_pass_that_failed_says_why():
    result = make_result(metrics=("logit_lens",))
    result.fail("contributions", "the memory ran out")
    pane = heatmap(measure="layer_cosine")
    async with framed(pane, (60, 12)):
        show(pane, result)
        words = " ".join(" ".join(lines(pane)).split())
        assert "is unavailable: the memory ran out." in words


async def test_an_empty_pane_says_what_fills_it():
    pane = heatmap()
    async with framed(pane, (60, 12)):
        assert "r runs the prompt" in "".join(lines(pane))


async def test_glyphs_keep_sign_and_order():
    result = make_result(layers=9, tokens=4)
    result.get(Contributions).layer_cosine[:] = np.linspace(-1, 1, 9)[:, None]
    pane = heatmap(ramp="glyph", measure="layer_cosine", cursor=Cursor(0, 3))
    async with framed(pane, (60, 16)):
        show(pane, result)
        column = [lines(pane)[line_with(pane, f" {layer} ")][5] for layer in range(1, 9)]
        assert ["≣", *column] == list(ramps.DIVERGING_GLYPHS)
        assert ramps.DIVERGING_GLYPHS in lines(pane)[-1]


async def test_a_glyph_cell_under_the_cursor_is_bracketed_or_reversed():
    pane = heatmap(ramp="glyph", cursor=Cursor(5, 1))
    async with framed(pane, (60, 16)):
        show(pane, make_result(layers=6, tokens=5))
        assert lines(pane)[line_with(pane, "▸5")].count("[") == 1
        show(pane, make_result(layers=6, tokens=50))
        assert cell(pane, 4, line_with(pane, "▸5"))[1].reverse


async def test_no_color_in_the_environment_means_glyphs(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    pane = heatmap(ramp="auto")
    async with framed(pane, (60, 16)):
        show(pane, make_result(layers=6, tokens=5))
        assert "█" in "".join(lines(pane))


async def test_the_terminal_s_colours_choose_the_ramp(monkeypatch):
    result = make_result(layers=6, tokens=5)
    for system, ramp in (("truecolor", ramps.sequential), ("256", ramps.sequential_256)):
        monkeypatch.setattr("textual.constants.COLOR_SYSTEM", system)
        pane = heatmap(ramp="auto", cursor=Cursor(0, 4))
        async with framed(pane, (60, 12)):
            show(pane, result)
            _, style = cell(pane, 5, line_with(pane, " 5"))
            assert rgb(style.bgcolor) in ramp(True)[-2:]
    monkeypatch.setattr("textual.constants.COLOR_SYSTEM", "standard")
    pane = heatmap(ramp="auto")
    async with framed(pane, (60, 12)):
        show(pane, result)
        assert "█" in "".join(lines(pane))


async def test_a_light_theme_has_a_light_ramp():
    pane = heatmap(cursor=Cursor(0, 0))
    async with framed(pane, (60, 12), theme="textual-light") as pilot:
        show(pane, make_result(layers=6, tokens=5))
        y = line_with(pane, " 5")
        assert rgb(cell(pane, 20, y)[1].bgcolor) in ramps.sequential(False)[-3:]
        pilot.app.theme = "textual-dark"
        await pilot.pause()
        assert rgb(cell(pane, 20, y)[1].bgcolor) in ramps.sequential(True)[-3:]


async def test_means_show_each_sublayer():
    result = make_result(layers=6)
    pane = heatmap(mode="means", cursor=Cursor(4, 0))
    async with framed(pane, (80, 12)):
        show(pane, result, summary_of(result))
        assert lines(pane)[-2].split() == ["attention", "MLP", "layer"]
        mean = float(result.get(Contributions).mlp_norm_ratio[4].mean())
        assert lines(pane)[line_with(pane, "▸4")].split()[2] == f"{mean:.3f}"
        assert f"MLP {mean:.3f}" in lines(pane)[-1]


async def test_the_output_row_is_the_last_layer_where_there_is_none():
    result = make_result(layers=6)
    pane = heatmap(measure="kl", cursor=Cursor(6, 0))
    async with framed(pane, (60, 14)):
        show(pane, result)
        assert any(line.startswith("▸out") for line in lines(pane)), "as in the lens"
        assert "output, token 0: 0" in lines(pane)[-1]
        change(pane, measure=MEASURE_BY_NAME["layer_cosine"])
        assert line_with(pane, "▸5")


async def test_a_cursor_move_repaints_a_handful_of_lines():
    pane = heatmap(cursor=Cursor(10, 10))
    async with framed(pane, (120, 40)) as pilot:
        show(pane, make_result(layers=30, tokens=60))
        await pilot.pause()
        drawn: list[int] = []
        draw_line = pane.draw_line
        pane.draw_line = lambda y: (drawn.append(y), draw_line(y))[1]  # type: ignore[method-assign]
        for cursor in (Cursor(11, 10), Cursor(11, 11), Cursor(12, 11)):
            drawn.clear()
            pane.cursor = cursor
            await pilot.pause()
            assert 1 <= len(drawn) <= 5
        drawn.clear()
        pane.cursor = pane.cursor
        await pilot.pause()
        assert not drawn


async def test_a_click_points_at_a_cell():
    pane = heatmap()
    async with framed(pane, (60, 12)) as pilot:
        show(pane, make_result(layers=6, tokens=5))
        await pilot.pause()
        y = line_with(pane, " 4")
        await pilot.click(pane, offset=(2 + pane.grid.x_of(2) + 1, 1 + y))
        await pilot.pause()
        app = pilot.app
        assert isinstance(app, Frame)
        moved = app.heard[-1]
        assert isinstance(moved, CursorMoved)
        assert (moved.layer, moved.token) == (4, 2)


async def test_the_wheel_moves_the_layer():
    pane = heatmap(cursor=Cursor(2, 1))
    async with framed(pane, (60, 12)) as pilot:
        show(pane, make_result(layers=6, tokens=5))
        await pilot.pause()
        pane.post_message(MouseScrollUp(pane, 5, 5, 0, 0, 0, False, False, False))
        await pilot.pause()
        moved = pilot.app.heard[-1]
        assert (moved.layer, moved.token) == (3, 1)


async def test_a_layer_of_outliers_does_not_flatten_the_means():
    result = make_result(layers=14, tokens=5)
    for part in (
        result.get(Contributions).attention_norm_ratio,
        result.get(Contributions).layer_norm_ratio,
    ):
        part[1] = 50
    pane = heatmap(mode="means", cursor=Cursor(0, 0))
    async with framed(pane, (100, 20)):
        show(pane, result, summary_of(result))
        assert " ≥ " in lines(pane)[-1]
        assert "50" not in lines(pane)[-1]


async def test_what_is_below_the_noise_has_no_colour_and_the_legend_says_so():
    pane = heatmap("glyphs", "residual_erasure", cursor=Cursor(0, 5))
    result = make_result(layers=3, tokens=6)
    effect = np.full((4, 6), 0.5, np.float32)
    effect[1, 2] = 0.1
    async with framed(pane, (70, 12)):
        result.put("residual_erasure", ResidualErasure(effect, 4, 0.1))
        show(pane, result)
        shown = {label(line): line for line in lines(pane)}
        assert shown["1"].count(ramps.UNKNOWN_GLYPH) == 1
        assert ramps.UNKNOWN_GLYPH not in shown["2"]
        assert f"{ramps.UNKNOWN_GLYPH} noise ≤ 0.1" in "".join(lines(pane))

        result.put("residual_erasure", ResidualErasure(effect, 4, 1e-7))
        show(pane, result)
        assert "noise" not in "".join(lines(pane))
