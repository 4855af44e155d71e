"""The page of a layer at a token: opened, moved through, missing, left."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from depthtui.data.protocol import InspectLayer, LayerInspected
from depthtui.data.run import Prompt
from depthtui.metrics.registry import MEASURE_BY_NAME
from depthtui.tui.panes.layer_part import PARTS, LayerPart
from depthtui.tui.panes.prompt_pane import PromptPane
from depthtui.tui.screens.layer_screen import LayerScreen
from depthtui.tui.screens.main_screen import MainScreen
from depthtui.tui.state.inspections import MOST_INSPECTIONS, NOT_YET, Inspections
from depthtui.tui.state.session import RunState, Session
from tests.builders.engines import FakeEngine
from tests.builders.inspections import inspection, with_experts
from tests.builders.results import run
from tests.hostile import HOSTILE_PROMPT
from tests.tui.app_helpers import Explored, explore


class SlowEngine(FakeEngine):
    """Keeps pages back until `page` is called."""

    def _answer(self, command) -> None:  # type: ignore[no-untyped-def]
        if not isinstance(command, InspectLayer):
            super()._answer(command)

    def page(self) -> None:
        self.say(self._inspected(self.sent(InspectLayer)[-1]))


def layer_screen(it: Explored) -> LayerScreen:
    assert isinstance(it.app.screen, LayerScreen)
    return it.app.screen


async def opened(it: Explored, layer: int = 3, token: int = 2) -> LayerScreen:
    it.main.action_go_to("heatmap")
    it.main.go(layer, token)
    await it.press("enter", until=LayerScreen)
    return layer_screen(it)


async def test_a_cell_opens_as_a_page_and_escape_comes_back_to_where_it_was_left(
    it: Explored,
) -> None:
    screen = await opened(it)
    await it.until(lambda: screen.page is not None, "the page")
    await it.until(lambda: "Layer 3 at token 2" in it.screen_text(), "the title")
    await it.until(lambda: "after attention" in it.screen_text(), "the parts")
    text = it.screen_text()
    assert screen.query_one(PromptPane).cursor == (3, 2)
    for part in PARTS:
        assert part.name in text
    await it.press("k", "l", until="Layer 4 at token 3")
    assert screen.page.layer == 4
    await it.press("escape", until=MainScreen)
    assert it.main.cursor == (4, 3)
    asked = it.engines[0].sent(InspectLayer)
    assert [(one.layer, one.token) for one in asked] == [(3, 2), (4, 2), (4, 3)]


async def test_the_output_opens_at_the_last_layer(it: Explored) -> None:
    it.main.action_go_to("lens")
    await it.press("G")
    n_layers = it.main.shown_result().model.n_layers
    assert it.main.cursor.layer == n_layers
    await it.press("enter", until=LayerScreen)
    assert layer_screen(it).cursor.layer == n_layers - 1


async def test_the_page_before_stays_until_the_next_is_there(tmp_path: Path) -> None:
    engine = SlowEngine()
    async with explore(tmp_path, lambda: engine) as it:
        screen = await opened(it)
        await it.until(lambda: "The layer is run" in it.screen_text(), "that it is computed")
        engine.page()
        await it.until(lambda: "after attention" in it.screen_text(), "the page")
        before = it.screen_text().count("after attention")
        await it.press("k")
        assert "Layer 4 at token 2" in it.screen_text()
        assert "…" in it.screen_text().split("Layer 4 at token 2")[1][:40]
        assert it.screen_text().count("after attention") == before
        engine.page()
        await it.until(lambda: screen.page is not None)
        # A place that was looked into is not asked again.
        asked = len(engine.sent(InspectLayer))
        await it.press("j", "k")
        assert len(engine.sent(InspectLayer)) == asked


async def test_keys_that_come_faster_than_pages_ask_for_the_last_place(tmp_path: Path) -> None:
    engine = SlowEngine()
    async with explore(tmp_path, lambda: engine) as it:
        screen = await opened(it, 0, 0)
        await it.press("k", "k", "k")
        first, *_, last = engine.sent(InspectLayer)
        # A late answer to an earlier question is nobody's page.
        engine.say(engine._inspected(first))
        await it.pilot.pause()
        assert screen.page is None
        engine.say(engine._inspected(last))
        await it.until(lambda: screen.page is not None)
        assert screen.page.layer == 3


async def test_a_page_that_cannot_be_had_says_why(it: Explored) -> None:
    explorer = it.app.explorer
    loaded, explorer.engine.model = (
        explorer.engine.model,
        replace(explorer.engine.model, name="another"),
    )
    screen = await opened(it)
    await it.until(lambda: "need the model of this" in it.screen_text(), "the reason")
    assert screen.page is None
    assert "Values" in it.screen_text()
    assert it.engines[0].sent(InspectLayer) == []
    await it.press("y")
    assert "need the model" in " ".join(it.toasts())
    explorer.engine.model = loaded
    await it.press("l", until=lambda: screen.page is not None)


async def test_a_part_that_the_model_has_not_says_why(tmp_path: Path) -> None:
    engine = SlowEngine()
    async with explore(tmp_path, lambda: engine, size=(200, 60)) as it:
        await opened(it)
        asked = engine.sent(InspectLayer)[-1]
        missing = {"heads": "this layer has no attention weights", "experts": "none"}
        page = with_experts(layer=3, token=2, heads=0, reads=None)
        page = replace(page, unavailable={**missing, "reads": missing["heads"]})
        engine.say(LayerInspected(asked.run_id, 3, 2, page))
        await it.until(lambda: "No heads: this layer has no" in it.screen_text(), "the reason")
        assert "No tokens read: this layer" in it.screen_text()
        assert "loss without it" in it.screen_text()
        assert "Experts" in it.screen_text()


async def test_a_layer_opens_where_the_measure_has_no_value(it: Explored) -> None:
    it.main.measure = MEASURE_BY_NAME["head_direct"]
    await it.pilot.pause()
    assert "not computed" in it.screen_text() or "computes it" in it.screen_text()
    screen = await opened(it)
    assert screen.cursor == (3, 2)


async def test_a_halted_run_is_stepped_through_on_the_page(it: Explored) -> None:
    it.app.explorer.run(Prompt("Another prompt to step through"), step=True)
    await it.until(lambda: "halted after layer 0" in it.screen_text(), "the first halt")
    screen = await opened(it, 0, 2)
    await it.until(lambda: "Layer 0 at token 2" in it.screen_text(), "the page")
    await it.press("space")
    await it.until(lambda: screen.page is not None and screen.page.layer == 1, "the step")
    await it.press("k")
    await it.until(lambda: NOT_YET[:30] in it.screen_text(), "that it has not run")
    await it.press("backspace", "backspace")
    assert screen.cursor == (0, 2)
    await it.press("2", "space")
    assert screen.cursor == (1, 2)
    await it.press("escape", until=MainScreen)
    assert it.main.cursor == (1, 2)
    asked = it.engines[0].sent(InspectLayer)
    assert [(one.layer, one.token) for one in asked] == [(0, 2), (1, 2)]


async def test_an_error_of_the_engine_is_the_reason(tmp_path: Path) -> None:
    engine = SlowEngine()
    async with explore(tmp_path, lambda: engine) as it:
        screen = await opened(it)
        asked = engine.sent(InspectLayer)[-1]
        engine.say(LayerInspected(asked.run_id, 3, 2, None, "The memory does not suffice."))
        await it.until(lambda: "does not suffice" in it.screen_text(), "the reason")
        assert screen.problem == "The memory does not suffice."


@pytest.mark.parametrize("size", [(80, 24), (200, 60)])
async def test_every_part_is_reached_at_every_size(it: Explored, size: tuple[int, int]) -> None:
    await it.resize(*size)
    screen = await opened(it)
    await it.until(lambda: screen.page is not None)
    for part in PARTS:
        pane = screen.query_one(f"#{part.id}", LayerPart)
        assert screen.active_pane is pane
        assert pane.display
        assert pane.region.area
        await it.press("tab")
    assert screen.active_pane.id == "values"
    assert "Layer contribution" in it.screen_text()


async def test_the_prompt_is_coloured_by_the_tokens_that_are_read(it: Explored) -> None:
    screen = await opened(it)
    await it.until(lambda: screen.page is not None)
    pane = screen.query_one("#prompt", PromptPane)
    values = pane.shown_measure.values(pane.drawn_result)
    expected = screen.page.reads.value_weighted
    assert values[3][:3] == pytest.approx(expected / expected.sum(), abs=1e-6)


async def test_hostile_tokens_stay_text(it: Explored) -> None:
    await it.resize(200, 60)
    it.app.explorer.run(Prompt(HOSTILE_PROMPT))
    await it.ready()
    screen = await opened(it)
    for _ in range(6):
        await it.press("l", until=lambda: screen.page is not None)
    assert isinstance(it.app.screen, LayerScreen)


async def test_the_page_is_copied(it: Explored) -> None:
    screen = await opened(it)
    await it.until(lambda: screen.page is not None)
    await it.press("y")
    assert "Layer 3 at token 2" in " ".join(it.toasts())
    copied = it.app.clipboard
    assert copied.startswith("# Layer 3 at token 2")
    for part in ("Before and after", "Reads", "Writes", "Heads", "Neurons"):
        assert f"## {part}" in copied
    await it.press("I", until="Before and after")


def test_pages_are_kept_up_to_a_number() -> None:
    result = run()
    session = Session()
    listed = session.start(result.model, result.prompt, result.settings)
    listed.result, listed.state = result, RunState.FINISHED
    engine = FakeEngine(silent=True)
    asked = Inspections(lambda: engine, lambda: result.model)
    for token in range(MOST_INSPECTIONS + 5):
        asked.request(listed, 0, token, "logit")
        asked.answered(LayerInspected(1, 0, token, inspection()))
    assert asked.of(listed, 0, 0, "logit") is None
    assert asked.of(listed, 0, MOST_INSPECTIONS + 4, "logit") is not None
    assert len(engine.sent(InspectLayer)) == MOST_INSPECTIONS + 5
