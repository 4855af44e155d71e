"""The page of evidence, alone: what it draws of planted measures."""

from __future__ import annotations

from dataclasses import replace

import pytest
from textual.app import App

from depthtui.data.protocol import Pace
from depthtui.data.run import RunResult
from depthtui.data.sentence import Sentence
from depthtui.data.verdict import Evidence, Verdict
from depthtui.depth.verdict import verdict_of
from depthtui.depth.verdict_words import Facts
from depthtui.metrics.registry import METRIC_BY_NAME
from depthtui.report.evidence import KIND_WORDS
from depthtui.report.phrases import rule_title
from depthtui.tui.draw.styles import PaneStyles, ruler, styles_of
from depthtui.tui.draw.tracks import axis, column_of, track
from depthtui.tui.panes.evidence_pane import EvidencePane
from depthtui.tui.state.next_measures import next_measures
from tests.builders.results import make_result
from tests.tui.panes.drawing import (
    change,
    framed,
    line_with,
    lines,
    show,
    strips,
    summary_of,
)
from tests.tui.panes.test_panes import hybrid_result

SAYS = "until the lens reads the output's tokens"
FIRM = Evidence("readable", "overlap", "overlap", 6, 5, 7, meaning=SAYS)
FRAGILE = Evidence("readable", "kl", "KL", 3, 1, 9, False, "it hangs on a thread")
HERE = replace(FIRM, firm=False, holds_here=True, reason="one prompt alone was read")
NONE = Evidence("geometric", "cosine", "cosine", None, firm=False, reason="it never turns")


def planted(*evidence: Evidence, missing: tuple[str, ...] = ()) -> Verdict:
    found = verdict_of(Facts(evidence=evidence, n_layers=10, missing_metrics=missing))
    assert found is not None
    return found


async def drawn(
    verdict: Verdict,
    size: tuple[int, int],
    result: RunResult | None = None,
    pace: Pace | None = None,
) -> list[str]:
    """The page's lines in a frame of this size."""
    result = result or make_result(layers=10, tokens=6)
    pane = EvidencePane()
    change(pane, pace=pace or Pace())
    async with framed(pane, size):
        show(pane, result, summary_of(result), verdict=verdict)
        return lines(pane)


@pytest.fixture
def styles() -> PaneStyles:
    app: App[None] = App()
    from textual.color import Color

    return styles_of(app, Color(0, 0, 0))


@pytest.mark.parametrize("width", [1, 2, 7, 11, 21, 40])
@pytest.mark.parametrize("measure", [FIRM, HERE, FRAGILE, NONE, replace(FIRM, low=0, high=10)])
def test_a_track_is_as_wide_as_its_axis_with_the_mark_at_the_count(
    measure: Evidence, width: int, styles: PaneStyles
) -> None:
    text = "".join(piece for piece, _ in track(measure, 10, width, styles))
    assert len(text) == width == len(axis(10, width))
    if measure.count is None:
        assert set(text) == {"─"}
        return
    mark, band = "◆━" if measure.firm else "◇═" if measure.holds_here else "◇╍"
    assert text[column_of(measure.count, 10, width)] == mark
    low, high = (column_of(count, 10, width) for count in (measure.low, measure.high))
    assert set(text[low : high + 1]) <= {mark, band}
    assert set(text[:low] + text[high + 1 :]) <= {"─"}


def test_at_a_cell_a_layer_the_cells_are_the_counts(styles: PaneStyles) -> None:
    text = "".join(piece for piece, _ in track(FRAGILE, 10, 11, styles))
    assert text == "─╍╍◇╍╍╍╍╍╍─"
    assert axis(10, 31).split() == ["0", "2", "4", "6", "8", "10"]
    assert axis(10, 31).index("6") == column_of(6, 10, 31)


def test_layers_that_may_lie_anywhere_are_drawn_where_they_lie(styles: PaneStyles) -> None:
    some = Evidence("causal", "ablation", "ablation", 4, 4, 4, layers=(0, 1, 5, 9))

    def drawn_in(width: int, measure: Evidence = some) -> str:
        return "".join(piece for piece, _ in track(measure, 10, width, styles))

    # A depth of 6, all layers up to layer 5, ends where the next layer would begin.
    # The last layer fills the cell of the axis's end.
    assert drawn_in(21) == "■■■■──────■■──────■■■"
    assert drawn_in(21, FIRM).index("◆") == 12
    # Of two layers that share a cell, one alone is told from both.
    assert drawn_in(6) == "■─◧─◧■"
    assert drawn_in(6, replace(some, firm=False)) == "□─◫─◫□"
    assert drawn_in(21, replace(some, firm=False)).startswith("□□□□──")
    assert drawn_in(6, replace(some, firm=False, holds_here=True)) == "□─◫─◫□"
    assert drawn_in(21, replace(some, count=0, layers=())) == "─" * 21


async def test_each_measure_has_its_line_and_what_does_not_hold_needs_no_colour() -> None:
    shown = await drawn(planted(FRAGILE, FIRM, NONE), (60, 18))
    text = "\n".join(shown)
    fragile, firm = (next(line for line in shown if line.startswith(n)) for n in ("KL", "overlap"))
    assert " 3 of 10  ! fragile" in fragile
    assert "◇" in fragile
    assert "╍" in fragile
    assert " 6 of 10  firm" in firm
    assert "◆" in firm
    assert "━" in firm
    # Marks stand over each other by their counts.
    assert fragile.index("◇") < firm.index("◆")
    assert any(line.startswith("cosine") and "it never turns" in line for line in shown)
    for kind in ("readable", "geometric"):
        assert KIND_WORDS[kind] in text


@pytest.mark.parametrize(("size", "expected"), [((90, 30), True), ((50, 30), False)])
async def test_a_rule_has_its_ratio_and_crossing_where_there_is_room(
    size: tuple[int, int], expected: bool
) -> None:
    result, pane = make_result(layers=12, tokens=20), EvidencePane()
    reading = summary_of(result, kl_threshold=0.4)
    assert reading is not None
    async with framed(pane, size):
        show(pane, result, reading, verdict=reading.verdict)
        assert ("ratio  crossing" in pane.text) == expected
        for estimate in reading.depths:
            if estimate.crossing is not None:
                row = lines(pane)[line_with(pane, rule_title(estimate.rule))]
                words = f"{estimate.ratio:.2f}{estimate.crossing:10.1f}"
                assert (words in row) == expected


@pytest.mark.parametrize("height", [60, 20])
async def test_what_is_known_of_the_model_stands_beneath_where_there_is_room(height: int) -> None:
    hybrid, pane = hybrid_result(tokens=20), EvidencePane()
    named = {}
    for name in ("nobody", "Qwen/Qwen2.5-1.5B-Instruct", "SmolLM2-135M"):
        layers = 30 if name.startswith("Smol") else 28
        named[name] = make_result(layers=layers, tokens=20)
        named[name].model = replace(named[name].model, name=name)

    async with framed(pane, (90, height)):

        def text(result: RunResult) -> str:
            reading = summary_of(result)
            assert reading is not None
            show(pane, result, reading, verdict=reading.verdict)
            return " ".join(pane.text.split())

        assert ("By type of layer" in text(hybrid)) == (height == 60)
        assert "Paper:" not in text(named["nobody"])
        paper = text(named["Qwen/Qwen2.5-1.5B-Instruct"])
        assert ("cosine 17 / 21 / 20" in paper) == (height == 60)
        assert ("Published for SmolLM2-135M" in text(named["SmolLM2-135M"])) == (height == 60)


async def test_what_holds_here_alone_says_so() -> None:
    shown = await drawn(planted(FRAGILE, HERE), (60, 18))
    here = next(line for line in shown if line.startswith("overlap"))
    assert " 6 of 10  holds here" in here
    assert "◇" in here
    assert "═" in here
    # It is true of every count of one prompt: it stands beneath none.
    assert "one prompt alone was read" not in "\n".join(shown)


async def test_a_reason_stands_beneath_its_measure() -> None:
    other = Evidence("causal", "ablation", "ablation", 4, 2, 8, False, "one layer decides")
    shown = await drawn(planted(FRAGILE, FIRM, other), (100, 30))
    text = "\n".join(shown)
    assert text.count("it hangs on a thread") == 1
    assert (
        "one layer decides"
        in shown[next(y for y, line in enumerate(shown) if "4 of 10" in line) + 1]
    )


async def test_where_it_is_low_the_measures_stay_the_surest_of_a_kind_first() -> None:
    shown = await drawn(planted(FRAGILE, FIRM, NONE), (60, 8))
    assert len(shown) == 6
    places = [next(y for y, line in enumerate(shown) if line.startswith(name)) for name in "oK"]
    assert places == sorted(places)
    for name in ("KL", "overlap", "cosine"):
        assert any(line.startswith(name) for line in shown)


async def test_curves_lie_over_the_rules_where_there_is_room() -> None:
    def has_braille(shown: list[str]) -> bool:
        return any("\u2800" < char <= "\u28ff" for line in shown for char in line)

    verdict = planted(FRAGILE, FIRM)
    assert has_braille(await drawn(verdict, (120, 40)))
    assert not has_braille(await drawn(verdict, (60, 8)))
    tall = await drawn(verdict, (120, 40))
    here = next(line for line in tall if line.startswith("overlap")).index("◆")
    above = tall[next(y for y, line in enumerate(tall) if line.startswith("overlap")) - 1]
    assert above.startswith("> 0.3")
    assert above[here] == "│" or "\u2800" < above[here] <= "\u28ff"


async def test_what_is_missing_says_its_cost_and_the_key() -> None:
    result = make_result(layers=10, tokens=60)
    missing = (*next_measures(result), "residual_erasure")
    pace = Pace(0.005, dict.fromkeys(missing, 0.005), prepared=("kept",))
    shown = await drawn(planted(FIRM, missing=missing), (100, 24), result, pace)
    text = "\n".join(shown)
    quick = [METRIC_BY_NAME[name] for name in next_measures(result)]
    total = sum(0.005 * 60 * metric.work(result) for metric in quick)
    assert f"· i computes the quick ones, about {float(f'{total:.0e}'):.0f} s" in text
    assert "then i again" in next(line for line in shown if line.startswith("residual erasure"))


async def test_the_time_is_that_of_the_models_order_too() -> None:
    result = make_result(layers=10, tokens=60)
    missing = next_measures(result)

    async def line_of_kept(pace: Pace) -> str:
        shown = await drawn(planted(FIRM, missing=missing), (100, 24), result, pace)
        return next(line.rstrip() for line in shown if line.startswith("knowledge kept"))

    prepared = Pace(forward=0.01, prepared=("kept",))
    assert (await line_of_kept(prepared)).endswith("about 50 s")
    assert (await line_of_kept(Pace(forward=0.005))).endswith("about 50 s")
    assert (await line_of_kept(Pace(forward=0.03))).endswith("about 5 min")


async def test_what_is_being_computed_says_so() -> None:
    result = make_result(layers=10, tokens=60)
    result.settings = replace(result.settings, metrics=(*result.settings.metrics, "ablation"))
    shown = await drawn(planted(FIRM, missing=("similarity", "ablation")), (100, 24), result)
    row = next(line for line in shown if line.startswith("ablation"))
    assert "computing …" in row
    result.unavailable["ablation"] = "it ran out of memory"
    shown = await drawn(planted(FIRM, missing=("similarity", "ablation")), (100, 24), result)
    row = next(line for line in shown if line.startswith("ablation"))
    assert "unavailable: it ran out of memory" in row


async def test_what_was_stopped_half_way_is_not_being_computed() -> None:
    result = make_result(layers=10, tokens=60)
    result.settings = replace(result.settings, metrics=(*result.settings.metrics, "ablation"))
    pane = EvidencePane()
    async with framed(pane, (100, 24)):
        show(pane, result, summary_of(result))
        for is_live in (True, False):
            missing = ("similarity", "ablation")
            change(pane, verdict=planted(FIRM, missing=missing), is_live=is_live)
            row = next(line for line in lines(pane) if line.startswith("ablation"))
            assert ("computing …" in row) == is_live


async def test_only_fragile_is_a_warning() -> None:
    pane = EvidencePane()
    result = make_result(layers=10, tokens=6)
    async with framed(pane, (140, 18)):
        show(pane, result, summary_of(result), verdict=planted(FRAGILE, FIRM))
        warning = pane.pane_styles.warning.color
        fragile = line_with(pane, "! fragile")
        assert any(style and style.color == warning for _, style, _ in strips(pane)[fragile])
        firm = line_with(pane, "  firm")
        assert all(not style or style.color != warning for _, style, _ in strips(pane)[firm])


def test_the_quick_ones_come_first_and_then_all() -> None:
    result = make_result(layers=10, tokens=60)
    quick = next_measures(result)
    assert {"similarity", "context_depth", "ablation", "order"} <= set(quick)
    assert "residual_erasure" not in quick
    for name in quick:
        result.unavailable[name] = "no"
    assert set(next_measures(result)) > set(quick)
    assert "residual_erasure" in next_measures(result)


async def test_rows_that_are_cut_are_counted() -> None:
    several = [replace(FIRM, title=f"measure {place}") for place in range(9)]
    everything = await drawn(planted(*several), (100, 40))
    whole = [line for line in everything if line.strip()]
    shown = await drawn(planted(*several), (50, 10))
    *rows, last = shown
    hidden = int(last.split()[1])
    assert last.strip() == f"… {hidden} more lines, z shows all"
    seen = {line.split("─")[0].strip() for line in rows if line.startswith("measure")}
    assert 0 < len(seen) < 9
    # The rows, and the axis beneath them.
    assert hidden == 9 - len(seen) + 1, whole


async def test_marks_of_an_axis_never_touch(styles: PaneStyles) -> None:
    marks = [(place, str(10 * place)) for place in range(0, 30, 2)]
    for width in range(3, 30):
        for at in range(width):
            text = "".join(piece for piece, _ in ruler(marks, (at, "▴123"), width, styles))
            numbers = text.replace("▴", " ").split()
            assert set(numbers) <= {"123", *(number for _, number in marks)}, text


async def test_without_evidence_the_page_gives_the_reason() -> None:
    words = "Too short: no verdict on 3 tokens"
    pane, result = EvidencePane(), make_result(layers=10, tokens=4)
    async with framed(pane, (60, 18)):
        verdict = Verdict(Sentence(words), (), 10, warnings=(words,))
        show(pane, result, summary_of(result), verdict=verdict)
        assert pane.why_empty() == (words, "")
