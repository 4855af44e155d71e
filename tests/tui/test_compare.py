"""Two runs side by side: how one gets there, what is aligned, and what is said about it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from textual.content import Content
from textual.widgets import Input, Static, TextArea

from depthtui.data.lens import LogitLens
from depthtui.data.model import ModelInfo
from depthtui.data.protocol import Event, ModelLoaded, Pace, StartRun
from depthtui.data.run import Prompt, PromptTokens, RunResult
from depthtui.data.run_settings import ModelSpec, RunSettings, SummarySettings
from depthtui.depth.verdict_words import comparison_sentence
from depthtui.metrics.contributions import Contributions
from depthtui.metrics.estimates import with_metric
from depthtui.metrics.registry import MEASURE_BY_NAME, METRIC_BY_NAME
from depthtui.settings import Settings
from depthtui.tui.draw.styles import line_colour
from depthtui.tui.panes.curves import DepthCurves
from depthtui.tui.panes.depth_pair import DepthPair
from depthtui.tui.panes.difference_heatmap import DifferenceHeatmap
from depthtui.tui.panes.heatmap import HeatmapPane
from depthtui.tui.panes.lens_table import LensTable
from depthtui.tui.panes.pane import Cursor, CursorMoved
from depthtui.tui.screens.compare_screen import (
    LACKS_NOTHING,
    MORE_COUNTS,
    NO_MORE_COUNTS,
    CompareScreen,
)
from depthtui.tui.screens.dialogs.ask import Ask
from depthtui.tui.screens.dialogs.export_screen import ExportScreen
from depthtui.tui.screens.dialogs.model_picker import ModelPicker
from depthtui.tui.screens.dialogs.prompt_picker import PromptPicker
from depthtui.tui.screens.dialogs.run_list import RunList
from depthtui.tui.screens.layer_screen import LayerScreen
from depthtui.tui.screens.main_screen import MainScreen
from depthtui.tui.state.comparison import lacks_headline
from depthtui.tui.state.saved_paces import pace_key
from depthtui.tui.state.session import RunState
from tests.builders.engines import FakeEngine
from tests.builders.models import model_info
from tests.builders.readings import verdict
from tests.builders.results import full_result, tokens_of
from tests.tui.app_helpers import SIZES, Explored, explore
from tests.tui.test_dialogs import three_runs

pytestmark = pytest.mark.usefixtures("reachable_hub")

BOS = "<s>"


def loads(spec: ModelSpec) -> Iterator[Event]:
    """Models of 30 layers; of 20 where the name says shallow."""
    yield ModelLoaded(model_info(spec, layers=20 if "shallow" in spec.name else 30))


def result_of(prompt: Prompt, model: ModelInfo, settings: RunSettings) -> RunResult:
    """The tokenizers of models called `bos` put a BOS token in front."""
    tokens = tokens_of(prompt)
    if "bos" in model.name:
        ids, texts = np.concatenate([[1], tokens.ids]), [BOS, *tokens.texts]
        tokens = PromptTokens(ids, texts, tokens.answer_start + 1)
    return full_result(prompt, model, settings, tokens=tokens)


def engine() -> FakeEngine:
    return FakeEngine(load=loads, results=result_of)


def words(it: Explored) -> str:
    return " ".join(it.screen_text().split())


async def on_screen(it: Explored, kind: type) -> None:
    await it.until(lambda: isinstance(it.app.screen, kind), kind.__name__)
    await it.pilot.pause()


async def compared(it: Explored) -> CompareScreen:
    """Compare with the run that is offered."""
    await it.press("b")
    await on_screen(it, RunList)
    await it.press("C")
    await on_screen(it, CompareScreen)
    assert isinstance(it.app.screen, CompareScreen)
    return it.app.screen


async def compared_with_model(it: Explored, name: str) -> CompareScreen:
    """Compare with the same prompt on another model, all by keys."""
    await it.press("b", "m")
    await on_screen(it, ModelPicker)
    it.app.screen.query_one("#name").value = name  # type: ignore[attr-defined]
    await it.press("f5")
    await on_screen(it, CompareScreen)
    assert isinstance(it.app.screen, CompareScreen)
    return it.app.screen


# Getting there --------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
async def test_two_runs_side_by_side(it: Explored, size: tuple[int, int]) -> None:
    await it.resize(*size)
    await it.press("r", until=lambda: len(it.session.results) == 2)
    screen = await compared(it)
    difference = screen.query_one("#difference", HeatmapPane)
    second, first = it.session.runs[1].result, it.session.runs[0].result
    assert (difference.result, difference.other_result) == (second, first)
    if size[0] >= 120:
        await it.until(lambda: "A - B · Layer contribution" in it.screen_text())
    await it.press("g", "0", "v", "4", until=lambda: it.app.screen.measure.name == "layer_cosine")
    for _ in screen.panes:
        await it.press("tab")
    assert "run 2" in it.screen_text()
    assert "The same tokens" in words(it)
    await it.press("escape", until=MainScreen)


async def test_the_headline_that_runs_lack_begins_by_itself_and_shows_its_time(
    tmp_path: Path,
) -> None:
    async with explore(tmp_path) as it:
        await it.press("r", until=lambda: len(it.session.results) == 2)
        it.app.explorer.automatic.most_seconds = 1e9
        it.engine.manual = True
        await compared(it)
        it.engine.advance(5)
        await it.until(lambda: "knowledge kept" in words(it), "its work")
        it.engine.advance()
        await it.until(lambda: len(it.engine.sent(StartRun)) == 4, "the other run's")
        it.engine.advance()
        await it.until(lambda: not any(map(lacks_headline, it.session.runs)))


async def test_both_runs_have_the_palettes_colours(tmp_path: Path) -> None:
    settings = Settings(cache_dir=tmp_path, palette="amber")
    async with explore(tmp_path, settings=settings) as it:
        await it.press("r", until=lambda: len(it.session.results) == 2)
        screen = await compared(it)
        names, curves = screen.query_one("#compared", Static), screen.query_one(DepthCurves)

        def colours_of_names() -> list[str]:
            content = names.content
            assert isinstance(content, Content)
            styles = [str(span.style) for span in content.spans]
            return [style.split()[1] for style in styles if style.startswith("bold #")]

        def expected(name: str) -> list[str]:
            return [line_colour(it.app.current_theme.dark, place, name) for place in (0, 1)]

        assert curves.view.palette == "amber"
        assert colours_of_names() == expected("amber")
        it.app.explorer.change(palette="blue-yellow")
        it.app.settings.apply()
        await it.until(lambda: colours_of_names() == expected("blue-yellow"))
        assert curves.view.palette == "blue-yellow"


async def test_the_marked_run_is_the_one_compared(it: Explored) -> None:
    for count in (2, 3):
        await it.press("n")
        await it.until(lambda count=count: len(it.session.results) == count)
    await it.ready()
    await it.press("b")
    await on_screen(it, RunList)
    await it.press("end", "C")
    await on_screen(it, CompareScreen)
    assert "A run 3" in it.screen_text()
    assert "B run 1" in it.screen_text()


async def test_the_same_prompt_on_another_model_is_one_choice(tmp_path: Path) -> None:
    async with explore(tmp_path, engine) as it:
        first = it.session.current
        await it.press("b")
        await on_screen(it, RunList)
        # There is no other run yet.
        await it.press("C")
        assert "m runs the prompt on another model" in it.toasts()[-1]
        await it.press("m")
        await on_screen(it, ModelPicker)
        it.app.screen.query_one("#name").value = "org/other"  # type: ignore[attr-defined]
        await it.press("f5")
        await on_screen(it, CompareScreen)
        await it.until(lambda: "B run 2 other" in words(it))
        assert it.session.runs[0] is first
        assert it.session.runs[1].prompt == first.prompt
        await it.press("escape", until=MainScreen)
        assert it.main.run is it.session.runs[1]


async def test_a_finished_comparison_waits_for_a_dialog_to_close(tmp_path: Path) -> None:
    async with explore(tmp_path, engine) as it:
        await it.press("b")
        await on_screen(it, RunList)
        it.app.explorer.run_on_model(it.session.current, ModelSpec("org/other"))
        await it.until(lambda: it.app.explorer.pair.ready is not None)
        it.main.redraw()
        assert it.app.explorer.pair.ready is not None
        assert isinstance(it.app.screen, RunList)
        await it.press("escape")
        await on_screen(it, CompareScreen)


async def test_the_comparison_follows_a_run_that_goes_on(it: Explored) -> None:
    it.engine.manual = True
    await it.press("r", until=lambda: it.engine._pending)
    it.engine.advance(5)
    await it.until(lambda: len(it.session.results) == 2)
    await compared(it)
    assert not it.session.runs[1].result.complete
    it.engine.advance()
    table = it.app.screen.query_one("#depth-pair", DepthPair)
    await it.until(lambda: table.reading is not None and table.reading.depths[0].layer)


async def test_the_cursor_stays_where_it_is_in_a(tmp_path: Path) -> None:
    async with explore(tmp_path, engine) as it:
        await it.press("7", "G", "0", "3", "l")
        assert it.main.cursor == Cursor(7, 3)
        screen = await compared_with_model(it, "org/bos-shallow")
        lenses = [screen.query_one(f"#lens-{side}", LensTable) for side in "ab"]
        assert [lens.cursor for lens in lenses] == [Cursor(7, 3), Cursor(5, 4)]
        assert lenses[0].border_title == lenses[1].border_title
        await it.press("escape", until=MainScreen)
        it.main.go(20, 2)
        screen = await compared(it)
        assert screen.query_one("#lens-a", LensTable).cursor == Cursor(20, 2)
        assert screen.query_one("#difference", HeatmapPane).cursor == Cursor(30, 2)


async def test_both_runs_are_saved_in_every_format(tmp_path: Path) -> None:
    async with explore(tmp_path, engine) as it:
        await compared_with_model(it, "org/shallow")
        await it.press("e")
        await on_screen(it, ExportScreen)
        await it.press("enter")
        await on_screen(it, CompareScreen)
        files = list((tmp_path / "exports").iterdir())
        assert {path.suffix[1:] for path in files} == {"md", "json", "html", "safetensors", "svg"}
        (markdown,) = (path.read_text() for path in files if path.suffix == ".md")
        assert "A beside B" in markdown
        assert "of 30 layers" in markdown
        assert "of 20 layers" in markdown


# What is aligned ------------------------------------------------------------


async def test_a_bos_token_is_aligned_and_told(tmp_path: Path) -> None:
    async with explore(tmp_path, engine) as it:
        screen = await compared_with_model(it, "org/bos")
        a, b = it.session.runs[0].result, it.session.runs[1].result
        assert len(b.tokens) == len(a.tokens) + 1
        said = f"B begins with {BOS}, A does not: token t of A is beside t + 1 of B."
        await it.until(lambda: said in words(it))
        difference = screen.query_one("#difference", DifferenceHeatmap)
        assert difference.is_ready
        ours = a.get(Contributions).layer_norm_ratio
        theirs = b.get(Contributions).layer_norm_ratio
        np.testing.assert_allclose(difference._values[:, 1:], ours - theirs[:, 1:])
        assert np.isnan(difference._values[:, 0]).all()
        # The cursor of each lens is on the same word.
        await it.press("0", "3", "l")
        lenses = [screen.query_one(f"#lens-{side}", LensTable) for side in "ab"]
        assert [lens.cursor.token for lens in lenses] == [2, 3]
        assert lenses[0].border_title == lenses[1].border_title

        # Token 0 is what the caveat suggests to leave out.
        table = screen.query_one("#depth-pair", DepthPair)
        before = table.reading.curves["kl"].copy()
        assert "u leaves token 0 out of the means" in words(it)
        await it.read(include_first_token=False)
        await it.until(lambda: "Means are without token 0" in words(it))
        np.testing.assert_allclose(
            table.reading.curves["kl"], a.get(LogitLens).kl[:, 1:].mean(axis=1), rtol=1e-5
        )
        assert not np.allclose(table.reading.curves["kl"], before)
        assert "29 and 30 tokens, token 0 out" in words(it)
        assert not it.app.explorer.settings.include_first_token
        await it.read(include_first_token=True)
        await it.until(lambda: "u leaves token 0 out" in words(it))


async def test_other_tokens_are_compared_by_their_means(it: Explored) -> None:
    it.app.explorer.run(Prompt("two words"))
    await it.until(lambda: len(it.session.results) == 2)
    screen = await compared(it)
    assert screen.query_one("#difference", HeatmapPane).view.mode == "means"
    assert "The tokens differ (2 and 30)" in words(it)
    assert "f leaves" not in words(it)
    await it.press("a", "a")
    assert screen.query_one("#difference", HeatmapPane).view.mode == "means"


async def test_a_comparison_that_is_gone_updates_no_footer(it: Explored) -> None:
    await three_runs(it)
    screen = await compared(it)
    await it.app.pop_screen()
    assert not screen.children
    screen.refresh_keys()


async def test_models_of_different_depth_share_a_relative_axis(tmp_path: Path) -> None:
    async with explore(tmp_path, engine) as it:
        screen = await compared_with_model(it, "org/shallow")
        await it.until(lambda: "by relative depth (30 and 20 layers)" in words(it))
        difference = screen.query_one("#difference", DifferenceHeatmap)
        assert difference.is_ready
        assert len(difference._values) == 30
        curves = screen.query_one("#curves", DepthCurves)
        assert "depth / L" in curves.render_line(curves.size.height - 1).text
        lenses = [screen.query_one(f"#lens-{side}", LensTable) for side in "ab"]
        await it.press("1", "5", "G")
        assert [lens.cursor.layer for lens in lenses] == [15, 10]
        assert difference.cursor.layer == 15
        # Pointing into B moves A as far up.
        lenses[1].post_message(CursorMoved(8, 3).set_sender(lenses[1]))
        await it.until(lambda: lenses[1].cursor.layer == 8)
        assert lenses[0].cursor.layer == 12
        await it.press("G", "j", "k", "a", "o", "y")
        assert it.app.error is None


async def test_one_prompt_each_gives_no_direction(it: Explored) -> None:
    await three_runs(it)
    for run in it.session.runs:
        # The lens reads the output from this depth on, and nothing before it.
        depth, lens = {1: 20, 2: 20, 3: 10}[run.number], run.result.get(LogitLens)
        lens.kl[:], lens.overlap[:] = 10.0, 0.0
        lens.kl[depth:], lens.overlap[depth:] = 0.0, 1.0
    results = [run.result for run in it.session.runs]
    a, b = (verdict([result], SummarySettings()) for result in (results[2], results[1]))
    await it.press("b", until=RunList)
    await it.press("C", until=CompareScreen)
    said = comparison_sentence(a, b)
    assert said.startswith("One prompt each gives no direction: KL 11 of 30 and 21 of 30")
    await it.until(lambda: said in words(it), said)


async def test_it_names_the_missing_headline_and_i_computes_it_on_both_sides(
    it: Explored, monkeypatch: pytest.MonkeyPatch
) -> None:
    await three_runs(it)
    await compared(it)
    a, b = it.session.runs[2], it.session.runs[1]
    missing = "Knowledge kept: not measured in {}, i computes it."
    await it.until(lambda: missing.format("A and B") in words(it))
    await it.press("i", until=lambda: a.result.has_all("kept") and not a.state.is_live)
    await it.until(lambda: missing.format("B") in words(it))
    await it.press("i", until=lambda: b.result.has_all("kept"))
    await it.until(lambda: "not measured" not in words(it))
    await it.press("i")
    assert it.toasts()[-1] == LACKS_NOTHING
    a.state = b.state = RunState.STOPPED
    assert lacks_headline(b) == []
    monkeypatch.setattr(type(b.result.measured["kept"]), "is_whole", False)
    it.app.screen.redraw()
    await it.until(lambda: "Knowledge kept: not finished in A and B, i computes it." in words(it))


async def test_it_says_where_two_runs_part(it: Explored) -> None:
    await three_runs(it)
    it.session.runs[1].result = full_copy(it.session.runs[2].result)
    it.session.runs[1].result.get(Contributions).attention_cosine[12] *= -1
    await compared(it)
    await it.until(lambda: "They part at layer 12, by attention: its work" in words(it))


# What one side lacks --------------------------------------------------------


def full_copy(result: RunResult) -> RunResult:
    return copy.deepcopy(result)


async def test_where_nothing_can_be_compared_the_reason_and_the_key_are_named(it: Explored) -> None:
    for text in ("one two", "two one"):
        it.app.explorer.run(Prompt(text))
        await it.ready()
    await compared(it)
    await it.until(lambda: "Too short: no verdict on" in words(it))
    assert "A and B cannot be compared: " in words(it)
    assert "Knowledge kept: not measured in A and B, i computes it." in words(it)
    for left in ("B", ""):
        await it.press("i")
        await it.until(
            lambda left=left: (f"measured in {left}," if left else NO_MORE_COUNTS) in words(it)
        )


async def test_counts_that_neither_run_has_are_computed_on_their_own_page(
    it: Explored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("depthtui.tui.screens.compare_screen.lacks_headline", lambda run: [])
    monkeypatch.setattr("depthtui.depth.verdict_words._is_reliable", lambda measure: False)
    await it.press("r", until=lambda: len(it.session.results) == 2)
    await compared(it)
    await it.until(lambda: "cannot be compared: no count is reliable in both" in words(it))
    assert MORE_COUNTS in words(it)


async def test_i_computes_what_one_run_lacks(tmp_path: Path) -> None:
    async with explore(tmp_path, engine) as it:
        screen = await compared_with_model(it, "org/other")
        a, b = it.session.runs
        screen.measure = MEASURE_BY_NAME["skip_effects"]
        screen.action_go_to("difference")
        await it.press("i")
        # A comes first, whose model is not loaded any more: it is loaded after a question.
        await on_screen(it, Ask)
        await it.press("i", until=lambda: a.result.has_all("skip_effects") and not a.state.is_live)
        assert it.app.screen is screen
        assert not b.result.has_all("skip_effects")
        difference = screen.query_one("#difference", HeatmapPane)
        await it.until(lambda: difference.why_empty()[0] == "B lacks Skip effects.")
        await it.until(lambda: "B lacks Skip effects: i computes it" in words(it))
        pace = with_metric(Pace(), METRIC_BY_NAME["skip_effects"], b.result, 4.0)
        it.app.explorer.engine.paces[pace_key(b.model)] = pace
        screen.redraw()
        await it.until(lambda: "B lacks Skip effects: i computes it, about 4 s." in words(it))
        # From A's pane, which has all: the run beside it is filled in.
        await it.press("i")
        await on_screen(it, Ask)
        await it.press("i", until=lambda: b.result.has_all("skip_effects") and not b.state.is_live)
        await it.until(lambda: "lacks" not in words(it))
        assert difference.is_ready


async def test_b_computes_by_the_choices_of_a(it: Explored) -> None:
    await three_runs(it)
    a, b = it.session.runs[2], it.session.runs[1]
    it.app.explorer.compute("skip_effects", run=a, layers="/4")
    await it.until(lambda: a.result.has_all("skip_effects") and not a.state.is_live)
    screen = await compared(it)
    screen.action_go_to("difference")
    await it.press("i", until=lambda: b.result.has_all("skip_effects"))
    assert b.settings.layers == "/4"
    assert it.session.current is a


async def test_another_prompt_on_the_same_model_is_compared(it: Explored) -> None:
    first = it.session.current
    await it.press("b", "p")
    await on_screen(it, PromptPicker)
    await prompted(it, "Another one of these")
    screen = it.app.screen
    assert [run.prompt.text for run in screen._runs] == [
        first.prompt.text,
        "Another one of these",
    ]
    assert screen._runs[1].model == first.model
    # And from the comparison itself, beside the same A.
    await it.press("p")
    await on_screen(it, PromptPicker)
    await prompted(it, "A third one")
    assert it.app.screen is not screen
    assert [run.number for run in it.app.screen._runs] == [1, 3]


async def prompted(it: Explored, text: str) -> None:
    """Run what is written in the prompt's dialog, and wait for the comparison."""
    it.app.screen.query_one("#answer", Input).value = ""
    it.app.screen.query_one(TextArea).text = text
    await it.press("f5")
    await on_screen(it, CompareScreen)


# A layer, and back ----------------------------------------------------------


async def test_a_layer_of_either_side_is_opened_and_left(tmp_path: Path) -> None:
    async with explore(tmp_path, engine) as it:
        screen = await compared_with_model(it, "org/bos-shallow")
        a, b = it.session.runs
        lens_b = screen.query_one("#lens-b", LensTable)
        screen.action_go_to("lens-b")
        screen.go(15, 5)
        assert lens_b.cursor.layer == 10
        await it.press("enter")
        await on_screen(it, LayerScreen)
        # Column 5 has token 4 of A, and B has a token more in front.
        assert (it.app.screen._run, it.app.screen.cursor) == (b, Cursor(10, 5))
        await it.press("k", "l")
        assert it.app.screen.cursor == Cursor(11, 6)
        await it.press("escape", until=lambda: it.app.screen is screen)
        assert lens_b.cursor == Cursor(11, 6)
        # A's model is loaded first.
        screen.action_go_to("lens-a")
        screen.go(15, 5)
        await it.press("enter")
        await on_screen(it, Ask)
        await it.press("enter")
        await on_screen(it, LayerScreen)
        assert (it.app.screen._run, it.app.screen.cursor) == (a, Cursor(15, 4))
        await it.press("l", "escape", until=lambda: it.app.screen is screen)
        assert screen.cursor == Cursor(15, 6)


async def test_the_differences_rows_are_the_deeper_models_and_its_layers_as(tmp_path: Path) -> None:
    async with explore(tmp_path, engine) as it:
        await compared_with_model(it, "org/shallow")
        await it.press("escape", until=MainScreen)
        screen = await compared(it)
        shallow = it.session.runs[1]
        screen.action_go_to("difference")
        screen.go(15, 5)
        await it.press("enter")
        await on_screen(it, LayerScreen)
        assert (it.app.screen._run, it.app.screen.cursor) == (shallow, Cursor(10, 5))
        await it.press("k", "escape", until=lambda: it.app.screen is screen)
        # The row that is nearest to layer 11 of 20.
        assert screen.cursor == Cursor(16, 5)


async def test_the_reason_is_told_where_a_run_cannot_have_what_it_lacks(it: Explored) -> None:
    await three_runs(it)
    screen = await compared(it)
    for run in screen._runs:
        run.result.unavailable["skip_effects"] = "it [/] cannot"
    screen.measure = MEASURE_BY_NAME["skip_effects"]
    screen.action_go_to("difference")
    await it.press("i")
    assert it.toasts()[-1] == "Skip effects is unavailable: it [/] cannot."


# At the answer --------------------------------------------------------------


async def test_other_prompts_are_aligned_at_their_answers(it: Explored) -> None:
    it.app.explorer.run(Prompt("The capital of France is Paris", " Paris"))
    await it.until(lambda: len(it.session.results) == 2)
    it.app.explorer.run(Prompt("One and two make three or so", " three or so"))
    await it.until(lambda: len(it.session.results) == 3)
    await it.ready()
    it.main.go(7, 0)
    screen = await compared(it)
    assert screen.query_one("#lens-a", LensTable).cursor.layer == 7
    aligned = "Aligned where the answers begin: 5 of 7 and 6 tokens are side by side."
    await it.until(lambda: aligned in words(it), words(it))
    lenses = [screen.query_one(f"#lens-{side}", LensTable) for side in "ab"]
    assert [lens.cursor.token for lens in lenses] == [3, 4]
    difference = screen.query_one("#difference", DifferenceHeatmap)
    assert difference.is_ready
    # Other answers differ, whatever the model does.
    assert "first choices" not in words(it)
