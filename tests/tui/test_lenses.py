"""Depths in the explorer through another lens, at the press of a key."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from textual.widgets import Input, OptionList

from depthtui.data.lens import AffineLens, FittedLens, JacobianLens, LogitLens
from depthtui.data.protocol import Pace, StartRun
from depthtui.data.run_settings import SummarySettings
from depthtui.depth.reading import reading_of
from depthtui.metrics.estimates import about_time
from depthtui.metrics.registry import MEASURE_BY_NAME, METRIC_BY_NAME
from depthtui.metrics.settling import settling_depth
from depthtui.settings import Settings, load_settings
from depthtui.tui.panes.curves import DepthCurves
from depthtui.tui.panes.evidence_pane import EvidencePane
from depthtui.tui.panes.heatmap import HeatmapPane
from depthtui.tui.panes.lens_table import LensTable
from depthtui.tui.panes.pane import Pane, lens_values
from depthtui.tui.panes.prompt_pane import PromptPane
from depthtui.tui.panes.verdict_pane import VerdictPane
from depthtui.tui.screens.compare_screen import CompareScreen
from depthtui.tui.screens.dialogs.reading_form import ReadingForm
from depthtui.tui.screens.main_screen import MainScreen
from depthtui.tui.screens.what_if_screen import WhatIfScreen
from tests.builders.lenses import smooth_lens
from tests.tui.app_helpers import DrawnAtOnce, Explored, explore

WIDE = (200, 60)


def read_by(it: Explored, *kinds: type[FittedLens]) -> None:
    """Let the run on the screen have been read by these lenses."""
    result = it.session.current.result
    for kind in kinds:
        result.put(f"{kind.kind}_lens", smooth_lens(kind, result))


def shown_depths(it: Explored) -> list[int | None]:
    summary = it.main.query_one(EvidencePane).reading
    return [estimate.layer for estimate in summary.depths if estimate.rule != "cosine"]


def titles(it: Explored) -> list[str]:
    return [str(pane.border_title) for pane in it.app.screen.query(Pane)]


async def test_the_key_turns_curves_depths_and_table_at_once(it: Explored) -> None:
    await it.resize(*WIDE)
    read_by(it, AffineLens, JacobianLens)
    result = it.session.current.result
    before, own = dict(result.measured), result.get(LogitLens)
    it.main.measure = MEASURE_BY_NAME["kl"]
    logit = shown_depths(it)
    for lens, kind in (("affine", AffineLens), ("jacobian", JacobianLens)):
        await it.read(lens=lens)
        name = f"{lens.capitalize()} lens"
        await it.until(lambda name=name: f'{name} at "' in it.screen_text())
        fitted = result.get(kind)
        expected = reading_of([result], SummarySettings(lens=lens))
        assert shown_depths(it) == [
            estimate.layer for estimate in expected.depths if estimate.rule != "cosine"
        ]
        assert shown_depths(it) != logit
        curves = it.main.query_one(DepthCurves).reading.curves
        np.testing.assert_allclose(curves["kl"], fitted.kl.mean(axis=1), rtol=1e-6)
        table = it.main.query_one(LensTable)
        assert lens_values(table.result, table.view.lens) is fitted
        words = "affine" if lens == "affine" else "Jacobian"
        assert f"Lens KL, {words} · KL(p_l || p), nats" in it.screen_text()
        assert f"{words} lens" in str(it.main.query_one(DepthCurves).border_title)
        assert f"{words} lens" in str(it.main.query_one(VerdictPane).border_title)
        assert load_settings(it.folder / "settings.toml").lens == lens
    await it.read(lens="logit")
    await it.until(lambda: 'Logit lens at "' in it.screen_text())
    assert shown_depths(it) == logit
    assert not [title for title in titles(it) if "affine" in title or "Jacobian" in title]
    # The session keeps what was measured.
    assert it.session.current.result is result
    assert result.measured == before
    assert result.get(LogitLens) is own
    assert len(it.engine.sent(StartRun)) == 1


def titled_by(it: Explored, page: str) -> bool:
    """Whether this page is seen, with the lens in its title."""
    seen = it.main.seen_page
    return seen.id == page and "affine lens" in str(seen.border_title)


async def test_the_pages_are_read_through_it(it: Explored) -> None:
    await it.resize(220, 60)
    read_by(it, AffineLens)
    lens = it.session.current.result.get(AffineLens)
    await it.read(lens="affine")
    for page in ("evidence", "tokens", "exits"):
        it.main.action_go_to(page)
        await it.until(lambda page=page: titled_by(it, page))
    it.main.action_go_to("tokens")
    await it.press("plus")
    # The depth of a token is read at the one before it.
    mean = settling_depth(lens.divergence)[:-1].mean()
    await it.until(lambda: f"settling depth {mean:.3g}" in it.screen_text())


async def test_a_lens_that_has_not_read_the_run_is_computed_by_a_key(it: Explored) -> None:
    await it.resize(*WIDE)
    it.main.measure = MEASURE_BY_NAME["kl"]
    it.engine.manual = True
    await it.read(lens="affine")
    await it.until(lambda: "i computes it" in it.screen_text())
    for pane in (it.main.query_one(LensTable), it.main.query_one("#heatmap", HeatmapPane)):
        reason, help_text = pane.why_empty()
        assert reason.startswith("Affine lens: ")
        assert "i computes it" in help_text
        assert help_text.endswith("u chooses another lens.")
    assert [estimate.rule for estimate in it.main.query_one(EvidencePane).reading.depths] == [
        "cosine"
    ]
    await it.press("i", until=lambda: len(it.engine.sent(StartRun)) == 2)
    assert "affine_lens" in it.engine.sent(StartRun)[-1].settings.metrics


async def open_reading(it: Explored) -> ReadingForm:
    await it.press("u", until=ReadingForm)
    await it.pilot.pause()
    form = it.app.screen
    assert isinstance(form, ReadingForm)
    return form


async def test_a_reading_is_tried_on_the_screen_and_kept_by_enter_alone(tmp_path: Path) -> None:
    async with explore(tmp_path, size=WIDE, kind=DrawnAtOnce) as it:
        read_by(it, AffineLens)
        before, reading = it.app.explorer.settings, it.app.explorer.reading
        for last in ("escape", "enter"):
            await open_reading(it)
            await it.press("right", "down", "plus", "plus", "down", "down", "space")
            settings = it.app.explorer.settings
            assert (settings.lens, settings.kl_threshold) == ("affine", 0.6)
            assert not settings.include_first_token
            await it.until(lambda: 'Affine lens at "' in it.screen_text(), "the screen behind")
            assert load_settings(tmp_path / "settings.toml").lens == "logit"
            await it.press(last, until=MainScreen)
            kept = it.app.explorer.settings
            assert kept == (before if last == "escape" else settings)
        # The lens is kept for good, the rest with the session.
        saved_file = load_settings(tmp_path / "settings.toml")
        assert (saved_file.lens, saved_file.kl_threshold) == ("affine", before.kl_threshold)
        assert reading.thresholds_turned
        await open_reading(it)
        await it.press("d", until=lambda: not reading.thresholds_turned)
        assert it.app.explorer.settings.include_first_token
        await it.press("enter")
        assert it.app.explorer.settings.lens == "logit"


async def test_a_threshold_is_turned_by_keys_that_come_together(it: Explored) -> None:
    form = await open_reading(it)
    await it.press("down")
    for _ in range(4):
        form.action_turn(1)
    await it.until(lambda: it.app.explorer.settings.kl_threshold == 0.7)


async def test_a_wrong_threshold_stays_typed_and_changes_nothing(it: Explored) -> None:
    await open_reading(it)
    await it.press("down", "7", until="KL threshold must be a number from 0 to 1.")
    assert it.app.explorer.settings.kl_threshold == 0.5
    await it.press("enter")
    assert it.app.screen.query_one("#kl_threshold", Input).value == "7"
    await it.press("escape", "y")
    assert it.app.screen is it.main


async def test_what_a_lens_takes_is_told_before_it_begins(it: Explored) -> None:
    it.engine.say(Pace(forward=0.005, tokens=30))
    await it.until(lambda: it.app.explorer.engine.pace.forward == 0.005)
    await open_reading(it)
    await it.press("right", until="not fitted yet")
    result = it.session.current.result
    time = about_time(METRIC_BY_NAME["affine_lens"], result, it.app.explorer.engine.pace)
    assert time in " ".join(it.screen_text().split())
    it.engine.say(Pace(forward=0.005, tokens=30, prepared=("affine_lens",)))
    await it.until(lambda: it.app.explorer.engine.pace.prepared)
    await it.press("right", "left", until="it has not read this run. i reads the run")
    assert len(it.engine.sent(StartRun)) == 1


async def test_values_are_chosen_coloured_and_copied_through_it(it: Explored) -> None:
    await it.resize(*WIDE)
    read_by(it, AffineLens)
    result = it.session.current.result
    lens = result.get(AffineLens)
    lens.kl[:, 2] = 0
    # The logit lens's own values are neither offered nor shown.
    result.drop(["logit_lens", "settling"])
    names = list(MEASURE_BY_NAME)
    it.main.measure = MEASURE_BY_NAME[names[names.index("kl") - 1]]
    await it.read(lens="affine")
    await it.press("right_square_bracket")
    assert it.main.measure.name == "kl"
    await it.press("y")
    layer, token = it.main.cursor
    assert it.app.clipboard == f"{lens.kl[layer, token]:.6g}"
    assert it.toasts()[-1].split(": ")[1].startswith("Lens KL, affine, layer ")
    prompt = it.main.query_one("#prompt", PromptPane)
    levels = prompt._levels_at(0)
    assert levels[2] != levels[1] == levels[3]
    await it.press("v")
    listed = it.app.screen.query_one(OptionList)
    offered = {str(option.prompt)[2:26].strip() for option in listed.options if not option.disabled}
    assert {"Lens KL", "Lens overlap", "Lens agrees", "Settling"} <= offered


async def test_words_are_found_in_what_it_says(it: Explored) -> None:
    await it.resize(*WIDE)
    read_by(it, AffineLens)
    lens = it.session.current.result.get(AffineLens)
    lens.vocabulary[9999] = " Seine"
    lens.top_ids[1, 3, 0] = 9999
    await it.read(lens="affine")
    await it.press("slash", "tab", *"seine", "enter", until=lambda: it.main.cursor == (1, 3))
    assert "1 of 1" in it.screen_text()


async def test_a_depth_that_it_reads_worse_is_marked(it: Explored) -> None:
    await it.resize(*WIDE)
    read_by(it, AffineLens)
    lens = it.session.current.result.get(AffineLens)
    lens.held_out_kl[3] = lens.logit_held_out_kl[3] + 1
    await it.read(lens="affine")
    await it.press("g", until="worse than")
    marked = [line for line in it.screen_text().splitlines() if "worse than" in line]
    assert len(marked) == 1
    await it.read(lens="logit")
    await it.until(lambda: "worse than" not in it.screen_text())


async def test_a_comparison_is_read_through_it(tmp_path: Path) -> None:
    settings = Settings(cache_dir=tmp_path / "cache", lens="affine")
    async with explore(tmp_path, size=WIDE, settings=settings) as it:
        read_by(it, AffineLens, JacobianLens)
        first = it.session.current
        await it.press("n", until=lambda: it.session.current is not first)
        await it.ready()
        read_by(it, AffineLens)
        second = it.session.current
        screen = CompareScreen(
            it.app.explorer, first, second, MEASURE_BY_NAME["kl"], it.main.cursor
        )
        it.app.push_screen(screen)
        await it.until(lambda: any("A - B · Lens KL, affine" in title for title in titles(it)))
        assert sum('Affine lens at "' in title for title in titles(it)) == 2
        assert "Effective depth, affine lens · layers, ratio" in titles(it)
        await it.read(lens="jacobian")
        await it.until(lambda: any('Jacobian lens at "' in title for title in titles(it)))
        await it.until(lambda: "B lacks Jacobian lens: i computes it" in it.screen_text())


async def test_a_what_if_is_read_by_what_has_read_both(tmp_path: Path) -> None:
    settings = Settings(cache_dir=tmp_path / "cache", lens="affine")
    async with explore(tmp_path, size=WIDE, settings=settings) as it:
        await it.press("x", until=WhatIfScreen)
        # What ranks the layers is computed first, and its result takes the run's place.
        await it.until(lambda: it.app.screen.what_if.measured is not None)
        await it.until(lambda: not it.session.current.state.is_live)
        read_by(it, AffineLens)
        it.app.screen.redraw()
        await it.until(lambda: 'Affine lens at "' in it.screen_text())
        assert "Effective depth, affine lens" in it.screen_text()
        await it.press("x", until=lambda: it.app.screen.what_if.stack.skipped)
        await it.until(lambda: 'Logit lens at "' in it.screen_text())
        assert "affine lens" not in it.screen_text()


async def test_what_is_saved_is_what_was_measured(it: Explored) -> None:
    read_by(it, AffineLens)
    result = it.session.current.result
    await it.read(lens="affine")
    assert it.main.shown_result() is result
    assert it.session.results == [result]
