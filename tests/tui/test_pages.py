"""The pages of the depth pane, their dials, and what is skipped: by their keys."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from depthtui.data.lens import LogitLens
from depthtui.data.protocol import StartRun
from depthtui.data.run import Prompt
from depthtui.data.run_settings import SummarySettings
from depthtui.metrics.ablation import Ablation
from depthtui.metrics.early_exit import CONFIDENCE, early_exit
from depthtui.metrics.registry import MEASURE_BY_NAME
from depthtui.metrics.residual_erasure import ResidualErasure
from depthtui.metrics.settling import Settling
from depthtui.metrics.similarity import Similarity
from depthtui.metrics.skip_effects import SkipEffects
from depthtui.settings import Settings, load_settings
from depthtui.tui.draw.styles import number
from depthtui.tui.panes.curves import DepthCurves
from depthtui.tui.panes.evidence_pane import EvidencePane
from depthtui.tui.panes.exit_pane import ExitPane
from depthtui.tui.panes.left_out_pane import LeftOutPane
from depthtui.tui.panes.status_line import StatusLine
from depthtui.tui.panes.token_depths_pane import TokenDepthsPane
from depthtui.tui.panes.verdict_pane import VerdictPane
from depthtui.tui.screens.dialogs.explanation_screen import ExplanationScreen
from depthtui.tui.screens.dialogs.measured_form import MeasuredForm
from depthtui.tui.screens.main_layout import PAGES
from depthtui.tui.screens.main_screen import MainScreen
from depthtui.tui.screens.what_if_screen import WhatIfScreen
from depthtui.tui.state.next_measures import next_measures
from tests.builders.metrics import usefulness
from tests.builders.readings import verdict
from tests.tui.app_helpers import SIZES, Explored, explore
from tests.tui.panes.drawing import lines


async def turn_to(it: Explored, pane: str) -> None:
    for _ in it.main.PAGES:
        await it.press("d")
        if it.main.seen_page is not None and it.main.seen_page.id == pane:
            return
    raise AssertionError(f"d never turned to {pane}")


@pytest.mark.parametrize("size", [(100, 30), (200, 60)])
async def test_a_click_on_a_page_s_name_brings_it_up(it: Explored, size: tuple[int, int]) -> None:
    await it.resize(*size)
    up = it.main.query_one(DepthCurves)
    await it.until(lambda: "Curves Evidence" in it.screen_text().replace("  ", " "))
    line = it.screen_text().splitlines()[up.region.y]
    column = line.index("Evidence")
    await it.pilot.click(offset=(column, up.region.y))
    await it.until(lambda: it.main.seen_page is it.main.query_one(EvidencePane))


@pytest.mark.parametrize("size", SIZES)
async def test_d_turns_the_pages_and_one_is_seen_at_a_time(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    async with explore(tmp_path, size=size) as it:
        narrow, count = size[0] == 80, len(PAGES)
        # Where the verdict covers the pages, the first key brings up the one that is there.
        for index in range(0 if narrow else 1, count + 1):
            await it.press("d")
            place = PAGES[index % count]
            assert it.main.active_pane.id == place.id
            up = [page for page in it.main.pages if page.region.area]
            assert [page.id for page in up] == [place.id]
            shown = "Curves Evidence" if index % count < 2 else place.name
            assert narrow or shown in it.screen_text(), "the page by its name"
            assert narrow or f"[reverse]{place.name}[/" in str(up[0].border_title)


async def test_tab_passes_by_the_pages_that_are_not_up_and_zoom_keeps_turning(it: Explored) -> None:
    assert [pane.id for pane in it.main.panes] == [
        "heatmap",
        "lens",
        "curves",
        "verdict",
        "prompt",
    ]
    await turn_to(it, "exits")
    assert "exits" in [pane.id for pane in it.main.panes]
    await it.press("z", "d")
    assert it.main.maximized is it.main.query_one(DepthCurves)


async def test_a_count_is_shown_until_its_key_comes(it: Explored) -> None:
    status = it.main.query_one(StatusLine)
    assert "12 …" not in lines(status)[0]
    await it.press("1", "2")
    assert "12 …" in lines(status)[0]
    await it.press("k")
    assert "12 …" not in lines(status)[0]
    await it.press("7", "v", "escape")
    assert "7 …" not in lines(status)[0]


@pytest.mark.parametrize("size", SIZES[:2])
async def test_keys_that_come_faster_than_the_screen_all_count(
    it: Explored, size: tuple[int, int]
) -> None:
    await it.resize(*size)
    it.main.action_go_to("evidence")
    for _ in range(3):
        it.main.turn_page()
    pane = it.main.query_one(TokenDepthsPane)
    assert it.main.seen_page is pane
    await it.until(lambda: it.main.active_pane is pane)


async def test_the_thresholds_are_turned_and_every_count_follows_at_once(it: Explored) -> None:
    await turn_to(it, "evidence")
    pane = it.main.query_one(EvidencePane)
    result = it.session.current.result

    def counts(kl: float, overlap: float) -> list[str]:
        found = verdict([result], SummarySettings(kl, overlap))
        return sorted(f" {one.count} of 30" for one in found.evidence if one.count is not None)

    async def says(kl: float, overlap: float) -> None:
        rows = (line for line in lines(pane) if " of 30" in line)
        assert sorted(row[row.index(" of 30") - 3 :][:9] for row in rows) == counts(kl, overlap)
        assert f"KL < {kl:g} max" in str(pane.border_subtitle)

    assert counts(0.5, 0.3) != counts(0.65, 0.3) != counts(0.65, 0.2)
    await says(0.5, 0.3)
    await it.press("3", "plus")
    await says(0.65, 0.3)
    await it.read(overlap_threshold=0.2)
    await says(0.65, 0.2)
    for other in (DepthCurves, TokenDepthsPane):
        depths = it.main.query_one(other).reading.depths
        assert [depth.threshold for depth in depths] == [None, 0.65, 0.2, None]
    assert "reading, changed" in str(pane.border_subtitle)
    await it.read(kl_threshold=0.5, overlap_threshold=0.3)
    await says(0.5, 0.3)
    assert "changed" not in str(pane.border_subtitle)
    # It ends before every value would do, and is not kept for the next session.
    await it.press("9", "9", "plus")
    assert pane.reading.settings.kl_threshold == 0.95
    assert load_settings(it.folder / "settings.toml").kl_threshold == 0.5


async def test_a_threshold_between_two_steps_goes_to_the_next_one_first(tmp_path: Path) -> None:
    settings = Settings(cache_dir=tmp_path, kl_threshold=0.33)
    async with explore(tmp_path, settings=settings) as it:
        await turn_to(it, "evidence")
        for key, threshold in (
            ("plus", 0.35),
            ("minus", 0.3),
            ("minus", 0.25),
        ):
            await it.press(key)
            assert it.app.explorer.settings.kl_threshold == threshold


async def test_the_verdict_names_its_key_while_a_run_is_halted(it: Explored) -> None:
    pane = it.main.query_one(VerdictPane)
    await it.press("s", until=lambda: it.status.state == "halted")
    assert "i computes" in "\n".join(lines(pane))
    await it.press("r", until=lambda: it.status.state == "ready")
    await it.until(lambda: "i computes" in "\n".join(lines(pane)))


async def test_the_verdict_computes_the_quick_metrics_together_and_then_the_others(
    it: Explored,
) -> None:
    pane, run = it.main.query_one(EvidencePane), it.session.current
    quick = next_measures(run.result)
    assert "ablation" in quick
    assert "residual_erasure" not in quick
    it.main.action_go_to("evidence")
    await it.until(lambda: "i computes" in "\n".join(lines(pane)))
    await it.press("i", until=lambda: set(quick) <= set(run.result.measured))
    await it.ready()
    sent = it.engine.sent(StartRun)
    assert len(sent) == 2
    assert sent[-1].settings.metrics[-len(quick) :] == quick
    await it.until(lambda: "ablation" in "\n".join(lines(pane)))
    await it.press("i", until=lambda: run.result.get(ResidualErasure) is not None)
    await it.ready()
    await it.press("i")
    assert it.toasts()[-1] == "The verdict lacks nothing."
    await it.press("I", until=ExplanationScreen)
    assert "The verdict" in it.screen_text()


async def test_the_verdict_says_what_is_being_computed(it: Explored) -> None:
    pane = it.main.query_one(EvidencePane)
    it.engine.manual = True
    it.main.action_go_to("evidence")
    await it.press("z", "i", until=lambda: "computing …" in "\n".join(lines(pane)))
    assert any(line.startswith("ablation") for line in lines(pane))


async def test_the_dial_of_early_exit_changes_what_is_gained(it: Explored) -> None:
    await turn_to(it, "answers")
    await it.press("z", "plus", "z")
    assert "This pane has no dial" in it.toasts()[-1]
    await turn_to(it, "exits")
    pane = it.main.query_one(ExitPane)
    assert pane.confidence == CONFIDENCE
    await it.press("9", "minus")
    assert pane.confidence == 0.45
    lens = it.session.current.result.get(LogitLens)
    for first in (0, 1):
        await it.read(include_first_token=not first)
        found = early_exit(lens, 0.45)
        agreement = 100 * float(np.mean(found.agrees[first:]))
        saved = float(np.mean(30 - found.depths[first:]))
        await it.until(lambda a=agreement: f"agreement        {number(a)}%" in it.screen_text())
        assert f"{number(saved)} of 30 layers" in it.screen_text()
    await it.until(lambda: "token 0 left out" in it.screen_text())


async def test_settling_is_computed_by_its_page(it: Explored) -> None:
    await it.resize(80, 24)
    await turn_to(it, "tokens")
    assert "prediction depth" in it.screen_text()
    await it.press("plus", until="i computes it")
    await it.press("i", until="late")
    assert it.session.current.result.get(Settling) is not None
    assert "i computes it" not in it.screen_text()


async def test_x_on_the_page_left_out_begins_without_the_layers_of_its_dial(it: Explored) -> None:
    await turn_to(it, "left-out")
    pane = it.main.query_one(LeftOutPane)
    await it.press("i")
    await it.until(lambda: "▸" in pane.text, "the table")
    await it.ready()
    await it.press("2", "minus", "x", until=WhatIfScreen)
    off = it.app.screen.what_if.stack.skipped_layers
    left_out = pane.reading.left_out
    assert off == set(left_out.order[: len(off)])
    assert len(off) == left_out.n_pieces - pane.kept_count


async def measured(it: Explored, **values: object) -> None:
    """Fill in the form of what is measured, and take it."""
    await it.press("L", until=MeasuredForm)
    form = it.app.screen
    assert isinstance(form, MeasuredForm)
    for name, value in values.items():
        form.field(name).value = value
    await it.press("enter")


async def choose_skip(it: Explored, part: str, everywhere: bool) -> None:
    await measured(it, skip_part=part, skip_everywhere=everywhere)
    await it.until(lambda: it.app.screen is it.main)


async def test_what_is_skipped_is_chosen_computed_and_told(it: Explored) -> None:
    run = it.session.current
    it.main.measure = MEASURE_BY_NAME["skip_effects"]
    await it.until(lambda: "L chooses the skipped part" in it.screen_text())
    await it.press("i", until=lambda: run.result.get(SkipEffects) is not None)
    await it.ready()
    layer = run.result.get(SkipEffects)
    await choose_skip(it, "mlp", True)
    await it.until(lambda: "MLP skipped at all tokens" in it.screen_text())
    assert run.result.get(SkipEffects) is None
    await it.press("i", until=lambda: run.result.get(SkipEffects) is not None)
    await it.ready()
    sent = it.engine.sent(StartRun)[-1].settings
    assert (sent.skip_part, sent.skip_everywhere) == ("mlp", True)
    assert (run.result.get(SkipEffects).part, run.result.get(SkipEffects).positions) == (
        "mlp",
        (0,),
    )
    # What was computed comes back when it is chosen again.
    count = len(it.engine.sent(StartRun))
    await choose_skip(it, "layer", False)
    assert run.result.get(SkipEffects) is layer
    assert "skip_effects" in run.settings.metrics
    await choose_skip(it, "mlp", True)
    assert run.result.get(SkipEffects).part == "mlp"
    assert len(it.engine.sent(StartRun)) == count
    # The next prompt is skipped alike.
    await it.press("n", until=lambda: len(it.session.runs) == 2)
    sent = it.engine.sent(StartRun)[-1].settings
    assert (sent.skip_part, sent.skip_everywhere) == ("mlp", True)


async def test_ablation_has_its_part_and_no_place(it: Explored) -> None:
    await it.resize(200, 60)
    run = it.session.current
    it.main.action_go_to("useful")
    await it.press("i", until=lambda: run.result.get(Ablation) is not None)
    await it.ready()
    whole = run.result.get(Ablation)
    await choose_skip(it, "layer", True)
    assert run.result.get(Ablation) is whole
    await choose_skip(it, "attention", False)
    assert run.result.get(Ablation) is None
    assert run.result.get(Similarity) is not None
    await it.press("i", until="loss change without attention")
    # It does not tell which layers to prune.
    await it.press("x", until=WhatIfScreen)
    assert it.app.screen.what_if.measured is run.result.get(Similarity)


async def test_token_0_is_left_out_of_the_usefulness_of_layers(it: Explored) -> None:
    await it.resize(200, 60)
    run = it.session.current
    it.main.action_go_to("useful")
    await it.press("i", until=lambda: run.result.get(Ablation) is not None)
    await it.ready()
    run.result.get(Ablation).loss_change[7, 0] -= 1000
    await it.read(include_first_token=False)
    await it.read(include_first_token=True)
    await it.until(lambda: "least 7 " in it.screen_text())
    await it.read(include_first_token=False)
    least = " ".join(map(str, np.argsort(usefulness(30), kind="stable")[:5]))
    await it.until(lambda: f"least {least}" in it.screen_text())
    assert "least 7 " not in it.screen_text()


async def test_nothing_is_chosen_while_a_run_goes_on(it: Explored) -> None:
    it.engine.manual = True
    it.app.explorer.run(Prompt("one two three"))
    it.engine.advance(1)
    await it.until(lambda: it.session.current.state.is_live)
    await it.press("L")
    assert "esc stops it" in it.toasts()[-1]


async def test_a_part_of_the_slower_metrics_is_chosen_computed_and_told(it: Explored) -> None:
    run = it.session.current
    it.main.measure = MEASURE_BY_NAME["residual_erasure"]
    await it.until(lambda: "L chooses some of" in it.screen_text())
    await it.press("i", until=lambda: run.result.get(ResidualErasure) is not None)
    await it.ready()
    whole = run.result.get(ResidualErasure)
    await measured(it, layers="0-8/4", erase_tokens="5")
    await it.until(lambda: it.app.screen is it.main)
    assert run.result.get(ResidualErasure) is None
    await it.press("i", until=lambda: run.result.get(ResidualErasure) is not None)
    await it.ready()
    sent = it.engine.sent(StartRun)[-1].settings
    assert (sent.layers, sent.erase_tokens, sent.erase_search) == ("0-8/4", 5, "")
    # What was computed comes back when it is chosen again.
    await measured(it, layers="", erase_tokens="")
    await it.until(lambda: run.result.get(ResidualErasure) is whole)
    for search in ("bisect", "spans", ""):
        await measured(it, erase_search=search)
        await it.until(lambda search=search: run.settings.erase_search == search)
    # The next prompt goes through the same part.
    await measured(it, layers="/4")
    await it.until(lambda: it.app.screen is it.main)
    await it.press("n", until=lambda: len(it.session.runs) == 2)
    assert it.engine.sent(StartRun)[-1].settings.layers == "/4"


async def test_what_stands_in_for_a_layer_is_chosen_and_said(it: Explored) -> None:
    run = it.session.current
    await measured(it, ablate="mean", keep_first_token=True)
    await it.until(lambda: run.settings.ablate == "mean")
    assert run.settings.keep_first_token
    it.main.measure = MEASURE_BY_NAME["skip_effects"]
    await it.until(lambda: "a layer left out writes its mean update" in it.screen_text())


async def test_a_part_that_there_is_not_is_told_in_the_dialog(it: Explored) -> None:
    await measured(it, layers="31")
    await it.until(lambda: "Layers must be layers of this model, 0 to 29" in it.screen_text())
    await it.press("escape", "y")
    await measured(it, skip_positions="x")
    await it.until(lambda: "positions of at least 1" in it.screen_text())
    await it.press("escape", "y", until=MainScreen)
    assert it.session.current.settings.layers == ""


async def test_positions_are_for_layers_that_are_skipped_before_a_token(it: Explored) -> None:
    run = it.session.current
    await measured(it, skip_positions="8,20")
    await it.until(lambda: run.settings.skip_positions == (8, 20))
    await choose_skip(it, "layer", True)
    assert (run.settings.skip_everywhere, run.settings.skip_positions) == (True, ())
    await it.press("L", "down", "down", "down")
    # The positions are passed by: there are none at all tokens.
    assert it.app.screen.focused.id == "ablate"
