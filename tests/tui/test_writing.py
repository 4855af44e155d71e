"""A model writes the answer on the main screen: its tokens come, are followed, ended, kept."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from textual.widgets import Input

from depthtui.data.protocol import Failed, LoadModel, StartRun, Stop
from depthtui.data.run_settings import ModelSpec, Writing
from depthtui.settings import Settings
from depthtui.tui.panes.prompt_pane import PromptPane
from depthtui.tui.panes.token_depths_pane import TokenDepthsPane
from depthtui.tui.screens.dialogs.ask import Ask
from depthtui.tui.screens.dialogs.export_screen import ExportScreen
from depthtui.tui.screens.dialogs.model_picker import ModelPicker
from depthtui.tui.screens.dialogs.writing_form import WritingForm
from depthtui.tui.screens.main_screen import MainScreen
from depthtui.tui.state.session import RunState, SessionRun
from depthtui.tui.state.task_prompts import first_prompt
from tests.builders.engines import FakeEngine
from tests.tui.app_helpers import SIZES, Explored, explore
from tests.tui.test_compare import compared
from tests.tui.test_sessions import opened, quit_
from tests.tui.test_what_if import idle, open_what_if


async def written(it: Explored) -> SessionRun:
    """The run of a text of 256 words."""
    await it.press("w")
    await it.until(lambda: current(it).prompt.written, "the text")
    await it.ready()
    return current(it)


async def writing(it: Explored, parts: int) -> SessionRun:
    """A run that is being written, of which so many parts of five words are there."""
    it.engine.manual = True
    await it.press("w")
    await it.until(lambda: len(asked(it)) == 2, "the key")
    it.engine.advance(1 + parts)
    await it.until(lambda: len(it.session.runs) == 2 and current(it).n_written == 5 * parts)
    await it.until(lambda: it.main.cursor.token == newest(it), "the newest token")
    return current(it)


def current(it: Explored) -> SessionRun:
    run = it.session.current
    assert isinstance(run, SessionRun)
    return run


def newest(it: Explored) -> int:
    """Where the newest token was predicted."""
    result = current(it).result
    return -1 if result is None else max(len(result.tokens) - 2, result.answer_start - 1)


def asked(it: Explored) -> list[StartRun]:
    return [command for command in it.engine.commands if isinstance(command, StartRun)]


@pytest.mark.parametrize("size", SIZES)
async def test_tokens_come_on_the_main_screen(it: Explored, size: tuple[int, int]) -> None:
    await it.resize(*size)
    run = await writing(it, 2)
    assert it.app.screen is it.main
    assert it.main.measure.name == "prediction_depth"
    pane = it.main.query_one(TokenDepthsPane)
    await it.until(lambda: pane.is_on_screen or size == (80, 24))
    await it.until(lambda: "10 of 256 tokens" in it.screen_text(), "the status")
    shown = it.main.query_one(PromptPane).drawn_result
    assert shown.tokens.texts[-10:-7] == [" so", " the", " ferry"]
    it.engine.advance()
    await it.ready()
    assert run.state is RunState.FINISHED
    assert run is current(it)
    assert run.result is not None
    assert run.prompt.written is not None
    assert len(run.prompt.written.ids) == 256
    assert run.prompt.question == first_prompt().question
    assert it.main.cursor.token == newest(it)
    assert it.main.measure.name == "prediction_depth"
    await it.press("r")
    it.engine.advance()
    await it.until(lambda: current(it) is not run, "another run")
    await it.until(lambda: it.main.measure.name == it.app.explorer.settings.measure)


async def test_the_cursor_follows_the_newest_token_until_it_is_moved(it: Explored) -> None:
    run = await writing(it, 2)
    await it.press("h", "h")
    there = newest(it) - 2
    assert it.main.cursor.token == there
    it.engine.advance(1)
    await it.until(lambda: run.n_written == 15 and "15 of 256" in it.screen_text())
    assert it.main.cursor.token == there
    await it.press("dollar_sign")
    it.engine.advance(1)
    await it.until(lambda: run.n_written == 20 and it.main.cursor.token == newest(it))


async def test_escape_ends_the_text_which_is_measured_as_far_as_it_is(it: Explored) -> None:
    run = await writing(it, 3)
    cursor = it.main.cursor
    await it.press("escape")
    await it.until(lambda: len(asked(it)) == 3, "its measurement")
    assert isinstance(it.engine.commands[-2], Stop)
    assert asked(it)[-1].write is None
    assert asked(it)[-1].prompt == run.prompt
    it.engine.advance()
    await it.until(lambda: run.state is RunState.FINISHED, "the measured run")
    assert run.result is not None
    assert run.result.complete
    assert run.prompt.written is not None
    assert (len(run.prompt.written.ids), run.prompt.written.stopped_by) == (15, "user")
    await it.until(lambda: it.main.cursor == cursor, "the cursor")


async def test_a_second_escape_ends_its_measurement(it: Explored) -> None:
    run = await writing(it, 3)
    await it.press("escape")
    await it.until(lambda: len(asked(it)) == 3, "its measurement")
    it.engine.advance(1)
    await it.until(lambda: run.state is RunState.RUNNING, "its start")
    await it.press("q", until=Ask)
    assert "A text is being written" not in it.screen_text()
    await it.press("escape", "escape")
    await it.until(lambda: run.state is RunState.STOPPED, "the end")
    await it.pilot.pause()
    assert len(asked(it)) == 3
    assert run.n_written == 15


async def test_the_form_sets_how_the_model_writes(tmp_path: Path) -> None:
    async with explore(tmp_path, size=(80, 24), settings=Settings(seed=11, use_cache=False)) as it:
        await it.press("W")
        dialog = it.app.screen
        assert isinstance(dialog, WritingForm)
        for wrong in ("hot", "nan"):
            dialog.query_one("#temperature", Input).value = wrong
            await it.press("enter")
            assert it.app.screen is dialog
            assert "Temperature must be a number of at least 0." in it.screen_text()
        dialog.query_one("#temperature", Input).value = "0.5"
        dialog.query_one("#max_tokens", Input).value = "7"
        await it.press("enter")
        await it.until(lambda: current(it).prompt.written, "the text")
        assert asked(it)[-1].write == Writing(7, temperature=0.5, seed=11)
        assert not asked(it)[-1].fresh, "another text is on the screen"
        # From now on: the key alone writes so.
        await it.ready()
        first = current(it)
        await it.press("w", until=lambda: len(it.session.runs) == 3 and current(it).prompt.written)
        again = replace(asked(it)[-2], run_id=asked(it)[-1].run_id, fresh=True, recall=False)
        assert asked(it)[-1] == again
        assert current(it).prompt == first.prompt


async def test_hostile_tokens_are_drawn_harmlessly(it: Explored) -> None:
    await it.resize(80, 24)
    it.engine.hostile = True
    await written(it)
    await it.press("tab", "tab", *["h"] * 40)
    assert "\x1b" not in it.screen_text()
    assert "\u202e" not in it.screen_text()


async def test_another_model_asks_and_keeps_the_tokens(it: Explored) -> None:
    run = await writing(it, 2)
    await it.press("m", until=ModelPicker)
    it.app.screen.dismiss(ModelSpec("other/model"))
    await it.until(lambda: isinstance(it.app.screen, Ask), "the question")
    assert "A text is being written" in it.screen_text()
    await it.press("m")
    await it.until(lambda: len(it.engine.sent(LoadModel)) == 2, "the load")
    await it.until(lambda: run.state is RunState.STOPPED, "the end of the text")
    assert run.prompt.written is not None
    assert run.prompt.written.stopped_by == "user"
    assert run.n_written == 10


async def test_an_engine_that_dies_leaves_the_tokens_as_a_run(it: Explored) -> None:
    run = await writing(it, 2)
    it.engine.die()
    await it.until(lambda: run.state is RunState.STOPPED, "the end")
    assert run.prompt.written is not None
    assert len(run.prompt.written.ids) == run.n_written == 10
    await it.press("r")
    await it.until(lambda: len(it.engines) == 2, "another engine")
    await it.until(lambda: len(it.session.runs) == 3, "its run")
    assert run in it.session.runs


async def test_a_failure_is_said_and_leaves_the_tokens(it: Explored) -> None:
    run = await writing(it, 2)
    it.engine.say(Failed("It broke.", "Mend it.", run.engine_id))
    await it.until(lambda: it.toasts(), "a toast")
    assert "It broke. Mend it." in it.toasts()[-1]
    assert run.state is RunState.FAILED
    assert run.n_written == 10


async def test_a_written_run_is_compared_changed_and_exported(it: Explored) -> None:
    run = await written(it)
    await compared(it)
    await it.press("escape")
    what_if = await open_what_if(it)
    await it.press("x")
    await idle(it)
    assert what_if.is_running
    assert asked(it)[-1].prompt == run.prompt
    await it.press("escape", until=MainScreen)
    await it.press("e")
    dialog = it.app.screen
    assert isinstance(dialog, ExportScreen)
    dialog.query_one("#file-name", Input).value = "text"
    await it.press("f5")
    await it.until(lambda: it.app.screen is not dialog, "the files")
    assert '"stopped_by": "limit"' in (it.folder / "exports" / "text.json").read_text()


@pytest.mark.parametrize("saves", [True, False])
async def test_a_session_keeps_the_text_with_its_ids(tmp_path: Path, saves: bool) -> None:
    engine = partial(FakeEngine, saves=saves)
    async with explore(tmp_path, engine) as it:
        prompt = (await written(it)).prompt
        await quit_(it)
    async with explore(tmp_path, engine) as it:
        await opened(it, 2)
        await it.until(lambda: current(it).prompt == prompt, "the text")
        await it.ready()
        assert current(it).state is RunState.FINISHED
        assert [command.write for command in asked(it)] == [None] * (1 if saves else 2)
