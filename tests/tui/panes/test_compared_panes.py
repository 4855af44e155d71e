"""The panes of a comparison: one scale, one axis, one table."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from depthtui import ramps
from depthtui.data.lens import LogitLens
from depthtui.data.run import RunResult
from depthtui.metrics.contributions import Contributions
from depthtui.metrics.kept import METRIC as KEPT
from depthtui.metrics.registry import MEASURE_BY_NAME
from depthtui.metrics.skip_effects import SkipEffects
from depthtui.tui.panes.curves import DepthCurves
from depthtui.tui.panes.depth_pair import DepthPair
from depthtui.tui.panes.difference_heatmap import DifferenceHeatmap
from depthtui.tui.panes.kept_pair import KeptPair
from depthtui.tui.panes.pane import Cursor
from depthtui.tui.state.alignment import align
from tests.builders.metrics import smooth_metric
from tests.builders.results import make_result, unanswered
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


def paired(a, b, **attributes) -> DifferenceHeatmap:  # type: ignore[no-untyped-def]
    found = align(a.tokens, b.tokens)
    pane = DifferenceHeatmap(found.a, found.b)
    measure = MEASURE_BY_NAME["layer_norm_ratio"]
    change(pane, ramp="truecolor", measure=measure, can_compute=False, **attributes)
    return pane


def show_both(pane, a, b) -> None:  # type: ignore[no-untyped-def]
    show(pane, a, summary_of(a), b, summary_of(b))


async def test_two_runs_are_subtracted_on_a_symmetrical_scale():
    a, b = make_result(layers=6, tokens=5), make_result(layers=6, tokens=5)
    a.get(Contributions).layer_norm_ratio[:3] += 0.5
    a.get(Contributions).layer_norm_ratio[4:] -= 0.25
    pane = paired(a, b, cursor=Cursor(0, 0))
    async with framed(pane, (80, 12)):
        show_both(pane, a, b)
        assert lines(pane)[-1].startswith("-0.500 ")
        ramp = ramps.diverging(True)
        colours = {
            layer: tuple(cell(pane, 20, line_with(pane, f" {layer}"))[1].bgcolor.get_truecolor())
            for layer in (2, 3, 5)
        }
        assert colours == {2: ramp[-1], 3: ramp[12], 5: ramp[6]}


@pytest.mark.parametrize("layers", [(12, 6), (6, 12)])
@pytest.mark.parametrize(("measure", "last"), [("layer_norm_ratio", "layer 11"), ("kl", "output")])
async def test_other_depths_are_subtracted_by_relative_depth(layers, measure: str, last: str):
    a, b = (make_result(layers=n, tokens=5) for n in layers)
    pane = paired(a, b, cursor=Cursor(12, 1))
    change(pane, measure=MEASURE_BY_NAME[measure])
    async with framed(pane, (90, 30)):
        show_both(pane, a, b)
        assert f"{last}, token 1: " in lines(pane)[-1]
        ours, theirs = (pane.measure.values(run) for run in (a, b))
        assert pane._values.shape == max(ours.shape, theirs.shape)
        for row in (0, 2, 6, 8):
            expected = ours[row * layers[0] // 12] - theirs[row * layers[1] // 12]
            np.testing.assert_allclose(pane._values[row], expected)


async def test_maps_of_layers_are_matched_both_ways():
    runs = [make_result(layers=n, tokens=5) for n in (4, 2)]
    for run, n in zip(runs, (4, 2), strict=True):
        effects = np.triu(np.full((n, n), float(n), np.float32), 1)
        effects = SkipEffects("layer", (3,), effects, effects, effects[0], 0.0, 0.0)
        run.put("skip_effects", effects)
    pane = paired(*runs, cursor=Cursor(0, 0), mode="skips")
    change(pane, measure=MEASURE_BY_NAME["skip_effects"])
    async with framed(pane, (90, 30)):
        show_both(pane, *runs)
        lines(pane)
        assert pane._values.shape == (4, 4)
        assert pane._values[0, 3] == 4 - 2


async def test_columns_are_aligned_and_a_missing_token_is_unknown():
    a = make_result(layers=6, texts=["<s>", "one", " two"])
    b = make_result(layers=6, texts=["one", " two"])
    a.get(Contributions).layer_norm_ratio[:, 1:] = b.get(Contributions).layer_norm_ratio + 0.25
    pane = paired(a, b, cursor=Cursor(2, 1))
    async with framed(pane, (80, 12)):
        show_both(pane, a, b)
        assert "tokens 1 and 0: 0.250" in lines(pane)[-1]
        pane.cursor = Cursor(2, 0)
        assert "in A only" in lines(pane)[-1]
        assert "·" in lines(pane)[line_with(pane, "▸2")]
        assert lines(pane)[-2].split() == ["<s>", "one", "·two"]


def step_at(result, layer: int) -> None:  # type: ignore[no-untyped-def]
    """Let the KL rule give this layer."""
    result.get(LogitLens).kl[:] = 1
    result.get(LogitLens).kl[layer:] = 0


@pytest.mark.parametrize("width", [40, 62])
async def test_the_table_has_both_depths_and_their_difference(width: int):
    a, b = make_result(layers=30), make_result(layers=30)
    step_at(a, 20)
    step_at(b, 17)
    b.get(LogitLens).overlap[:-1] = 0
    pane = DepthPair()
    async with framed(pane, (width, 14)):
        show_both(pane, a, b)
        rows = {line.split()[0]: line.split()[1:] for line in lines(pane) if line.strip()}
        assert rows["rule"] == ["A", "B", "A-B", "A", "B", "A-B"]
        assert rows["KL"] == ["21", "18", "+3", "0.70", "0.60", "+0.10"]
        assert rows["overlap"][1:3] == ["–", "–"]
        assert "B: overlap: the overlap never exceeds 0.3" in " ".join("".join(lines(pane)).split())
        show_both(pane, a, a)
        rows = {line.split()[0]: line.split()[1:] for line in lines(pane) if line.strip()}
        assert rows["KL"] == ["21", "21", "+0", "0.70", "0.70", "+0.00"]


async def test_the_table_has_the_published_values():
    a, b = make_result(layers=28), make_result(layers=28)
    b.model = replace(b.model, name="Qwen2.5-1.5B-Instruct")
    pane = DepthPair()
    async with framed(pane, (60, 16)):
        show_both(pane, a, b)
        text = " ".join(" ".join(lines(pane)).split())
        assert "layers used on HellaSwag / GSM8K / AIME24" in text
        assert "KL – 22 / 23 / 24" in text


async def test_the_curves_have_a_legend_and_do_not_touch():
    a, b = (unanswered(make_result(layers=12)) for _ in range(2))
    pane = DepthCurves()
    change(pane, names=("A base", "B [b]distilled"))
    async with framed(pane, (40, 14)):
        show_both(pane, a, b)
        drawn = lines(pane)
        assert drawn[0].split("  ")[0] == "──◆ A base"
        assert "┈┈◇ B [b]distilled"[:12] in drawn[0]
        for name in ("overlap", "cosine"):
            assert not drawn[line_with(pane, name) - 1].strip(" │")


async def test_another_depth_is_drawn_over_the_relative_one():
    a, b = make_result(layers=12), make_result(layers=6)
    for item, layer in ((a, 9), (b, 4)):
        step_at(item, layer)
    b.get(LogitLens).kl[-1] = 1
    pane = DepthCurves()
    change(pane, names=("A deep", "B shallow"))
    async with framed(pane, (80, 24)):
        show_both(pane, a, b)
        assert lines(pane)[-1].startswith("depth / L")
        assert "1.0" in lines(pane)[-1]
        second = pane.line_style(1).color
        assert second != pane.line_style(0).color
        marks = {
            (char, style.color == second): x
            for strip in strips(pane)[1:8]
            for x, (char, style) in enumerate(cells(strip))
            if char in "◆◇"
        }
        dotted = [
            x
            for strip in strips(pane)[1:8]
            for x, (char, style) in enumerate(cells(strip))
            if "⠀" < char <= "⣿" and style.color == second
        ]
        # The shallower one goes as far as the deeper one.
        assert max(dotted) == pane.size.width - 1
        width = pane.size.width - 13
        # 9 of 12 stands right of 4 of 6.
        assert marks["◆", False] - 13 == round(9 / 12 * (2 * width - 1)) // 2
        assert marks["◇", True] - 13 == round(4 / 6 * (2 * width - 1)) // 2


@pytest.mark.parametrize("size", [(60, 8), (60, 14), (50, 24)], ids=str)
async def test_the_layers_beside_marks_are_whole_numbers(size):
    """Labels of runs whose depths lie close together write over neither number nor mark."""
    pane = DepthCurves()
    change(pane, names=("A deep", "B shallow"))
    a, b = make_result(layers=30), make_result(layers=24)
    step_at(a, 20)
    for result in (a, b):
        result.drop(["contributions"])
        result.get(LogitLens).overlap[:] = 0
    shown = 0
    async with framed(pane, size):
        for layer in (*range(10, 16), *range(17, 23)):
            step_at(b, layer)
            show_both(pane, a, b)
            plots = "\n".join(lines(pane)[1:-1])
            assert (plots.count("◆"), plots.count("◇")) == (1, 1), plots
            found = re.findall(r"[AB]\d+", plots)
            assert set(found) <= {"A21", f"B{layer + 1}"}, plots
            shown += len(found)
    assert shown == 2 * 12


# What is kept -------------------------------------------------------------------


def with_kept(layers: int) -> RunResult:
    result = make_result(layers=layers, tokens=40)
    result.put("kept", smooth_metric("kept", result))
    return result


async def test_both_runs_have_their_count_and_a_curve_over_their_share_of_layers() -> None:
    a, b = with_kept(30), with_kept(12)
    pane = KeptPair()
    async with framed(pane, (80, 16)):
        show_both(pane, a, b)
        shown = lines(pane)
        for line, letter, result in zip(shown, "AB", (a, b), strict=False):
            reading = summary_of(result)
            count = int(np.ceil(reading.get(KEPT).curve.layers()))
            assert f"{letter} {count} of {result.model.n_layers} layers keep nine tenths" in line
        styles = {pane.line_style(place).color for place in range(2)}
        drawn = {
            style.color
            for strip in strips(pane)[2:-1]
            for char, style in cells(strip)
            if "\u2800" < char <= "\u28ff"
        }
        assert styles <= drawn
        assert shown[-1].split() == ["100%", "75%", "50%", "25%", "0%", "of", "layers"]


async def test_a_run_without_what_is_kept_is_named() -> None:
    a, b = with_kept(30), make_result(layers=30, tokens=40)
    pane = KeptPair()
    async with framed(pane, (80, 16)):
        show_both(pane, a, b)
        assert "B not measured" in lines(pane)[1]
        show_both(pane, b, b)
        assert pane.why_empty() == ("Not measured in A and B.", "i computes knowledge kept.")
