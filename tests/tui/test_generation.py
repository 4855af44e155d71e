"""Watching the model write, on a scripted engine: keys, panes, stopping, saving."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from textual.widgets import Input

from depthtui.data.lens import LogitLens
from depthtui.data.protocol import (
    Failed,
    GeneratedTokens,
    GenerationFinished,
    StartGeneration,
    StartRun,
    Stop,
)
from depthtui.data.run import Prompt
from depthtui.data.run_settings import GenerationSettings
from depthtui.depth.reading import text_verdicts
from depthtui.report.formats import format_titles
from depthtui.report.generation import trend_sentence
from depthtui.settings import Settings
from depthtui.tui.panes.token_depth_curve import TokenDepthCurve
from depthtui.tui.panes.token_lens import TokenLens
from depthtui.tui.screens.dialogs.export_screen import ExportScreen
from depthtui.tui.screens.dialogs.generation_form import GenerationForm
from depthtui.tui.screens.generation_screen import GenerationScreen
from depthtui.tui.screens.main_screen import MainScreen
from depthtui.tui.state.generation import GenerationState
from tests.builders.generations import full_generation, parts_of
from tests.builders.models import LAYERS, model_info
from tests.tui.app_helpers import SIZES, Explored, explore


async def open_generation(it: Explored, manual: bool = False) -> GenerationScreen:
    it.engine.manual = manual
    await it.press("w")
    await it.until(lambda: isinstance(it.app.screen, GenerationScreen), "the screen")
    screen = it.app.screen
    assert isinstance(screen, GenerationScreen)
    if not manual:
        await it.until(
            lambda: screen.generation_state and screen.generation_state.stage == "done", "the text"
        )
        await it.until(lambda: "of 0-255" in it.screen_text(), "the drawn text")
    return screen


def asked(it: Explored) -> GenerationSettings:
    command = it.engine.sent(StartGeneration)[-1]
    assert isinstance(command, StartGeneration)
    return command.settings


# The text without a screen --------------------------------------------------


def test_events_become_a_text() -> None:
    generation = full_generation(Prompt("a b c", "c"), model_info(), stopped_by="end")
    state = GenerationState(3, model_info(), Prompt("a b c", "c"), GenerationSettings())
    for part in parts_of(generation.continuation):
        assert state.handle(GeneratedTokens(3, part, 2.0))
    assert state.generation.continuation.texts == generation.continuation.texts
    assert state.tokens_per_second == 20
    assert not state.handle(GenerationFinished(4, generation))
    assert state.is_live
    state.handle(GenerationFinished(3, generation))
    assert not state.is_live
    prompt = state.as_prompt()
    # The end token is none of its words.
    assert prompt.text == "a b " + "".join(generation.continuation.texts[:-1])
    assert prompt.question == "a b "
    assert prompt.task == "written"


def test_a_text_that_fails_keeps_what_there_is() -> None:
    generation = full_generation(Prompt("a"), model_info())
    state = GenerationState(3, model_info(), Prompt("a"), GenerationSettings())
    state.handle(GeneratedTokens(3, generation.continuation, 1.0))
    state.handle(Failed("It broke.", "Mend it.", 3))
    assert (state.stage, state.problem) == ("failed", "It broke. Mend it.")
    assert len(state.generation.continuation) == 40


# The screen -----------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
async def test_it_shows_text_curve_and_lens(tmp_path: Path, size: tuple[int, int]) -> None:
    settings = Settings(ramp="truecolor", use_cache=False)
    async with explore(tmp_path, size=size, settings=settings) as it:
        await open_generation(it)
        text = it.screen_text()
        assert " so the ferry waits, and seven boats." in text
        assert "Prediction depth" in text
        assert "mean prediction depth" in text
        assert "token 255 of 0-255" in text
        generation = it.app.explorer.work.text.generation
        assert text_verdicts(generation)["text"].sentence in " ".join(text.split())
        trend = trend_sentence(generation.continuation)
        assert (trend in " ".join(text.split())) == (size[0] > 80)
        if size[0] > 80:
            assert "Lens that chose" in text
            assert "cut at the token limit" in text
        else:
            await it.press("tab", "tab")
            assert "Lens that chose" in it.screen_text()
            assert "Prediction depth ─" not in it.screen_text()
        footer = text.splitlines()[-1]
        assert "quit" in footer


async def test_the_lens_that_it_was_written_through_is_named(tmp_path: Path) -> None:
    settings = Settings(lens="affine", use_cache=False)
    async with explore(tmp_path, size=(200, 60), settings=settings) as it:
        screen = await open_generation(it)
        assert 'Affine lens that chose "' in it.screen_text()
        # Its values are the text's own.
        written = screen.generation_state.generation.continuation
        assert screen.shown_result().get(LogitLens) is written.lens


async def test_it_grows_and_the_cursor_follows_until_it_is_moved(tmp_path: Path) -> None:
    async with explore(tmp_path, settings=Settings(ramp="truecolor", use_cache=False)) as it:
        screen = await open_generation(it, manual=True)
        assert "reading the prompt" in it.screen_text()
        it.engine.advance(3)
        await it.until(lambda: screen.cursor.token == 9, "the second part")
        assert "10 of 256 tokens" in it.screen_text()
        await it.press("h", "h")
        it.engine.advance(1)
        await it.until(lambda: "15 of 256 tokens" in it.screen_text(), "the third part")
        assert screen.cursor.token == 7
        await it.press("dollar_sign")
        it.engine.advance(1)
        await it.until(lambda: screen.cursor.token == 19, "the fourth part")


async def test_escape_stops_and_then_goes_back(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        screen = await open_generation(it, manual=True)
        it.engine.advance(4)
        await it.until(lambda: screen.cursor.token == 14, "some tokens")
        await it.press("escape")
        await it.until(lambda: isinstance(it.engine.commands[-1], Stop), "the key")
        await it.until(lambda: not screen.generation_state.is_live, "the end")
        assert len(screen.generation_state.generation.continuation) == 15
        assert "stopped" in it.screen_text()
        await it.press("escape")
        assert isinstance(it.app.screen, MainScreen)
        await it.press("w")
        # The same text is still there.
        await it.until(lambda: "token 14 of 0-14" in it.screen_text(), "the text again")
        assert len(it.engine.sent(StartGeneration)) == 1


async def test_measures_go_round_and_the_lens_is_of_the_token_under_the_cursor(
    tmp_path: Path,
) -> None:
    async with explore(tmp_path) as it:
        screen = await open_generation(it)
        # A token is decided where the lens keeps its first choice; it may settle before.
        assert "Prediction depth" in it.screen_text()
        curve = screen.query_one(TokenDepthCurve)
        shown = screen.generation_state.generation.continuation.depths.prediction
        np.testing.assert_array_equal(curve._depths, shown)
        assert curve.measure.limits == (0, LAYERS)
        await it.press("right_square_bracket", "right_square_bracket")
        assert "KL depth" in it.screen_text()
        await it.press("0", "2", "l")
        assert screen.cursor.token == 2
        lens = screen.query_one(TokenLens)
        assert 'Lens that chose "·and"' in str(lens.border_title)
        assert "token 2 of 0-255" in it.screen_text()


async def test_the_dialog_sets_how_it_writes_and_keys_write_again(tmp_path: Path) -> None:
    settings = Settings(seed=11, lens_top_k=3, use_cache=False)
    async with explore(tmp_path, size=(80, 24), settings=settings) as it:
        await open_generation(it)
        assert (asked(it).seed, asked(it).lens_top_k, asked(it).temperature) == (11, 3, 0)
        await it.press("t")
        dialog = it.app.screen
        assert isinstance(dialog, GenerationForm)
        dialog.query_one("#temperature", Input).value = "hot"
        await it.press("enter")
        assert "Temperature must be a number of at least 0." in it.screen_text()
        dialog.query_one("#temperature", Input).value = "nan"
        await it.press("enter")
        assert it.app.screen is dialog
        dialog.query_one("#temperature", Input).value = "0.5"
        dialog.query_one("#max_tokens", Input).value = "7"
        await it.press("enter")
        assert (asked(it).temperature, asked(it).max_tokens) == (0.5, 7)
        await it.until(lambda: "of 0-6" in it.screen_text(), "the new text")
        assert "temperature 0.5 · seed 11" in it.screen_text()
        again = asked(it)
        await it.press("r")
        assert asked(it) == again
        await it.press("R")
        assert (asked(it).temperature, asked(it).max_tokens) == (0.5, 7)
        assert len(it.engine.sent(StartGeneration)) == 4


async def test_the_text_is_exported_and_read_teacher_forced(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        await open_generation(it)
        await it.press("e")
        dialog = it.app.screen
        assert isinstance(dialog, ExportScreen)
        dialog.query_one("#file-name", Input).value = "text"
        await it.press("f5")
        await it.until(lambda: it.app.screen is not dialog, "the files")
        written = {path.name for path in (tmp_path / "exports").iterdir()}
        assert written == {f"text.{end}" for end in (*format_titles("generations"), "svg")}
        expected = it.app.explorer.work.text.as_prompt()
        # Its second token is the one that is looked at.
        await it.press("0", "l", "4", "j", "enter")
        assert isinstance(it.app.screen, MainScreen)
        await it.ready()
        command = it.engine.sent(StartRun)[-1]
        assert isinstance(command, StartRun)
        assert command.prompt == it.session.current.prompt == expected
        start = it.session.current.result.tokens.answer_start
        assert start > 0
        assert it.main.cursor == (26, start + 1)


async def test_hostile_tokens_are_drawn_harmlessly(tmp_path: Path) -> None:
    async with explore(tmp_path, size=(80, 24)) as it:
        it.engine.hostile = True
        screen = await open_generation(it)
        await it.press("tab", "tab", *["h"] * 40)
        assert "\x1b" not in it.screen_text()
        assert "\u202e" not in it.screen_text()
        assert screen.is_running


async def test_an_engine_that_dies_leaves_the_text(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        screen = await open_generation(it, manual=True)
        it.engine.advance(3)
        await it.until(lambda: screen.cursor.token == 9, "some tokens")
        it.engine.die()
        await it.until(lambda: screen.generation_state.stage == "failed", "the end")
        await it.press("escape")
        assert isinstance(it.app.screen, MainScreen)
        assert len(it.app.explorer.work.text.generation.continuation) == 10


async def test_another_prompt_gets_another_text_and_a_failure_is_said(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        await open_generation(it)
        await it.press("escape", "n")
        await it.ready()
        it.engine.manual = True
        await it.press("w")
        await it.until(lambda: len(it.engine.sent(StartGeneration)) == 2, "a second text")
        command = it.engine.sent(StartGeneration)[-1]
        it.engine.say(Failed("The prompt is too long.", "Shorten it.", command.run_id))
        await it.until(lambda: it.toasts(), "a toast")
        assert "The prompt is too long. Shorten it." in it.toasts()[-1]
