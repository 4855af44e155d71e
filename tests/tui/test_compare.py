"""Two runs side by side: how one gets there, what is aligned, and what is said about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from depthtui.engine.protocol import Event, Failed, LoadModel, ModelLoaded
from depthtui.engine.results import ModelSpec, Prompt, Tokens
from depthtui.tui.screens.compare_choice import CompareChoice
from depthtui.tui.screens.compare_screen import CompareScreen
from depthtui.tui.screens.model_picker import ModelPicker
from depthtui.tui.screens.session_screen import SessionScreen
from depthtui.tui.widgets.curves import DepthCurves
from depthtui.tui.widgets.depth_pair import DepthPair
from depthtui.tui.widgets.heatmap import Heatmap
from depthtui.tui.widgets.lens_table import LensTable
from depthtui.tui.widgets.paired_heatmap import DifferenceHeatmap
from depthtui.tui.widgets.pane import Cursor
from tests import fake_engine
from tests.fake_engine import FakeEngine, full_result, model_info
from tests.tui.app_helpers import Explored, explore

BOS = "<s>"
LONG = 12


def loads(spec: ModelSpec) -> Iterator[Event]:
    """Models of 30 layers; of 20 where the name says shallow."""
    yield ModelLoaded(model_info(spec, layers=20 if "shallow" in spec.name else 30))


@pytest.fixture
def bos(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tokenizers of models called `bos` put a BOS token in front."""

    def full(prompt: Prompt, model=None, settings=None, cached: bool = False):  # type: ignore[no-untyped-def]
        with_bos = model is not None and "bos" in model.name
        plain = fake_engine.tokens_of
        if with_bos:
            tokens = plain(prompt)
            ids, texts = np.concatenate([[1], tokens.ids]), [BOS, *tokens.texts]
            monkeypatch.setattr(
                fake_engine, "tokens_of", lambda _: Tokens(ids, texts, tokens.answer_start + 1)
            )
        try:
            return full_result(prompt, model, settings, cached)
        finally:
            monkeypatch.setattr(fake_engine, "tokens_of", plain)

    monkeypatch.setattr(fake_engine, "full_result", full)


def engine() -> FakeEngine:
    return FakeEngine(load=loads)


def words(it: Explored) -> str:
    return " ".join(it.screen_text().split())


async def on_screen(it: Explored, kind: type) -> None:
    await it.until(lambda: isinstance(it.app.screen, kind), kind.__name__)
    await it.pilot.pause()


async def compared(it: Explored) -> CompareScreen:
    """Compare with the run that is offered."""
    await it.press("C")
    await on_screen(it, CompareChoice)
    await it.press("enter")
    await on_screen(it, CompareScreen)
    assert isinstance(it.app.screen, CompareScreen)
    return it.app.screen


async def compared_with_model(it: Explored, name: str) -> CompareScreen:
    """Compare with the same prompt on another model, all by keys."""
    await it.press("C", "m")
    await on_screen(it, ModelPicker)
    it.app.screen.query_one("#name").value = name  # type: ignore[attr-defined]
    await it.press("f5")
    await on_screen(it, CompareScreen)
    assert isinstance(it.app.screen, CompareScreen)
    return it.app.screen


# Getting there --------------------------------------------------------------


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_two_runs_side_by_side(tmp_path: Path, size: tuple[int, int]) -> None:
    async with explore(tmp_path, size=size) as it:
        await it.press("r")
        await it.until(lambda: len(it.session.results) == 2)
        screen = await compared(it)
        difference = screen.query_one("#difference", Heatmap)
        second, first = it.session.runs[1].result, it.session.runs[0].result
        assert (difference.result, difference.other) == (second, first)
        if size[0] >= 120:
            await it.until(lambda: "A - B · Layer contribution" in it.screen_text())
        await it.press("g", "0", "v", "4")
        await it.until(lambda: it.app.screen.measure.name == "layer_cosine")
        for _ in screen.panes:
            await it.press("tab")
        assert "run 2" in it.screen_text()
        assert "The same tokens" in words(it)
        await it.press("escape")
        await it.until(lambda: it.app.screen is it.main)


async def test_the_marked_run_is_the_one_compared(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        for count in (2, 3):
            await it.press("n")
            await it.until(lambda count=count: len(it.session.results) == count)
        await it.ready()
        await it.press("b")
        await on_screen(it, SessionScreen)
        await it.press("end", "C")
        await on_screen(it, CompareScreen)
        assert "A run 3" in it.screen_text()
        assert "B run 1" in it.screen_text()


async def test_any_run_can_be_chosen(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        for count in (2, 3):
            await it.press("n")
            await it.until(lambda count=count: len(it.session.results) == count)
        await it.ready()
        await it.press("C")
        await on_screen(it, CompareChoice)
        await it.press("end", "enter")
        await on_screen(it, CompareScreen)
        assert "B run 1" in it.screen_text()


async def test_the_same_prompt_on_another_model_is_one_choice(tmp_path: Path) -> None:
    async with explore(tmp_path, engine) as it:
        first = it.session.current
        await it.press("C")
        await on_screen(it, CompareChoice)
        # With one run, another model is what there is to choose.
        await it.press("enter")
        await on_screen(it, ModelPicker)
        it.app.screen.query_one("#name").value = "org/other"  # type: ignore[attr-defined]
        await it.press("f5")
        await on_screen(it, CompareScreen)
        await it.until(lambda: "B run 2 other" in words(it))
        assert it.session.runs[0] is first
        assert it.session.runs[1].prompt == first.prompt
        await it.press("escape")
        await it.until(lambda: it.app.screen is it.main)
        assert it.main.run is it.session.runs[1]


async def test_a_run_is_compared_as_it_was_run(tmp_path: Path) -> None:
    """An older run's prompt and settings, whatever would be run now."""
    async with explore(tmp_path, engine) as it:
        explorer = it.app.explorer
        explorer.change(top_k=3)
        explorer.run(Prompt("another prompt of some words"))
        await it.until(lambda: len(it.session.results) == 2)
        first = it.session.runs[0]
        it.session.select(first)
        await compared_with_model(it, "org/other")
        third = it.session.runs[2]
        assert (third.prompt, third.settings) == (first.prompt, first.settings)
        assert third.settings.top_k != 3


async def test_a_model_that_is_loaded_is_not_loaded_again(tmp_path: Path) -> None:
    async with explore(tmp_path, engine) as it:
        await compared_with_model(it, "org/other")
        await it.press("escape")
        it.session.select(it.session.runs[0])
        await compared_with_model(it, "org/other")
        assert len(it.engine.sent(LoadModel)) == 2
        assert [run.model.name for run in it.session.runs[1:]] == ["other", "other"]


@pytest.mark.parametrize("deed", ["fails", "run", "load", "dies"])
async def test_a_comparison_can_be_called_off(tmp_path: Path, deed: str) -> None:
    """What fails or is overtaken opens nothing, and loses nothing."""

    def load(spec: ModelSpec) -> Iterator[Event]:
        if "broken" in spec.name:
            yield Failed("No such model.", "Choose another.", -1, model_info())
        elif "slow" not in spec.name:
            yield ModelLoaded(model_info(spec))

    async with explore(tmp_path, lambda: FakeEngine(load=load)) as it:
        explorer, first = it.app.explorer, it.session.current
        explorer.run_on_model(first, ModelSpec("broken" if deed == "fails" else "slow"))
        match deed:
            case "run":
                explorer.run(Prompt("another prompt"))
            case "load":
                explorer.load(ModelSpec("org/other"))
            case "dies":
                it.engine.die()
        await it.pilot.pause()
        if explorer.can_run:
            explorer.run(Prompt("yet another prompt"))
            await it.ready()
        elif deed == "run":
            it.engine.say(ModelLoaded(model_info(ModelSpec("slow"))))
            await it.ready()
        await it.pilot.pause(0.1)
        assert it.app.screen is it.main
        assert explorer.compared is None
        assert first in it.session.runs


async def test_a_finished_comparison_waits_for_a_dialog_to_close(tmp_path: Path) -> None:
    async with explore(tmp_path, engine) as it:
        await it.press("b")
        await on_screen(it, SessionScreen)
        it.app.explorer.run_on_model(it.session.current, ModelSpec("org/other"))
        await it.until(lambda: it.app.explorer.compared is not None)
        assert isinstance(it.app.screen, SessionScreen)
        await it.press("escape")
        await on_screen(it, CompareScreen)


async def test_the_comparison_follows_a_run_that_goes_on(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        it.engine.manual = True
        await it.press("r")
        await it.until(lambda: it.engine._pending)
        it.engine.advance(5)
        await it.until(lambda: len(it.session.results) == 2)
        await compared(it)
        assert not it.session.runs[1].result.complete
        it.engine.advance()
        table = it.app.screen.query_one("#depth-pair", DepthPair)
        await it.until(lambda: table.summary is not None and table.summary.depths[0].layer)


# What is aligned ------------------------------------------------------------


@pytest.mark.usefixtures("bos")
async def test_a_bos_token_is_aligned_and_told(tmp_path: Path) -> None:
    async with explore(tmp_path, engine) as it:
        screen = await compared_with_model(it, "org/bos")
        a, b = it.session.runs[0].result, it.session.runs[1].result
        assert len(b.tokens) == len(a.tokens) + 1
        said = f"B begins with {BOS}, A does not: token t of A is beside t + 1 of B."
        await it.until(lambda: said in words(it))
        difference = screen.query_one("#difference", DifferenceHeatmap)
        assert difference.is_ready
        ours = a.contributions.layer_norm_ratio
        theirs = b.contributions.layer_norm_ratio
        np.testing.assert_allclose(difference._values[:, 1:], ours - theirs[:, 1:])
        assert np.isnan(difference._values[:, 0]).all()
        # The cursor of each lens is on the same word.
        await it.press("0", "3", "l")
        lenses = [screen.query_one(f"#lens-{side}", LensTable) for side in "ab"]
        assert [lens.cursor.token for lens in lenses] == [2, 3]
        assert lenses[0].border_title == lenses[1].border_title


@pytest.mark.usefixtures("bos")
async def test_f_leaves_out_token_0_and_the_caveat_suggests_it(tmp_path: Path) -> None:
    async with explore(tmp_path, engine) as it:
        screen = await compared_with_model(it, "org/bos")
        table = screen.query_one("#depth-pair", DepthPair)
        before = table.summary.curves.kl.copy()
        assert "f leaves token 0 out of the means" in words(it)
        await it.press("f")
        await it.until(lambda: "Means are without token 0" in words(it))
        a = it.session.runs[0].result
        np.testing.assert_allclose(
            table.summary.curves.kl, a.logit_lens.kl[:, 1:].mean(axis=1), rtol=1e-5
        )
        assert not np.allclose(table.summary.curves.kl, before)
        assert "29 and 30 tokens, token 0 out" in words(it)
        assert not it.app.explorer.settings.include_first_token
        await it.press("f")
        await it.until(lambda: "f leaves token 0 out" in words(it))


async def test_other_tokens_are_compared_by_their_means(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        it.app.explorer.run(Prompt("two words"))
        await it.until(lambda: len(it.session.results) == 2)
        screen = await compared(it)
        assert screen.query_one("#difference", Heatmap).mode == "means"
        assert "The tokens differ (2 and 30)" in words(it)
        assert "f leaves" not in words(it)
        await it.press("a", "a")
        assert screen.query_one("#difference", Heatmap).mode == "means"


async def test_models_of_different_depth_share_a_relative_axis(tmp_path: Path) -> None:
    async with explore(tmp_path, engine) as it:
        screen = await compared_with_model(it, "org/shallow")
        await it.until(lambda: "30 and 20 layers, matched by relative depth" in words(it))
        difference = screen.query_one("#difference", DifferenceHeatmap)
        assert "30 and 20 layers: none of one" in difference.why_empty()[0]
        curves = screen.query_one("#curves", DepthCurves)
        assert "depth / L" in curves.render_line(curves.size.height - 1).text
        heatmaps = [screen.query_one(f"#heatmap-{side}", Heatmap) for side in "ab"]
        await it.press("1", "5", "G")
        assert [each.cursor.layer for each in heatmaps] == [15, 10]
        # Pointing into B moves A as far up.
        screen.query_one("#heatmap-b").post_message(_moved(heatmaps[1], Cursor(8, 3)))
        await it.until(lambda: heatmaps[1].cursor == Cursor(8, 3))
        assert heatmaps[0].cursor == Cursor(12, 3)
        await it.press("G", "j", "k", "a", "o", "y")
        assert it.app.error is None


def _moved(pane: Heatmap, cursor: Cursor):  # type: ignore[no-untyped-def]
    from depthtui.tui.widgets.pane import CursorMoved

    return CursorMoved(*cursor).set_sender(pane)


async def test_every_layer_of_the_deeper_model_can_be_reached(tmp_path: Path) -> None:
    async with explore(tmp_path, engine, spec=ModelSpec("org/shallow")) as it:
        screen = await compared_with_model(it, "org/deep")
        deeper = screen.query_one("#heatmap-b", Heatmap)
        await it.press("g")
        seen = {deeper.cursor.layer}
        for _ in range(30):
            await it.pilot.press("k")
            seen.add(deeper.cursor.layer)
        assert seen == set(range(31))


# What is drawn --------------------------------------------------------------


async def test_both_heatmaps_have_one_scale(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        await it.press("r")
        await it.until(lambda: len(it.session.results) == 2)
        a, b = it.session.runs[1].result, it.session.runs[0].result
        b.contributions.layer_norm_ratio *= 3
        screen = await compared(it)
        left, right = (screen.query_one(f"#heatmap-{side}", Heatmap) for side in "ab")
        difference = screen.query_one("#difference", Heatmap)
        for pane in (left, right, difference):
            assert pane.is_ready
        assert left._scale == right._scale
        assert left._scale.high > a.contributions.layer_norm_ratio.max()
        assert difference._scale.low == -difference._scale.high
        assert np.max(left._levels) < np.max(right._levels)


async def test_names_tell_models_or_prompts_apart(tmp_path: Path) -> None:
    async with explore(tmp_path, engine, size=(200, 60)) as it:
        screen = await compared_with_model(it, "org/other")
        curves = screen.query_one("#curves", DepthCurves)
        assert curves.names == ("A SmolLM2-135M-Instruct", "B other")
        await it.until(lambda: "┈┈◇ B other" in it.screen_text())
        assert "other " not in curves.names[0]
        await it.press("escape")
        await it.press("n")
        await it.until(lambda: len(it.session.results) == 3)
        await it.ready()
        screen = await compared(it)
        names = screen.query_one("#curves", DepthCurves).names
        assert names[0] != names[1]
        assert "SmolLM2" not in names[0]


async def table_of(it: Explored, edit: Callable[..., None]) -> list[str]:
    """The lines of the table after the results were edited."""
    it.app.explorer.run_on_model(it.session.current, ModelSpec("org/Qwen2.5-1.5B-Instruct"))
    await on_screen(it, CompareScreen)
    screen = it.app.screen
    table = screen.query_one("#depth-pair", DepthPair)
    edit(it.session.runs[0], it.session.runs[1])
    screen._show_runs()
    await it.pilot.pause()
    assert table.is_ready
    return [table.render_line(y).text for y in range(table.size.height)]


def step_at(kl: np.ndarray, layer: int) -> None:
    """Let the KL rule give this layer."""
    kl[:] = 1
    kl[layer:] = 0


@pytest.mark.parametrize("width", [120, 200])
async def test_the_table_has_both_depths_and_their_difference(tmp_path: Path, width: int) -> None:
    def edit(a, b) -> None:  # type: ignore[no-untyped-def]
        step_at(a.result.logit_lens.kl, 20)
        step_at(b.result.logit_lens.kl, 17)
        b.result.logit_lens.overlap[:-1] = 0

    async with explore(tmp_path, engine, size=(width, 60)) as it:
        lines = await table_of(it, edit)
        rows = {line.split()[0]: line.split()[1:] for line in lines if line.split()}
        assert rows["KL"] == ["20", "17", "+3", "0.70", "0.60", "+0.10"]
        assert rows["overlap"][1:3] == ["–", "–"]
        assert "B: the overlap never exceeds 0.3" in " ".join(" ".join(lines).split())


async def test_the_table_has_the_published_values(tmp_path: Path) -> None:
    def load(spec: ModelSpec) -> Iterator[Event]:
        yield ModelLoaded(model_info(spec, layers=28))

    async with explore(tmp_path, lambda: FakeEngine(load=load), size=(120, 60)) as it:
        lines = await table_of(it, lambda a, b: None)
        text = " ".join(" ".join(lines).split())
        assert "published, HellaSwag/GSM8K/AIME24" in text
        assert "KL A – B 21/22/23" in text


async def test_the_curves_of_two_runs_do_not_touch(tmp_path: Path) -> None:
    async with explore(tmp_path, engine) as it:
        screen = await compared_with_model(it, "org/other")
        curves = screen.query_one("#curves", DepthCurves)
        assert curves.is_ready
        for panel, top, following in zip(
            curves._panels, curves._tops, curves._tops[1:], strict=False
        ):
            assert top + len(panel.curve) < following


async def test_hostile_names_are_shown_as_text(tmp_path: Path) -> None:
    def load(spec: ModelSpec) -> Iterator[Event]:
        yield ModelLoaded(replace(model_info(spec), name=spec.name))

    async with explore(tmp_path, lambda: FakeEngine(load=load)) as it:
        it.app.explorer.run_on_model(it.session.current, ModelSpec("[/]\x1b[2Jevil"))
        await on_screen(it, CompareScreen)
        await it.until(lambda: "evil" in it.screen_text())
        assert "\x1b[2J" not in it.screen_text()
        assert it.app.error is None
