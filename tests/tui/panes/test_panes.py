"""The panes beside the heatmap: what they say, and what a cursor move repaints."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from rich.color import Color
from textual.events import MouseScrollDown, MouseScrollUp

from depthtui.data.lens import LogitLens
from depthtui.data.protocol import Progress
from depthtui.data.run import Prompt
from depthtui.data.run_settings import RunSettings
from depthtui.metrics.contributions import Contributions
from depthtui.tui.draw.styles import Piece, line_colour
from depthtui.tui.panes import status_line
from depthtui.tui.panes.curves import DepthCurves
from depthtui.tui.panes.heatmap import HeatmapPane
from depthtui.tui.panes.layer_bars import LayerBars
from depthtui.tui.panes.lens_table import Landmarks, LensTable, landmarks
from depthtui.tui.panes.lines_pane import LinesPane
from depthtui.tui.panes.pane import Cursor, CursorMoved, Pane
from depthtui.tui.panes.progress_pane import ProgressPane
from depthtui.tui.panes.prompt_pane import PromptPane
from depthtui.tui.panes.status_line import StatusLine
from depthtui.tui.state.session import Work
from depthtui.tui.state.status import Status
from tests.builders.models import tiny_model
from tests.builders.results import full_result, half_run, make_result, unanswered
from tests.tui.panes.drawing import (
    cell,
    cells,
    change,
    framed,
    line_with,
    lines,
    show,
    strips,
    summary_of,
)


def put(pane: Pane, **attributes) -> Pane:
    change(pane, **attributes)
    return pane


def count_lines_drawn(pane: Pane) -> list[int]:
    """A list that grows by every line the pane draws from now on."""
    drawn: list[int] = []
    draw_line = pane.draw_line
    pane.draw_line = lambda y: (drawn.append(y), draw_line(y))[1]  # type: ignore[method-assign]
    return drawn


# The prompt ---------------------------------------------------------------


async def test_the_prompt_flows_and_names_the_token_under_the_cursor():
    pane = put(PromptPane(), ramp="truecolor", cursor=Cursor(0, 1))
    async with framed(pane, (24, 8)):
        show(pane, make_result(texts=["The", " capital", " of", " France", " is", " Paris", "\n"]))
        assert [line.rstrip() for line in lines(pane)[:2]] == [
            "The·capital·of",
            "·France·is·Paris↵",
        ]
        assert pane.border_subtitle is not None
        assert 'token 1 of 0-6 · id 101 · "·capital"' in pane.border_subtitle


async def test_a_line_of_the_prompt_ends_after_a_newline():
    pane = put(PromptPane(), ramp="truecolor")
    async with framed(pane, (40, 8)):
        show(pane, make_result(texts=["a", "\n", "b", "c\n\n", "d"]))
        assert [line.rstrip() for line in lines(pane)[:3]] == ["a↵", "bc↵↵", "d"]


async def test_tokens_have_the_heatmap_s_colours():
    result = make_result(layers=6, tokens=5)
    prompt = put(PromptPane(), ramp="truecolor", cursor=Cursor(3, 0))
    heat = put(HeatmapPane(), ramp="truecolor", cursor=Cursor(0, 0))
    async with framed(prompt, (60, 12)):
        show(prompt, result)
        _, in_prompt = cell(prompt, lines(prompt)[0].index("·t2"), 0)
    async with framed(heat, (60, 12)):
        show(heat, result)
        _, in_heatmap = cell(heat, 3 + 2 * 8, line_with(heat, " 3"))
    assert in_prompt.bgcolor == in_heatmap.bgcolor


async def test_the_cursor_s_token_and_the_answer_stand_out():
    pane = put(PromptPane(), ramp="truecolor", cursor=Cursor(0, 1))
    async with framed(pane, (60, 6)):
        show(pane, make_result(tokens=5))
        row = list(cells(strips(pane)[0]))
        assert row[3][1].bgcolor == pane.pane_styles.accent.color
        assert row[0][1].bgcolor != pane.pane_styles.accent.color
        underlined = "".join(char for char, style in row if style.underline)
        assert underlined == "·t4"
        assert str(pane.border_title) == 'Prompt · answer underlined: "·t4"'


async def test_a_long_prompt_follows_the_cursor():
    pane = PromptPane()
    async with framed(pane, (24, 6)):
        show(pane, make_result(tokens=200))
        for token in (0, 199, 90, 3):
            pane.cursor = Cursor(0, token)
            assert any(f"·t{token}" in line for line in lines(pane))


async def test_the_wheel_scrolls_a_long_prompt_and_leaves_the_cursor_where_it_is():
    pane = PromptPane()
    async with framed(pane, (24, 6)) as pilot:
        show(pane, make_result(tokens=200))
        first, second = lines(pane)[:2]

        async def turn(kind: type[MouseScrollDown | MouseScrollUp], times: int = 1) -> None:
            for _ in range(times):
                pane.post_message(kind(pane, 5, 2, 0, 0, 0, False, False, False))
            await pilot.pause()

        await turn(MouseScrollDown)
        assert lines(pane)[0] == second
        await turn(MouseScrollUp, 2)
        assert lines(pane)[0] == first
        await turn(MouseScrollDown, 99)
        assert "·t199" in lines(pane)[-1]
        assert (pane.cursor, pilot.app.heard) == (Cursor(), [])


async def test_what_has_room_is_shown_however_little_room_there_was():
    pane = put(PromptPane(), cursor=Cursor(0, 9))
    async with framed(pane, (24, 3)) as pilot:
        show(pane, make_result(tokens=90))
        assert "·t0·" not in lines(pane)[0]
        await pilot.resize_terminal(24, 8)
        await pilot.pause()
        assert "·t0·" in lines(pane)[0]
        assert any("·t9" in line for line in lines(pane))


async def test_a_cursor_move_repaints_the_tokens_that_changed():
    pane = put(PromptPane(), ramp="truecolor")
    async with framed(pane, (24, 12)) as pilot:
        result = make_result(layers=6, tokens=30)
        result.get(Contributions).layer_norm_ratio[2] = result.get(Contributions).layer_norm_ratio[
            1
        ]
        show(pane, result)
        pane.cursor = Cursor(1, 0)
        await pilot.pause()
        drawn = count_lines_drawn(pane)
        pane.cursor = Cursor(2, 0)
        await pilot.pause()
        assert set(drawn) <= {0}
        pane.cursor = Cursor(2, 1)
        await pilot.pause()
        assert set(drawn) == {0}
        pane.cursor = Cursor(5, 1)
        await pilot.pause()
        assert len(set(drawn)) > 5


async def test_without_colours_the_weight_of_a_token_is_its_value():
    pane = put(PromptPane(), ramp="glyph", cursor=Cursor(2, 0))
    async with framed(pane, (60, 6)):
        result = make_result(layers=6, tokens=6)
        result.get(Contributions).layer_norm_ratio[2] = [1, 0, 0.3, 0.7, 1, 0]
        show(pane, result)
        assert lines(pane)[0].startswith("·t0·t1·t2·t3·t4·t5 ")
        styles, drawn = pane.pane_styles, list(cells(strips(pane)[0]))
        weights = [drawn[lines(pane)[0].index(f"·t{token}")][1] for token in range(6)]
        assert weights[1:5] == [styles.faint, styles.muted, styles.text, styles.strong]
        assert len({(style.color, style.bold) for style in weights[1:5]}) == 4
        # The answer's underline is no value.
        assert [bool(style.underline) for style in weights] == [False] * 5 + [True]


async def test_a_click_selects_a_token():
    pane = put(PromptPane(), ramp="truecolor", cursor=Cursor(2, 0))
    async with framed(pane, (60, 6)) as pilot:
        show(pane, make_result(tokens=5))
        await pilot.pause()
        await pilot.click(pane, offset=(2 + 7, 1))
        await pilot.pause()
        moved = pilot.app.heard[-1]
        assert isinstance(moved, CursorMoved)
        assert (moved.layer, moved.token) == (2, 2)


# The logit lens -----------------------------------------------------------


def test_landmarks():
    assert landmarks(np.array([[1, 2], [3, 7], [7, 2], [1, 7], [7, 1]])) == Landmarks(7, 1, 4)
    assert landmarks(np.array([[7, 2], [7, 1]])) == Landmarks(7, 0, 0)
    assert landmarks(np.array([[7, 2], [-1, -1]])) == Landmarks(-1, None, None)


async def test_the_lens_lists_layers_from_the_output_down():
    pane = put(LensTable(), cursor=Cursor(2, 0))
    async with framed(pane, (70, 12)):
        show(pane, make_result(layers=6))
        names = [line.split()[0] for line in lines(pane)[1:8]]
        assert names == ["out", "5", "4", "3", "▸", "1", "0"]
        assert lines(pane)[1].split() == [
            "out",
            "·Paris",
            ".50",
            "·one",
            ".25",
            "·two",
            ".05",
            "1.00",
        ]
        assert "entropy" in lines(pane)[0]
        change(pane, layer_order="down")
        assert lines(pane)[1].split()[0] == "0"


async def test_the_final_answer_is_accented_and_its_landmarks_noted():
    pane = put(LensTable(), cursor=Cursor(0, 0))
    async with framed(pane, (90, 12)):
        show(pane, make_result(layers=6))
        accent = pane.pane_styles.accent.color
        for y, line in enumerate(lines(pane)):
            for word in ("·Paris", "·one", "·three"):
                if word in line:
                    is_accent = cell(pane, line.index(word), y)[1].color == accent
                    assert is_accent == (word == "·Paris")
        assert "← first seen" in lines(pane)[line_with(pane, "  3 ")]
        assert "← stays" in lines(pane)[line_with(pane, "  5 ")]
        assert sum("←" in line for line in lines(pane)) == 2


async def test_an_answer_first_seen_beyond_the_columns_says_where():
    result = make_result(layers=6)
    result.get(LogitLens).top_ids[1] = [1, 2, 7]
    pane = put(LensTable(), cursor=Cursor(0, 0))
    async with framed(pane, (50, 12)):
        show(pane, result)
        assert "← '·Paris' top 3" in lines(pane)[line_with(pane, "  1 ")]


@pytest.mark.parametrize("width", range(46, 70, 3))
async def test_where_an_answer_is_first_seen_the_note_does_not_cover_it(width: int):
    result = make_result(layers=6)
    lens = result.get(LogitLens)
    lens.top_ids[1] = [1, 2, 7]
    lens.vocabulary[7] = "answer"
    pane = put(LensTable(), cursor=Cursor(0, 0))
    async with framed(pane, (width, 12)):
        show(pane, result)
        row = lines(pane)[line_with(pane, "  1 ")]
        assert "←" in row
        assert "top 3" in row or "answer" in row


@pytest.mark.parametrize("width", range(40, 120, 3))
async def test_a_note_stands_beside_whole_tokens_and_their_probabilities(width: int):
    result = make_result(layers=6)
    lens = result.get(LogitLens)
    lens.top_ids[1] = [1, 2, 7]
    pane = put(LensTable(), cursor=Cursor(0, 0))
    async with framed(pane, (width, 12)):
        show(pane, result)
        plain = lines(pane)[line_with(pane, "  2 ")]
        ends = [found.end() for found in re.finditer(r"\.\d\d(?=  )", plain)]
        noted = [line for line in lines(pane) if "←" in line]
        assert len(noted) == 2
        for line in noted:
            before = line[: line.index("←")].rstrip()
            assert len(before) in ends, (before, plain)


async def test_a_move_along_the_tokens_does_not_draw_the_curves():
    pane = put(DepthCurves(), cursor=Cursor(3, 1))
    async with framed(pane, (70, 16)) as pilot:
        result = make_result()
        show(pane, result, summary_of(result))
        await pilot.pause()
        drawn = count_lines_drawn(pane)
        pane.cursor = Cursor(3, 2)
        await pilot.pause()
        assert drawn == []
        pane.cursor = Cursor(2, 2)
        await pilot.pause()
        assert len(drawn) == pane.size.height


async def test_the_lens_scrolls_with_the_cursor_and_repaints_two_lines_otherwise():
    pane = put(LensTable(), cursor=Cursor(60, 0))
    async with framed(pane, (70, 16)) as pilot:
        show(pane, make_result(layers=60))
        for layer in (60, 0, 31, 59):
            pane.cursor = Cursor(layer, 0)
            name = "out" if layer == 60 else layer
            assert any(line.startswith(f"▸{name:>3} ") for line in lines(pane))
        await pilot.pause()
        drawn = count_lines_drawn(pane)
        pane.cursor = Cursor(58, 0)
        await pilot.pause()
        assert len(drawn) == 2


async def test_a_lens_without_results_says_why():
    pane = LensTable()
    async with framed(pane, (60, 10)):
        assert "r runs the prompt" in "".join(lines(pane))
        show(pane, make_result(lens_missing="The head has two halves."))
        assert "The head has two halves." in "".join(lines(pane))
        failed = make_result(metrics=("contributions",))
        failed.fail("logit_lens", "the memory ran out")
        show(pane, failed)
        assert "Logit lens is unavailable: the memory ran out" in "".join(lines(pane))


async def test_layers_that_have_not_run_are_dots_in_the_lens():
    pane = put(LensTable(), cursor=Cursor(1, 0))
    async with framed(pane, (60, 12)):
        show(pane, half_run(make_result(layers=6), 2))
        assert lines(pane)[line_with(pane, "  4 ")].split() == ["4", "·"]
        assert "·one" in lines(pane)[line_with(pane, "  0 ")]
        assert "←" not in "".join(lines(pane))


# The curves ---------------------------------------------------------------


@pytest.mark.parametrize("size", [(44, 10), (64, 12), (104, 22)])
async def test_curves_mark_their_effective_depths(size):
    result = unanswered(make_result(layers=12))
    summary = summary_of(result)
    pane = put(DepthCurves(), cursor=Cursor(0, 0))
    async with framed(pane, size):
        show(pane, result, summary)
        text = "\n".join(lines(pane))
        for name in ("KL", "overlap", "cosine"):
            assert name in text
        assert text.count("◆") == 3
        assert pane.border_subtitle == "◆ effective depth"
        for estimate in summary.depths:
            assert str(estimate.count) in text
        assert any("⠀" < char <= "⣿" for char in text)


@pytest.mark.parametrize("lowest", [-0.0345, -0.00345, -0.000345])
async def test_the_ends_of_a_scale_are_not_cut(lowest: float):
    result = make_result(layers=12)
    for cosine in vars(result.get(Contributions)).values():
        np.clip(cosine, lowest, 1, out=cosine)
    pane = put(DepthCurves(), cursor=Cursor(0, 0))
    for size in ((44, 10), (64, 12)):
        async with framed(pane, size):
            show(pane, result, summary_of(result))
            assert "…" not in "".join(lines(pane))


async def test_the_layer_cursor_is_a_line_through_every_curve():
    result = make_result(layers=12)
    pane = put(DepthCurves(), cursor=Cursor(6, 0))
    async with framed(pane, (64, 14)) as pilot:
        show(pane, result, summary_of(result))
        accent = pane.pane_styles.accent.color

        def accented() -> set[int]:
            return {
                x
                for y in range(pane.size.height - 1)
                for x, (char, style) in enumerate(cells(strips(pane)[y]))
                if char != " " and style.color == accent and x >= 16
            }

        before = accented()
        assert len(before) == 1
        pane.cursor = Cursor(9, 0)
        await pilot.pause()
        after = accented()
        assert len(after) == 1
        assert min(after) > max(before)
        assert "9" in lines(pane)[-1]


async def test_the_compared_curve_has_another_colour():
    a, b = make_result(layers=12), make_result(layers=12)
    b.get(LogitLens).kl[:] = 1
    pane = put(DepthCurves(), cursor=Cursor(0, 0))
    async with framed(pane, (64, 14)):
        show(pane, a, summary_of(a))
        alone = "".join(lines(pane))
        show(pane, a, summary_of(a), b, summary_of(b))
        both = strips(pane)
        assert "".join(strip.text for strip in both) != alone
        colours = {
            style.color
            for strip in both
            for char, style in cells(strip)
            if "⠀" < char <= "⣿" and style.bold
        }
        assert colours >= {pane.line_style(place).color for place in (0, 1)}
        change(pane, palette="amber")
        recoloured = {style.color for strip in strips(pane) for _, style in cells(strip)}
        ours = [Color.parse(line_colour(pane.pane_styles.dark, n, "amber")) for n in (0, 1)]
        assert recoloured >= set(ours)
        assert colours.isdisjoint(ours)


async def test_curves_of_a_half_run_stop_where_it_stopped():
    result = half_run(make_result(layers=12), 5)
    pane = put(DepthCurves(), cursor=Cursor(0, 0))
    async with framed(pane, (64, 14)):
        show(pane, result, summary_of(result))
        assert "◆" not in "".join(lines(pane))
        assert "nan" not in "".join(lines(pane))


async def test_nothing_left_to_average_is_said():
    result = make_result(tokens=1)
    pane = DepthCurves()
    async with framed(pane, (64, 14)):
        show(pane, result, summary_of(result, include_first_token=False))
        assert "No token is left to average." in "".join(lines(pane))


# Status and progress ------------------------------------------------------


def running(work: Work) -> Status:
    return Status(state="running", layer=30, layers=30, seconds=1.2, work=work)


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (Status(), "starting"),
        (Status(state="running", layer=12, layers=30, seconds=1.2), "layer 12 of 30 · 1 s"),
        (Status(state="running", seconds=65.2), "▸ waiting for the engine · 1 min 05 s"),
        (running(Work("ablation", 0, 0, 8.0)), "▸ ablation · 1 s, about 8 s left"),
        (running(Work("residual_erasure", 3, 37)), "residual erasure 3 of 37 · 1 s"),
        (running(Work("logit_lens", 310, 1000, 9.0)), "lens 31% · 1 s, about 9 s left"),
        (
            Status(state="sweeping", swept=(2, 48), sweep_seconds_left=40.0),
            "48 prompts, about 40 s left · S",
        ),
        (
            Status(state="halted", layer=3, layers=30),
            "‖ halted after layer 2 of 0-29: see lens row 3",
        ),
        (Status(state="gone"), "✕ engine gone"),
        (Status(model=tiny_model(3), state="loading", loads="a/b"), "◌ loading a/b"),
        (Status(state="ready", origin="cached", loaded="b"), "● ready · cached · b is loaded"),
        (Status(state="ready", origin="cached"), "● ready · cached"),
        (Status(state="ready", origin="computed", seconds=0.5), "● ready · computed"),
    ],
)
async def test_the_status_line_says_how_far_it_is(status, says):
    line = StatusLine()
    async with framed(line, (80, 3)):
        line.show(status)
        assert lines(line)[0].rstrip().endswith(says)


async def test_the_clock_of_what_runs_moves_and_its_estimate_falls(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(status_line, "monotonic", lambda: now[0])
    line = StatusLine()
    async with framed(line, (80, 3)) as pilot:
        work = Work("ablation", 1, 30, 40.0)
        line.show(replace(running(work), reported_at=100.0))
        assert "ablation 1 of 30 · 1 s, about 40 s left" in lines(line)[0]
        drawn = count_draws(line, monkeypatch)
        now[0] = 121.0
        await until(pilot, lambda: drawn)
        assert "ablation 1 of 30 · 22 s, about 20 s left" in lines(line)[0]
        now[0] = 150.0
        assert lines(line)[0].rstrip().endswith("ablation 1 of 30 · 51 s")
        line.show(Status(state="halted", layer=1, layers=30))
        assert not line._clock._active.is_set()


def count_draws(line: StatusLine, monkeypatch) -> list[int]:
    """Lines that are drawn from now on."""
    drawn, render_line = [], line.render_line
    monkeypatch.setattr(line, "render_line", lambda y: drawn.append(y) or render_line(y))
    return drawn


async def until(pilot, condition) -> None:
    for _ in range(400):
        if condition():
            return
        await pilot.pause(0.01)
    raise AssertionError("never came")


async def test_the_status_line_drops_what_does_not_fit():
    status = Status(
        model=tiny_model(30), task="arithmetic", number="3/12", state="ready", memory=538_000_000
    )
    wide, middle, narrow = StatusLine(), StatusLine(), StatusLine()
    async with framed(wide, (100, 3)):
        wide.show(status)
        assert "tiny · 30 layers · cpu float32 · 538 MB   arithmetic · 3/12" in lines(wide)[0]
    async with framed(middle, (60, 3)):
        middle.show(status)
        assert lines(middle)[0].startswith("tiny · 30 layers · cpu float32   3/12")
    async with framed(narrow, (30, 3)):
        narrow.show(status)
        assert lines(narrow)[0].startswith("tiny")
        assert "● ready" in lines(narrow)[0]
    wrapped = StatusLine()
    async with framed(wrapped, (38, 3)):
        wrapped.show(replace(status, is_wrapped=True))
        assert lines(wrapped)[0].startswith("tiny   chat template")


@pytest.mark.parametrize(("width", "task"), [(80, ""), (120, "Commonsense completion · ")])
async def test_a_long_name_gives_way_before_numbers_do(width: int, task: str):
    model = replace(
        tiny_model(28), name="DeepSeek-R1-Distill-Qwen-1.5B-with-a-name-that-no-line-has-room-for"
    )
    status = Status(model=model, task="Commonsense completion", number="3/17", state="ready")
    line = StatusLine()
    async with framed(line, (width, 3)):
        line.show(status)
        shown = lines(line)[0]
        assert f" · 28 layers · cpu float32   {task}3/17" in shown
        name = shown.split(" · ")[0].strip()
        head, _, tail = name.partition("…")
        assert model.name.startswith(head)
        assert model.name.endswith(tail)
        assert len(head) >= 5 <= len(tail)


async def test_progress_shows_stages_sizes_and_a_bar():
    pane = ProgressPane()
    async with framed(pane, (80, 12)):
        pane.start("SmolLM2-135M-Instruct")
        pane.advance(Progress("Downloading", 145_000_000, 145_000_000, "B"))
        pane.advance(Progress("Converting", 136, 272, "tensors"))
        text = "\n".join(lines(pane))
        assert "SmolLM2-135M-Instruct" in text
        assert "145 MB" in lines(pane)[line_with(pane, "✓ Downloading")]
        assert "136 of 272 tensors" in lines(pane)[line_with(pane, "Converting")]
        bar = lines(pane)[line_with(pane, "━")]
        assert "50%" in bar
        assert bar.count("━") == pytest.approx(bar.count("─"), abs=1)
        pane.advance(Progress("Loading", 0, 0, "B"))
        assert "✓ Converting" in "\n".join(lines(pane))


async def test_progress_has_the_time_left_of_weights_too(monkeypatch: pytest.MonkeyPatch):
    now = [100.0]
    monkeypatch.setattr("depthtui.tui.state.stage.monotonic", lambda: now[0])
    pane = ProgressPane()
    async with framed(pane, (80, 12)):
        pane.start("Opening demo")
        pane.advance(Progress("Loading weights", 0, 272, "weights"))
        assert "left" not in "\n".join(lines(pane))
        now[0] += 30
        pane.advance(Progress("Loading weights", 68, 272, "weights"))
        assert "90 s left" in "\n".join(lines(pane)).replace("1 min 30 s", "90 s")


class Titled(LinesPane):
    """Only a title, which changes as it is laid out."""

    says = "before"

    def lay_out(self) -> list[list[Piece]]:
        self.set_titles(self.says)
        return []


async def test_a_title_that_changes_in_the_middle_of_a_repaint_is_drawn_after_it() -> None:
    pane = Titled()
    async with framed(pane) as pilot:
        whole = pane.outer_size.region
        assert "before" in pane.render_lines(whole)[0].text
        pane.says = "after"
        pane.redraw()
        # A dialog over it draws it before its own turn comes.
        pane.render_lines(whole)
        await pilot.pause()
        assert "after" in pane.render_lines(whole)[0].text


# Hybrids --------------------------------------------------------------------

HYBRID = ("linear attention", "linear attention", "full attention", "linear attention")
MARKS = "L linear attention · F full attention"


def hybrid_result(layers: int = 4, metrics: tuple[str, ...] = ("ablation",), tokens: int = 5):
    types = (HYBRID * layers)[:layers]
    settings = RunSettings(metrics=("contributions", "logit_lens", *metrics))
    return full_result(
        Prompt(" ".join("a" * tokens)), tiny_model(layers, layer_types=types), settings
    )


async def test_rows_of_a_hybrid_have_the_marks_of_its_types():
    result = hybrid_result()
    for kind in (HeatmapPane, LensTable):
        pane = kind()
        async with framed(pane, (60, 16)):
            show(pane, result, summary_of(result))
            text = lines(pane)
            for label in ("0L", "1L", "2F", "3L"):
                assert sum(line.lstrip("▸ ").startswith(label) for line in text) == 1, kind
            assert str(pane.border_subtitle).endswith(MARKS)


async def test_rows_of_layers_that_are_alike_have_numbers_alone():
    result = make_result()
    pane = LensTable()
    async with framed(pane, (60, 16)):
        show(pane, result, summary_of(result))
        assert not pane.border_subtitle
        assert any(line.lstrip("▸ ").startswith("1 ") for line in lines(pane))


async def test_marks_stand_beneath_the_bars_of_a_hybrid():
    result, pane = hybrid_result(12), LayerBars()
    async with framed(pane, (60, 12)):
        show(pane, result, summary_of(result))
        assert lines(pane)[-2].rstrip() == "   ".join("LLFL" * 3)
        change(pane, result=hybrid_result(100))
        assert set(lines(pane)[-2]) & set("LF") == set(), "several layers share a bar"
