"""The slower metrics in the explorer: computed where asked for, filling in as they come."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from textual.widgets import Static

from depthtui.data.protocol import Failed, MetricRows, Pace, StartRun
from depthtui.data.run import Prompt
from depthtui.metrics.ablation import Ablation
from depthtui.metrics.contributions import Contributions
from depthtui.metrics.estimates import about_time
from depthtui.metrics.registry import MEASURE_BY_NAME, METRIC_BY_NAME, OF_THE_PASS
from depthtui.metrics.residual_erasure import ResidualErasure
from depthtui.metrics.skip_effects import SkipEffects
from depthtui.settings import load_settings
from depthtui.tui.panes.evidence_pane import EvidencePane
from depthtui.tui.panes.heatmap import HeatmapPane
from depthtui.tui.panes.prompt_pane import PromptPane
from depthtui.tui.panes.verdict_pane import VerdictPane
from depthtui.tui.screens.dialogs.measured_form import MeasuredForm
from depthtui.tui.screens.main_screen import MainScreen
from depthtui.tui.state.session import RunState
from tests.builders.engines import SECONDS_A_TOKEN, FakeEngine
from tests.builders.metrics import usefulness
from tests.hostile import HOSTILE
from tests.tui.app_helpers import Explored, explore
from tests.tui.panes.drawing import lines


async def look_at(it: Explored, measure: str) -> None:
    it.main.action_go_to("heatmap")
    it.main.measure = MEASURE_BY_NAME[measure]
    await it.pilot.pause()


@pytest.mark.parametrize("measure", ["context_depth", "order_parallel", "order_swapped"])
async def test_i_fills_in_maps_that_leave_places_empty(it: Explored, measure: str) -> None:
    await it.resize(120, 40)
    await look_at(it, measure)
    await it.until(lambda: "i computes it" in it.screen_text())
    run = it.session.current
    await it.press("i", until=lambda: MEASURE_BY_NAME[measure].metric in run.result.measured)
    await it.ready()
    result = run.result
    values = MEASURE_BY_NAME[measure].values(result)
    rows = result.model.n_layers + (measure == "context_depth")
    assert values.shape == (rows, len(result.tokens))
    assert np.isnan(values[:, -1]).all()
    await it.until(lambda: "loss change, nats" in it.screen_text())
    await it.until(lambda: "i computes it" not in it.screen_text())


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_i_goes_to_the_verdict_and_computes_it(it: Explored, size: tuple[int, int]) -> None:
    await it.resize(*size)
    before = set(it.session.current.result.measured)
    it.main.action_go_to("curves")
    await it.press("i")
    verdict = it.main.query_one(VerdictPane)
    await it.until(lambda: it.main.focused is verdict and verdict.display)
    await it.ready()
    assert {*it.session.current.result.measured} - before == {"kept"}
    await it.press("i")
    await it.ready()
    quick = set(it.session.current.result.measured) - before
    assert {"similarity", "ablation"} <= quick
    if size[0] > 80:
        it.main.action_go_to("evidence")
        await it.press("z")
        offered = "not computed yet · i computes them"
        shown = it.main.query_one(EvidencePane)
        await it.until(lambda: offered in " ".join(" ".join(lines(shown)).split()))
        await it.press("z")
    it.main.action_go_to("curves")
    await it.press("i", until=lambda: it.main.focused is verdict)
    await it.ready()
    assert "residual_erasure" not in it.session.current.result.measured
    await it.press("i", until=lambda: "residual_erasure" in it.session.current.result.measured)
    await it.ready()
    await it.press("i")
    assert it.toasts()[-1] == "The verdict lacks nothing."


async def test_i_before_the_first_run_is_remembered(tmp_path: Path) -> None:
    async with explore(tmp_path, lambda: FakeEngine(manual=True), wait=False) as it:
        await it.until(lambda: it.status and it.status.state == "running")
        assert it.main.shown_result() is None
        await it.press("i")
        assert it.toasts() == ["The verdict is computed once the run is through."]
        it.engine.advance()
        await it.until(lambda: it.main.focused is it.main.query_one(VerdictPane))
        it.engine.advance()
        await it.until(lambda: "kept" in it.session.current.result.measured, "the verdict")
        await it.press("tab", "r")
        it.engine.advance()
        await it.ready()
        assert it.main.focused is not it.main.query_one(VerdictPane)


async def test_i_while_the_answer_is_written_is_remembered(it: Explored) -> None:
    it.engine.manual = True
    await it.press("w", until=lambda: it.engine.sent(StartRun)[-1].write is not None)
    it.engine.advance(3)
    await it.until(lambda: it.session.current.is_being_written, "the first words")
    sent = len(it.engine.commands)
    await it.press("i")
    assert it.toasts() == ["The verdict is computed once the run is through."]
    assert len(it.engine.commands) == sent
    it.engine.advance()
    await it.until(lambda: it.main.focused is it.main.query_one(VerdictPane))


async def test_v_goes_to_the_heatmap_whose_key_is_offered(it: Explored) -> None:
    await it.resize(120, 40)
    await it.press("tab", "v", "end", "up", "enter")
    await it.until(lambda: it.app.screen is it.main and it.main.measure.metric not in OF_THE_PASS)
    heatmap = it.main.query_one("#heatmap", HeatmapPane)
    await it.until(lambda: it.main.focused is heatmap)
    await it.until(lambda: "i computes it" in it.screen_text())
    await it.press("tab", until="then i computes it")
    await it.press("shift+tab", "i")
    await it.until(lambda: it.main.measure.metric in it.session.current.result.measured)


@pytest.mark.parametrize("measure", ["residual_erasure", "integrated_gradients", "skip_effects"])
async def test_an_empty_heatmap_says_what_it_costs_and_i_fills_it(
    it: Explored, measure: str
) -> None:
    await it.resize(80, 24)
    await look_at(it, measure)
    await it.until(lambda: "i computes it" in it.screen_text())
    first = it.session.current
    await it.press("i", until=lambda: measure in first.result.measured)
    await it.ready()
    assert it.engine.sent(StartRun)[-1].settings.metrics == (
        "contributions",
        "logit_lens",
        measure,
    )
    assert it.session.runs == [first]
    assert first.state is RunState.FINISHED
    await it.until(lambda: "i computes it" not in it.screen_text())
    assert not np.isnan(MEASURE_BY_NAME[measure].values(first.result)).any()
    verdict = it.main.query_one(VerdictPane)
    await it.press("i", until=lambda: it.main.focused is verdict)


async def test_the_picker_and_the_pane_say_how_long_a_measure_takes(it: Explored) -> None:
    result = it.session.current.result
    erasure = METRIC_BY_NAME["residual_erasure"]
    time = about_time(erasure, result, Pace(SECONDS_A_TOKEN))
    assert time
    await look_at(it, "residual_erasure")
    await it.until(lambda: f"i computes it in {time}" in it.screen_text())
    await it.press("v", until=f"not computed yet · {time}")


async def test_rows_come_while_it_is_computed_and_escape_keeps_them(it: Explored) -> None:
    run = it.session.current
    contributions = run.result.get(Contributions)
    await look_at(it, "residual_erasure")
    it.engine.manual = True
    await it.press("i", until="is being computed")
    it.engine.advance(until=MetricRows)
    await it.until(lambda: run.result.get(ResidualErasure) is not None)
    # What the clock says depends on the machine.
    await it.until(lambda: "residual erasure 1 of 2 · " in it.screen_text())
    assert " s left" in it.screen_text()
    assert np.isnan(run.result.get(ResidualErasure).effect).any()
    await it.press("escape", until=lambda: it.status.state == "ready")
    assert run.state is RunState.FINISHED
    assert np.isfinite(run.result.get(ResidualErasure).effect).any()
    assert run.result.get(Contributions) is not None
    np.testing.assert_array_equal(
        run.result.get(Contributions).layer_cosine, contributions.layer_cosine
    )
    # It goes on from there.
    it.engine.manual = False
    await it.press("i", until=lambda: np.isfinite(run.result.get(ResidualErasure).effect).all())


async def test_heatmap_and_verdict_show_the_rows_so_far(it: Explored) -> None:
    metric = METRIC_BY_NAME["order"]
    await look_at(it, "order_parallel")
    it.main.show_page("evidence")
    it.engine.manual = True
    await it.press("i", until="is being computed")
    it.engine.advance(until=MetricRows)
    await it.until(lambda: "is being computed" not in it.screen_text())
    assert not it.session.current.result.has_all(metric.name)
    await it.until(lambda: "layers so far" in it.screen_text())
    it.engine.advance()
    await it.until(lambda: "layers so far" not in it.screen_text())
    assert it.session.current.result.has_all(metric.name)


async def test_one_more_metric_lets_the_first_go_on(it: Explored) -> None:
    it.engine.manual = True
    await look_at(it, "residual_erasure")
    await it.press("i")
    it.engine.advance(until=MetricRows)
    await look_at(it, "skip_effects")
    await it.press("i")
    settings = it.engine.sent(StartRun)[-1].settings
    assert {"residual_erasure", "skip_effects"} < set(settings.metrics)
    it.engine.advance()
    await it.ready()
    result = it.session.current.result
    assert result.get(ResidualErasure) is not None
    assert result.get(SkipEffects) is not None


async def test_a_stop_before_anything_came_asks_no_more(it: Explored) -> None:
    it.engine.manual = True
    await look_at(it, "skip_effects")
    await it.press("i")
    it.engine.advance(1)
    await it.press("escape", until="i computes it")
    assert "skip_effects" not in it.session.current.settings.metrics


async def test_a_text_to_patch_from_is_named_by_a_key(it: Explored) -> None:
    await look_at(it, "patch")
    pane = it.main.query_one("#heatmap", HeatmapPane)
    reason, key = pane.why_empty()
    assert reason == "Patching is unavailable: there is no text to patch from."
    assert key == "L names one."


async def test_without_an_answer_a_token_is_marked(it: Explored) -> None:
    it.app.explorer.run(Prompt("one two three four five"))
    await it.until(lambda: len(it.session.runs) == 2)
    await it.ready()
    await look_at(it, "residual_erasure")
    await it.until(lambda: "L sets the token" in it.screen_text())
    await it.press("i", until="is unavailable: the prompt has no")
    await it.press("i")
    assert "is unavailable: the prompt has no known answer. L sets" in it.toasts()[-1]
    await it.press("0", "3", "l", "L", "A", "enter")
    assert "begins at token 3" in it.toasts()[-1]
    await it.press("i")
    run = it.session.current
    await it.until(lambda: run.result.get(ResidualErasure) is not None)
    await it.ready()
    assert it.engine.sent(StartRun)[-1].settings.answer_start == 3
    assert run.result.get(ResidualErasure).answer_start == 3
    await it.until(lambda: "answer from token 3" in it.screen_text())
    # Another answer is another question.
    await it.press("l", "L", "A", "enter")
    assert run.settings.answer_start == 4
    assert run.result.get(ResidualErasure) is None
    await it.press("L", "A", "enter")
    assert run.settings.answer_start == -1
    assert "again the one that the prompt marks" in it.toasts()[-1]
    await it.press("0", "L", "A")
    note = it.app.screen.query_one("#note", Static)
    await it.until(lambda: "predicts token 0" in str(note.content))
    await it.press("enter")
    assert run.settings.answer_start == -1
    # Spaces are no token, and no mistake: the prompt's own answer.
    await it.press("0", "l", "L", "A", *["backspace"] * 2, "space")
    note = it.app.screen.query_one("#note", Static)
    await it.until(lambda: not str(note.content).startswith("Token"))
    await it.press("enter")
    await it.press("L", "A", *"999", "enter")
    # Toasts lie over a part of it.
    note = it.app.screen.query_one("#note", Static)
    assert "must be a token of this prompt, 1 to 4" in str(note.content)


async def test_the_marked_answer_is_underlined_and_kept_by_the_next_run(it: Explored) -> None:
    await it.press("0", "2", "l", "L", "A", "enter", "0")
    pane = it.main.query_one(PromptPane)
    await it.pilot.pause()
    styles = [style for _, style, _ in pane.render_line(0) if style and style.underline]
    assert styles
    await it.press("r", until=lambda: len(it.session.runs) == 2)
    assert it.engine.sent(StartRun)[-1].settings.answer_start == 2
    await it.press("n", until=lambda: len(it.session.runs) == 3)
    assert it.engine.sent(StartRun)[-1].settings.answer_start == -1


async def test_the_skip_map_has_layers_both_ways_and_the_output_apart(it: Explored) -> None:
    await it.press("v", "end", "up", "enter")
    await it.until(lambda: it.main.measure is MEASURE_BY_NAME["skip_effects"])
    await it.press("i", until=lambda: it.session.current.result.get(SkipEffects) is not None)
    await it.ready()
    heatmap = it.main.query_one("#heatmap", HeatmapPane)
    assert heatmap.view.mode == "skips"
    await it.until(lambda: "DepthScore" in it.screen_text())
    await it.press("4", "G", until="▴skipped")
    output = it.session.current.result.get(SkipEffects).output[4]
    assert f"output {output:.2f}" in it.screen_text() or f"output {output:.3f}" in it.screen_text()
    await it.press("y")
    assert float(it.app.clipboard) == pytest.approx(float(output), rel=1e-5)
    await it.press("v", "a", "escape")
    assert heatmap.view.mode == "skips"
    # It has no tokens to average, and says so.
    assert len(it.toasts()) == 2
    await it.press("right_square_bracket")
    assert heatmap.view.mode == "tokens"
    # It is nothing to open with: the next start has not computed it.
    assert load_settings(it.folder / "settings.toml").measure == "layer_norm_ratio"


async def test_a_wide_screen_computes_how_useful_layers_are(it: Explored) -> None:
    await it.resize(200, 60)
    it.main.action_go_to("useful")
    await it.press("i")
    result = it.session.current
    await it.until(lambda: result.result.get(Ablation) is not None)
    await it.ready()
    await it.until(lambda: "loss change" in it.screen_text())
    least = " ".join(map(str, np.argsort(usefulness(30), kind="stable")[:5]))
    assert it.screen_text().count(f"least {least}") == 2


async def test_a_failure_leaves_the_run_as_it_was(it: Explored) -> None:
    it.engine.fails_at = "skip_effects"
    run = it.session.current
    await look_at(it, "skip_effects")
    it.engine.manual = True
    await it.press("i")
    it.engine.advance(until=Failed)
    await it.until(lambda: it.toasts())
    assert "Memory ran out" in it.toasts()[-1]
    assert run.state is RunState.FINISHED
    assert "skip_effects" not in run.settings.metrics
    await it.until(lambda: "i computes it" in it.screen_text())


async def test_an_engine_that_dies_leaves_the_run_finished(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        it.engine.manual = True
        await look_at(it, "skip_effects")
        await it.press("i")
        it.engine.advance(until=MetricRows)
        it.engine.die()
        await it.until(lambda: it.status.state == "gone")
        assert it.session.current.state is RunState.FINISHED
        assert it.session.current.result.get(SkipEffects) is not None


async def test_hostile_tokens_under_every_measure(it: Explored) -> None:
    text = " ".join(text for text in HOSTILE.values() if text)
    it.app.explorer.run(Prompt(text))
    await it.until(lambda: len(it.session.runs) == 2)
    await it.ready()
    await it.press("l", "L", "A", "enter")
    for name in ("residual_erasure", "integrated_gradients", "skip_effects"):
        await look_at(it, name)
        await it.press("i")
        await it.ready()
        await it.press("l", "k")
        assert "\x1b" not in it.screen_text()
    assert it.app.error is None


async def test_i_asks_for_the_text_that_patching_lacks_and_goes_on(it: Explored) -> None:
    it.main.measure = MEASURE_BY_NAME["patch"]
    await it.press("i", until=MeasuredForm)
    form = it.app.screen
    assert isinstance(form, MeasuredForm)
    assert form.focused is form.field("patch_from")
    # Every character of a text is its own, keys of the form too.
    await it.press("A", "j", "k", "enter", until=MainScreen)
    await it.ready()
    sent = it.engine.sent(StartRun)[-1]
    assert sent.settings.patch_from == "Ajk"
    assert "patch" in sent.settings.metrics
